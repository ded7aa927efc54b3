//! Timers, the job queue and requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use toril_sandbox::policy::Policy;
use toril_sandbox::{Grants, Reuse};

use crate::processor::{Jobs, value_of};

#[tokio::test]
async fn callbacks_come_in_the_order_of_node() {
    let script = "const main = () => new Promise((done) => {
        const seen = [];
        setTimeout(() => seen.push('timeout 20'), 20);
        setTimeout(() => { seen.push('timeout 1'); Promise.resolve().then(() => seen.push('micro in 1')); }, 1);
        setTimeout((a, b) => seen.push(`timeout ${a}${b}`), 1, 'a', 'b');
        setImmediate(() => seen.push('immediate'));
        queueMicrotask(() => seen.push('micro'));
        clearTimeout(setTimeout(() => seen.push('stopped'), 1));
        let rounds = 0;
        const interval = setInterval(() => {
            seen.push(`round ${++rounds}`);
            if (rounds === 3) { clearInterval(interval); done(seen); }
        }, 30);
    });";
    let expected = r#"["micro","immediate","timeout 1","micro in 1","timeout ab","timeout 20","round 1","round 2","round 3"]"#;
    assert_eq!(value_of(script).await, expected);
}

#[tokio::test]
async fn timers_wait_as_long_as_they_say_and_all_at_once() {
    let script = "const wait = () => new Promise((done) => setTimeout(done, 50));
        const main = () => Promise.all(Array.from({ length: 100 }, wait));";
    let jobs = Jobs::of(script).await;
    let begin = Instant::now();
    jobs.value().await;
    let took = begin.elapsed();
    assert!(
        // One after the other they would take five seconds.
        (Duration::from_millis(50)..Duration::from_millis(4000)).contains(&took),
        "{took:?}"
    );
}

/// A server that answers when as many requests have come as it waits for.
struct Server {
    port: u16,
}

impl Server {
    async fn start(waits_for: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Arc::new(AtomicUsize::new(0));
        let all = Arc::new(tokio::sync::Notify::new());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (came, all) = (Arc::clone(&came), Arc::clone(&all));
                tokio::spawn(async move {
                    let waiting = all.notified();
                    if came.fetch_add(1, Ordering::SeqCst) + 1 >= waits_for {
                        all.notify_waiters();
                    } else {
                        waiting.await;
                    }
                    answer(stream).await;
                });
            }
        });
        Server { port }
    }

    fn policy(&self) -> Policy {
        let grants = json!({
            "http": { "hosts": [format!("127.0.0.1:{}", self.port)], "private": ["127.0.0.1"] }
        });
        let grants: Grants = serde_json::from_value(grants).unwrap();
        Policy {
            grants: Arc::new(grants),
            ..Policy::default()
        }
    }

    /// The beginning of a script: `send(path, options)` sends a request, `read(body)` reads an answer to its end.
    fn script(&self, rest: &str) -> String {
        let port = self.port;
        format!(
            "const send = (pathWithQuery, options) => toril.http({{
                method: 'GET', scheme: 'http', authority: '127.0.0.1:{port}', pathWithQuery, headers: [], ...options,
            }});
            const read = async (body) => {{
                let text = '';
                for (let piece; (piece = await body.read()) !== undefined;) text += toril.decodeUtf8(piece, 0, piece.byteLength, true);
                return text;
            }};
            {rest}"
        )
    }

    async fn jobs(&self, rest: &str) -> Jobs {
        Jobs::under(self.policy(), &self.script(rest)).await
    }
}

/// Says what was asked for: the first line, the headers that begin with `x-` or `content-`, and the body. `/never` gets no
/// end of it.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut request = Vec::new();
    let mut piece = [0; 65536];
    let head = loop {
        let read = stream.read(&mut piece).await.ok()?;
        request.extend_from_slice(&piece[..read]);
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&request[..end]).into_owned();
        }
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    while request.len() < head.len() + 4 + length.unwrap_or(0) {
        let read = stream.read(&mut piece).await.ok()?;
        request.extend_from_slice(&piece[..read]);
    }
    let mut lines = head.lines();
    let first = lines.next()?.to_owned();
    let told: Vec<&str> = lines
        .filter(|line| line.starts_with("x-") || line.starts_with("content-"))
        .collect();
    let body = String::from_utf8_lossy(&request[head.len() + 4..]).into_owned();
    let text = json!([
        first,
        told,
        body.len(),
        body.chars().take(5).collect::<String>()
    ])
    .to_string();
    let status = if first.contains("/missing") {
        "404 Not Found"
    } else {
        "200 OK"
    };
    let length = if first.contains("/never") {
        1 << 20
    } else {
        text.len()
    };
    let answer =
        format!("HTTP/1.1 {status}\r\nX-Color: blue\r\ncontent-length: {length}\r\n\r\n{text}");
    stream.write_all(answer.as_bytes()).await.ok()?;
    if first.contains("/never") {
        // Until the other side goes.
        let _ = stream.read(&mut piece).await;
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_run_side_by_side() {
    let server = Server::start(10).await;
    let script = "const main = async () => {
        const one = async (_, at) => {
            const { status, body } = await send(`/${at}`).response;
            return [status, JSON.parse(await read(body))[0]];
        };
        return Promise.all(Array.from({ length: 10 }, one));
    };";
    let value = server.jobs(script).await.value().await;
    let expected: Vec<_> = (0..10)
        .map(|at| json!([200, format!("GET /{at} HTTP/1.1")]))
        .collect();
    assert_eq!(value, json!(expected).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_has_the_body_and_headers_of_the_script() {
    let server = Server::start(1).await;
    let script = "const main = async () => {
        const body = toril.encodeUtf8('paint'.repeat(100000));
        const headers = [['X-Wall', 'north'], ['Content-Length', '7'], ['Host', 'elsewhere'], ['content-type', 'text/plain']];
        const { status, headers: answered, body: answer } = await send('/missing?a=b', { method: 'POST', headers, body }).response;
        return [status, answered.find(([name]) => name === 'x-color'), JSON.parse(await read(answer))];
    };";
    let value: serde_json::Value =
        serde_json::from_str(&server.jobs(script).await.value().await).unwrap();
    assert_eq!(value[0], 404);
    assert_eq!(value[1], json!(["x-color", "blue"]));
    assert_eq!(value[2][0], "POST /missing?a=b HTTP/1.1");
    let headers = value[2][1].to_string();
    for header in [
        "x-wall: north",
        "content-length: 500000",
        "content-type: text/plain",
    ] {
        assert!(headers.contains(header), "{headers}");
    }
    assert_eq!(
        (&value[2][2], &value[2][3]),
        (&json!(500_000), &json!("paint"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_answers_can_be_given_up() {
    let server = Server::start(2).await;
    let never = Server::start(1).await;
    let script = format!(
        "const main = async () => {{
            const waiting = send('/waits');
            setTimeout(() => waiting.abort(), 5);
            const first = await waiting.response.catch((error) => error.code);
            const {{ body }} = await send('/never', {{ authority: '127.0.0.1:{}' }}).response;
            while ((await Promise.race([body.read(), new Promise((done) => setTimeout(done, 20))])) !== undefined);
            const reading = body.read().then((piece) => piece ?? 'end');
            body.cancel();
            return [first, await reading, (await body.read()) ?? 'end'];
        }};",
        never.port
    );
    let mut policy = server.policy();
    let hosts = [server.port, never.port].map(|port| format!("127.0.0.1:{port}"));
    let grants = json!({ "http": { "hosts": hosts, "private": ["127.0.0.1"] } });
    policy.grants = Arc::new(serde_json::from_value(grants).unwrap());
    let jobs = Jobs::under(policy, &server.script(&script)).await;
    assert_eq!(jobs.value().await, r#"["aborted","end","end"]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_fail_say_why() {
    let server = Server::start(1).await;
    let script = "const main = async () => {
        const reason = (options) => send('/', options).response.catch((error) => [error.code, error.message, error instanceof Error]);
        return [
            await reason({ authority: 'example.com' }),
            await reason({ headers: [['connection', 'close']] }),
            await reason({ headers: [['a b', 'c']] }),
            await reason({ authority: 'not a host' }),
        ];
    };";
    let value = server.jobs(script).await.value().await;
    let expected = json!([
        [
            "internal-error",
            "request to example.com:80 was refused: not in grants.http.hosts of queue lone\nhint: add \"example.com\" to \
             `hosts` in `[queues.lone.grants.http]`",
            true
        ],
        ["invalid", "header `connection` may not be set", true],
        ["invalid", "header `a b` is invalid", true],
        ["invalid", "the host of the request is invalid", true],
    ]);
    assert_eq!(value, expected.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_leaves_behind_is_gone_before_the_next() {
    let server = Server::start(1).await;
    let script = "const kept = [];
        const main = async () => {
            const open = await send('/never').response;
            kept.push(open, send('/never').response);
            const read = await kept[0].body.read();
            open.body.read();
            return [kept.length, read === undefined];
        };";
    let reuse = Some(Reuse {
        jobs: 10,
        age_ms: 60_000,
    });
    let policy = Policy {
        reuse,
        ..server.policy()
    };
    let jobs = Jobs::under(policy, &server.script(script)).await;
    for (kept, is_closed) in [(2, false), (4, true), (6, true)] {
        assert_eq!(jobs.value().await, format!("[{kept},{is_closed}]"));
    }
}
