//! The pool against real servers on this machine: raw ones that break the rules, and hyper's for HTTP/2 and TLS.

mod early;
mod floods;
mod malformed;
mod proxies;
mod rebinding;
mod servers;
mod stuck;
mod tls;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::Error;

use self::servers::{Peer, RawServer, answer};
use super::{
    Bounded, HttpPool, HttpSettings, Loan, RequestBody, TOO_LARGE_REQUEST, TOO_LARGE_RESPONSE,
    Target, Times,
};
use crate::connections::{Lookups, TlsFiles};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
const BYTES_MAX: u64 = 100_000;

fn settings() -> HttpSettings {
    HttpSettings {
        connections_max: 10,
        idle: PATIENCE,
        tls: TlsFiles::default(),
        proxy: None,
    }
}

fn pool(settings: HttpSettings) -> Arc<HttpPool> {
    Arc::new(HttpPool::new(settings, Lookups::default()))
}

fn patient() -> Times {
    let end = Instant::now() + PATIENCE;
    Times {
        connected: end,
        answered: end,
    }
}

fn request(method: Method, uri: &str, body: Option<&'static str>) -> Request<RequestBody> {
    let body = match body {
        Some(body) => Full::from(body)
            .map_err(|never| match never {})
            .boxed_unsync(),
        None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
    };
    let end = Instant::now() + PATIENCE;
    let body = Bounded::new(body, BYTES_MAX, end, TOO_LARGE_REQUEST);
    let request = Request::builder().method(method).uri(uri);
    let host = uri.split('/').nth(2).unwrap();
    request.header("host", host).body(body).unwrap()
}

fn target(uri: &str) -> Arc<Target> {
    Arc::new(Target::of(&uri.parse().unwrap(), str::to_owned).unwrap())
}

type Sent = Result<Response<RequestBody>, Error>;

/// Sends a request, and holds the connection as long as the response is there.
async fn send(pool: &Arc<HttpPool>, request: Request<RequestBody>) -> Sent {
    let target = target(&request.uri().to_string());
    let sent = pool.send(&target, request, patient(), &|_| true).await?;
    Ok(lent(sent))
}

fn lent((response, loan): (Response<hyper::body::Incoming>, Loan)) -> Response<RequestBody> {
    let end = Instant::now() + PATIENCE;
    response.map(|body| {
        let body = body.map_err(Error::from).boxed_unsync();
        Bounded::new(body, BYTES_MAX, end, TOO_LARGE_RESPONSE).holding(loan)
    })
}

async fn get(pool: &Arc<HttpPool>, uri: &str) -> Result<Bytes, Error> {
    let response = send(pool, request(Method::GET, uri, None)).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn requests_to_one_server_share_a_connection() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while let Some(head) = peer.request().await {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            peer.send(&answer("", &path)).await;
        }
    })
    .await;
    let pool = pool(settings());
    for n in 0..20 {
        let body = get(&pool, &server.uri(&format!("/{n}"))).await.unwrap();
        assert_eq!(body, format!("/{n}"));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn connection_that_the_server_closes_is_not_used_again() {
    let server = RawServer::start(|mut peer: Peer| async move {
        peer.request().await;
        peer.send(&answer("connection: close\r\n", "last")).await;
    })
    .await;
    let pool = pool(settings());
    for _ in 0..20 {
        assert_eq!(get(&pool, &server.uri("/")).await.unwrap(), "last");
    }
    assert_eq!(server.connections(), 20);
}

/// Half of the requests meet a connection that the server closed without a word.
#[tokio::test]
async fn server_that_closes_idle_connections_loses_no_request() {
    let server = RawServer::start(|mut peer: Peer| async move {
        peer.request().await;
        peer.send(&answer("", "once")).await;
    })
    .await;
    let pool = pool(settings());
    for _ in 0..50 {
        assert_eq!(get(&pool, &server.uri("/")).await.unwrap(), "once");
    }
}

/// The connection ends after the request was read on it, before an answer: nobody knows whether the server has acted.
#[tokio::test]
async fn request_that_was_sent_is_repeated_only_where_that_changes_nothing() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let server = RawServer::start(move |mut peer: Peer| {
        let seen = Arc::clone(&noted);
        async move {
            for is_first in [true, false] {
                let Some(head) = peer.request().await else {
                    return;
                };
                let method = head.split(' ').next().unwrap().to_owned();
                seen.lock().push(method);
                if is_first {
                    peer.send(&answer("", "")).await;
                }
            }
        }
    })
    .await;
    for (method, body, is_repeated) in [
        ("GET", None, true),
        ("HEAD", None, true),
        ("OPTIONS", None, true),
        ("PUT", None, true),
        ("DELETE", None, true),
        ("PUT", Some("paint"), false),
        ("DELETE", Some("paint"), false),
        ("GET", Some("paint"), false),
        ("POST", None, false),
        ("POST", Some("pay"), false),
        ("PATCH", None, false),
        ("LOCK", None, false),
    ] {
        let pool = pool(settings());
        get(&pool, &server.uri("/")).await.unwrap();
        seen.lock().clear();
        let asked = request(method.parse().unwrap(), &server.uri("/"), body);
        let answered = send(&pool, asked).await;
        assert_eq!(answered.is_ok(), is_repeated, "{method} {body:?}");
        let times = if is_repeated { 2 } else { 1 };
        assert_eq!(*seen.lock(), vec![method; times], "{method} {body:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_that_nobody_asked_for_reaches_no_later_request() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            let both = answer("", "right") + &answer("", "poison");
            peer.send(&both).await;
        }
    })
    .await;
    let pool = pool(settings());
    for _ in 0..200 {
        assert_eq!(get(&pool, &server.uri("/")).await.unwrap(), "right");
    }
}

/// Answers one request of each connection, which the test then has in its hands.
async fn server_of_one_answer() -> (RawServer, mpsc::UnboundedReceiver<std::net::TcpStream>) {
    let (give, given) = mpsc::unbounded_channel();
    let server = RawServer::start(move |mut peer: Peer| {
        let give = give.clone();
        async move {
            peer.request().await;
            peer.send(&answer("", "right")).await;
            let _ = give.send(peer.into_stream().into_std().unwrap());
        }
    })
    .await;
    (server, given)
}

/// What arrives while a connection is idle, and of which tokio has not heard when the next request begins: nothing is awaited
/// in between.
#[tokio::test]
async fn what_arrived_before_a_request_is_not_taken_for_its_answer() {
    let (server, mut given) = server_of_one_answer().await;
    let pool = pool(settings());
    let mut peers = Vec::new();
    for body in [None, Some("pay")].repeat(20) {
        let method = body.map_or(Method::GET, |_| Method::POST);
        let response = send(&pool, request(method, &server.uri("/"), body)).await;
        let response = response.unwrap().into_body().collect().await.unwrap();
        assert_eq!(response.to_bytes(), "right");
        let mut peer = given.recv().await.unwrap();
        peer.write_all(answer("", "poison").as_bytes()).unwrap();
        peers.push(peer);
    }
    assert_eq!(server.connections(), 40);
}

/// A request that may not be sent twice is not sent at all on a connection that has come to its end.
#[tokio::test]
async fn request_after_the_end_of_an_idle_connection_goes_to_a_new_one() {
    let (server, mut given) = server_of_one_answer().await;
    let pool = pool(settings());
    for _ in 0..20 {
        let request = request(Method::POST, &server.uri("/"), Some("pay"));
        let response = send(&pool, request).await.unwrap();
        response.into_body().collect().await.unwrap();
        drop(given.recv().await.unwrap());
    }
    assert_eq!(server.connections(), 20);
}

#[tokio::test]
async fn informational_answers_and_trailers_are_told_apart_from_the_answer() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.send(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            )
            .await;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n")
                .await;
            peer.send("5\r\nhello\r\n0\r\nsum: 42\r\n\r\n").await;
        }
    })
    .await;
    let pool = pool(settings());
    for _ in 0..3 {
        let mut request = request(Method::POST, &server.uri("/"), Some("body"));
        let expect = http::HeaderValue::from_static("100-continue");
        request.headers_mut().insert("expect", expect);
        let response = send(&pool, request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["sum"], "42");
        assert_eq!(body.to_bytes(), "hello");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn body_over_the_limit_ends_with_its_connection_and_gives_the_place_back() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while let Some(head) = peer.request().await {
            let large = "x".repeat(if head.contains("/large") { 200_000 } else { 5 });
            peer.send(&answer("", &large)).await;
        }
    })
    .await;
    let settings = HttpSettings {
        connections_max: 1,
        ..settings()
    };
    let pool = pool(settings);
    for _ in 0..10 {
        let error = get(&pool, &server.uri("/large")).await.unwrap_err();
        assert!(matches!(
            error,
            Error::HttpResponseBodySize(Some(BYTES_MAX))
        ));
        assert_eq!(get(&pool, &server.uri("/")).await.unwrap().len(), 5);
    }
}

#[tokio::test]
async fn requests_beyond_the_connections_wait_for_one_within_their_time() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.send(&answer("", "hello")).await;
        }
    })
    .await;
    let settings = HttpSettings {
        connections_max: 2,
        ..settings()
    };
    let pool = pool(settings);
    let uri = server.uri("/");
    let held = send(&pool, request(Method::GET, &uri, None)).await.unwrap();
    let other = send(&pool, request(Method::GET, &uri, None)).await.unwrap();
    let hasty = Times {
        connected: Instant::now(),
        ..patient()
    };
    let to = target(&uri);
    let late = pool.send(&to, request(Method::GET, &uri, None), hasty, &|_| true);
    assert!(matches!(late.await, Err(Error::ConnectionLimitReached)));
    let waiting = get(&pool, &uri);
    let mut waiting = std::pin::pin!(waiting);
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("there is no place"),
        () = tokio::task::yield_now() => {}
    }
    held.into_body().collect().await.unwrap();
    assert_eq!(waiting.await.unwrap(), "hello");
    drop(other);
    assert!(server.connections() <= 3);
}

#[tokio::test]
async fn idle_connection_makes_room_for_one_to_another_server() {
    let polite = |mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.send(&answer("", "hello")).await;
        }
    };
    let (one, two) = (
        RawServer::start(polite).await,
        RawServer::start(polite).await,
    );
    let settings = HttpSettings {
        connections_max: 1,
        ..settings()
    };
    let pool = pool(settings);
    get(&pool, &one.uri("/")).await.unwrap();
    get(&pool, &two.uri("/")).await.unwrap();
    one.closed(1).await;
    assert_eq!(two.connections() - two.closings(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_when_their_time_is_over() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while let Some(head) = peer.request().await {
            let keep = if head.contains("/short") {
                "keep-alive: timeout=1\r\n"
            } else {
                ""
            };
            peer.send(&answer(keep, "hello")).await;
        }
    })
    .await;
    let brief = HttpSettings {
        idle: Duration::from_millis(20),
        ..settings()
    };
    let pool_of_brief = pool(brief);
    get(&pool_of_brief, &server.uri("/")).await.unwrap();
    server.closed(1).await;
    // The server says that it closes it soon: it is not kept.
    let pool = pool(settings());
    get(&pool, &server.uri("/short")).await.unwrap();
    server.closed(2).await;
}

#[tokio::test]
async fn each_new_connection_is_judged_and_no_other() {
    let server = RawServer::start(|mut peer: Peer| async move {
        for keep in [true, false] {
            if peer.request().await.is_none() {
                return;
            }
            let head = if keep { "" } else { "connection: close\r\n" };
            peer.send(&answer(head, "hello")).await;
        }
    })
    .await;
    let pool = pool(settings());
    let uri = server.uri("/");
    let to = target(&uri);
    // A name that has another address from one look to the next.
    let looks = AtomicUsize::new(0);
    let admits = move |_| looks.fetch_add(1, Ordering::SeqCst) == 0;
    for _ in 0..2 {
        let sent = pool.send(&to, request(Method::GET, &uri, None), patient(), &admits);
        let body = lent(sent.await.unwrap())
            .into_body()
            .collect()
            .await
            .unwrap();
        assert_eq!(body.to_bytes(), "hello");
    }
    let sent = pool.send(&to, request(Method::GET, &uri, None), patient(), &admits);
    assert!(matches!(sent.await, Err(Error::DestinationIpProhibited)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_however_requests_end() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while let Some(head) = peer.request().await {
            match head.split(' ').nth(1).unwrap() {
                "/cut" => {
                    return peer
                        .send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")
                        .await;
                }
                "/silent" => return,
                "/broken" => peer.send("nonsense\r\n\r\n").await,
                _ => peer.send(&answer("", &"x".repeat(70_000))).await,
            }
        }
    })
    .await;
    let pool = pool(settings());
    let one = async |n: usize| {
        let path = ["/", "/cut", "/silent", "/broken", "/dropped"][n % 5];
        let sent = send(&pool, request(Method::GET, &server.uri(path), None)).await;
        match sent {
            Ok(response) if path == "/dropped" => drop(response),
            Ok(response) => drop(response.into_body().collect().await),
            Err(_) => {}
        }
    };
    for round in 0..40 {
        let all = (0..25).map(|n| one(round + n));
        timeout(PATIENCE, futures_util::future::join_all(all))
            .await
            .unwrap();
        // As many as there are places; the others close.
        server.open_at_most(10).await;
    }
    drop(pool);
    server.all_closed().await;
}
