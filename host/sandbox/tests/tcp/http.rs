//! `grants.http` over thousands of attempts: what is left of them. Needs `fixture-http`.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const CONNECTIONS_MAX: usize = 3;

/// Answers each request by its path; the second number counts all connections.
async fn start() -> (u16, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counts = Arc::<[AtomicUsize; 2]>::default();
    let seen = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            for count in &*seen {
                count.fetch_add(1, Ordering::SeqCst);
            }
            tokio::spawn(async move {
                serve(stream).await;
                seen[0].fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (port, counts)
}

async fn serve(mut stream: TcpStream) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            match stream.read_buf(&mut read).await {
                Ok(bytes) if bytes > 0 => continue,
                _ => return,
            }
        };
        let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let whole = |body: &str| {
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
        };
        let answer = match path {
            "/large" => whole(&"x".repeat(5000)),
            "/twice" => whole("one") + &whole("two"),
            "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut".to_owned(),
            "/broken" => "nonsense\r\n\r\n".to_owned(),
            "/silent" => return,
            _ => whole("hello"),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || path == "/cut" {
            return;
        }
    }
}

#[tokio::test]
async fn no_connection_is_left_of_thousands_of_attempts_with_requests() {
    let (port, counts) = start().await;
    let open = || counts[0].load(Ordering::SeqCst);
    let grant = format!(
        "hosts = [\"127.0.0.1:{port}\"]\nresponse_bytes_max = 1000\nconnections_max = {CONNECTIONS_MAX}"
    );
    let mut grants: Grants = toml::from_str(&format!("[http]\n{grant}")).unwrap();
    grants
        .http
        .as_mut()
        .unwrap()
        .resolve(Path::new(""))
        .unwrap();
    let world = World::of("fixture_http", grants, Policy::default()).await;
    let attempt = async |number: usize| {
        let path = ["", "large", "cut", "broken", "silent", "twice"][number % 6];
        let url = json!(format!("http://127.0.0.1:{port}/{path}"));
        match path {
            "" | "twice" => drop(world.value("get", url).await),
            _ => drop(world.reason("get", url).await),
        }
    };
    for number in 0..6 {
        attempt(number).await;
    }
    let before = descriptors();
    for round in 0..1_000 {
        futures_util::future::join_all((0..10).map(|n| attempt(round * 10 + n))).await;
        let most = || open() <= CONNECTIONS_MAX;
        eventually("no more connections than the grant allows", most).await;
    }
    // Other tests of this process open some meanwhile, and close them.
    eventually("no more are open than before", || {
        descriptors() <= before + 200
    })
    .await;
    // An exchange that ends well leaves its connection to the next one.
    let all = counts[1].load(Ordering::SeqCst);
    assert!(all < 10_000, "{all} connections");
    drop(world);
    eventually("they are closed", || open() == 0).await;
}
