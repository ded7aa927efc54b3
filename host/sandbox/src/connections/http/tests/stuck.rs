//! Servers that read nothing of a request's body, and keep the connection.

use std::sync::atomic::Ordering;

use http_body_util::StreamBody;

use super::tls::{Choice, HTTP2, Manner, TlsServer};
use super::*;

/// The time of a request: it is waited for, and longer than an answer takes on a machine that is busy.
const TIME: Duration = Duration::from_secs(6);

/// More than fits between a client and a server that does not read.
fn endless(uri: &str, end: Instant) -> Request<RequestBody> {
    let part = Bytes::from(vec![0; 1 << 16]);
    let part = move |()| Some((Ok(http_body::Frame::data(part.clone())), ()));
    let parts = futures_util::stream::unfold((), move |()| std::future::ready(part(())));
    let body = StreamBody::new(parts).boxed_unsync();
    let body = Bounded::new(body, u64::MAX, end, TOO_LARGE_REQUEST);
    let host = uri.split('/').nth(2).unwrap();
    Request::post(uri).header("host", host).body(body).unwrap()
}

async fn is_closed(server: &TlsServer) {
    let closed = async {
        while server.seen.closings.load(Ordering::SeqCst) < server.handshakes() {
            server.seen.of_no_use.notify_one();
            server.seen.changed.notified().await;
        }
    };
    timeout(PATIENCE, closed)
        .await
        .expect("the client closes its connection");
}

async fn deaf(protocol: &[u8], answer: &[u8]) -> TlsServer {
    TlsServer::start(Choice {
        protocols: vec![protocol.to_vec()],
        manner: Manner::Deaf(answer.to_vec()),
        ..HTTP2
    })
    .await
}

fn brief(server: &TlsServer) -> Arc<HttpPool> {
    pool(HttpSettings {
        tls: server.trusted(false),
        idle: Duration::from_millis(20),
        ..settings()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_never_answers_nor_reads_keeps_no_connection() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let server = deaf(protocol, b"").await;
        let (pool, uri) = (brief(&server), server.uri());
        let end = Instant::now() + TIME;
        let times = Times {
            answered: end,
            ..patient()
        };
        let sent = pool
            .send(&target(&uri), endless(&uri, end), times, &|_| true)
            .await;
        assert!(matches!(sent, Err(Error::HttpResponseTimeout)));
        is_closed(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_answers_without_reading_keeps_no_connection() {
    let http1 = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge";
    // A head that is the whole answer, with status 200.
    let http2 = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
    for (protocol, answer) in [(&b"http/1.1"[..], &http1[..]), (b"h2", &http2)] {
        let server = deaf(protocol, answer).await;
        let (pool, uri) = (brief(&server), server.uri());
        let end = Instant::now() + TIME;
        let response = send(&pool, endless(&uri, end)).await.unwrap();
        response.into_body().collect().await.unwrap();
        is_closed(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_answers_without_reading_keeps_no_place() {
    let server = RawServer::start(|mut peer: Peer| async move {
        if peer.head().await.is_some_and(|head| head.contains("GET")) {
            return peer.send(&answer("", "right")).await;
        }
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
            .await;
        std::future::pending().await
    })
    .await;
    let pool = pool(HttpSettings {
        connections_max: 1,
        ..settings()
    });
    // The second one waits for the place of the first.
    for time in [TIME, 3 * TIME] {
        let end = Instant::now() + time;
        let response = send(&pool, endless(&server.uri("/"), end)).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let next = timeout(PATIENCE, get(&pool, &server.uri("/"))).await;
    assert_eq!(next.expect("there is a place").unwrap(), "right");
}
