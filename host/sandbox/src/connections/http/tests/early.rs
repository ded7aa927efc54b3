//! Servers that answer before they have read the whole request.

use std::io::Write as _;

use futures_util::{FutureExt as _, StreamExt as _};
use http::StatusCode;
use http_body_util::StreamBody;
use tokio::sync::{Notify, oneshot};

use super::*;

#[tokio::test]
async fn answer_may_come_before_the_request_is_whole() {
    let server = RawServer::start(|mut peer: Peer| async move {
        if peer.head().await.is_some() {
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
                .await;
            peer.closed().await;
        }
    })
    .await;
    let pool = pool(settings());
    for _ in 0..5 {
        // The first part of a body that never ends.
        let part = futures_frame("part");
        let response = send(&pool, streamed(&server, part)).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "large"
        );
    }
    assert_eq!(
        server.connections(),
        5,
        "a request was still under way on each"
    );
}

/// One frame, and then nothing for ever.
fn futures_frame(
    text: &'static str,
) -> impl futures_util::Stream<Item = Result<http_body::Frame<Bytes>, Error>> + Send {
    let frame = http_body::Frame::data(Bytes::from_static(text.as_bytes()));
    futures_util::stream::iter([Ok(frame)]).chain(futures_util::stream::pending())
}

/// As a guest does that has its answer and has no use for the rest of its request.
#[tokio::test]
async fn request_that_is_given_up_after_its_answer_began_does_not_end_the_answer() {
    let given_up = Arc::new(Notify::new());
    let seen = Arc::clone(&given_up);
    let server = RawServer::start(move |mut peer: Peer| {
        let seen = Arc::clone(&seen);
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\n")
                .await;
            seen.notified().await;
            peer.send("large").await;
            peer.closed().await;
        }
    })
    .await;
    let pool = pool(settings());
    let (give_up, until) = oneshot::channel::<()>();
    let rest = async move {
        let _ = until.await;
        given_up.notify_one();
        Err(Error::HttpProtocolError)
    };
    let body = futures_frame("part").take(1).chain(rest.into_stream());
    let response = send(&pool, streamed(&server, body)).await.unwrap();
    give_up.send(()).unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "large");
    server.closed(1).await;
}

/// The client finds out by a write that fails, with most of the answer unread.
#[tokio::test]
async fn answer_of_a_server_that_closes_with_the_request_unread_is_whole() {
    let large = "x".repeat(90_000);
    let text = answer("", &large);
    let closed = Arc::new(Notify::new());
    let seen = Arc::clone(&closed);
    let server = RawServer::start(move |mut peer: Peer| {
        let (text, closed) = (text.clone(), Arc::clone(&closed));
        async move {
            // What is left unread makes the system reset the connection.
            peer.head_alone().await;
            peer.send(&text).await;
            drop(peer);
            closed.notify_one();
        }
    })
    .await;
    let pool = pool(settings());
    let (go_on, until) = oneshot::channel::<()>();
    let more = async move {
        let _ = until.await;
        Ok(http_body::Frame::data(Bytes::from_static(b"more")))
    };
    let body = futures_frame("part").take(1).chain(more.into_stream());
    let body = body.chain(futures_frame("and more"));
    let response = send(&pool, streamed(&server, body)).await.unwrap();
    seen.notified().await;
    go_on.send(()).unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), large);
}

/// The last that happens on such a connection is a write, after which an answer would be expected.
#[tokio::test]
async fn what_arrives_after_a_request_that_was_answered_early_is_not_taken_for_an_answer() {
    const POISON: &str = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 4\r\n\r\nlate";
    let (give, mut given) = mpsc::unbounded_channel();
    let server = RawServer::start(move |mut peer: Peer| {
        let give = give.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
                .await;
            peer.last_chunk().await;
            let _ = give.send(peer.into_stream().into_std().unwrap());
        }
    })
    .await;
    let pool = pool(settings());
    let mut peers = Vec::new();
    for _ in 0..20 {
        let (go_on, until) = oneshot::channel::<()>();
        let rest = async move {
            let _ = until.await;
            Ok(http_body::Frame::data(Bytes::from_static(b"rest")))
        };
        let body = futures_frame("part").take(1).chain(rest.into_stream());
        let response = send(&pool, streamed(&server, body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "large");
        go_on.send(()).unwrap();
        let mut peer = given.recv().await.unwrap();
        until_idle(&pool).await;
        peer.write_all(POISON.as_bytes()).unwrap();
        peers.push(peer);
    }
    assert_eq!(server.connections(), 20);
}

fn streamed(
    server: &RawServer,
    body: impl futures_util::Stream<Item = Result<http_body::Frame<Bytes>, Error>> + Send + 'static,
) -> Request<RequestBody> {
    let body = StreamBody::new(body).boxed_unsync();
    let end = Instant::now() + PATIENCE;
    let body = Bounded::new(body, BYTES_MAX, end, TOO_LARGE_REQUEST);
    Request::post(server.uri("/")).body(body).unwrap()
}

/// Waits until no request has a place any more: its connection is idle then.
async fn until_idle(pool: &Arc<HttpPool>) {
    let all = settings().connections_max;
    let places = timeout(PATIENCE, pool.places.acquire_many(all)).await;
    drop(places.unwrap().unwrap());
}

/// Without the error, a guest would go on writing to nobody until its time is over.
#[tokio::test]
async fn request_that_becomes_too_large_after_its_answer_began_fails() {
    let server = RawServer::start(|mut peer: Peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\n")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(settings());
    let (go_on, until) = oneshot::channel::<()>();
    let rest = async move {
        let _ = until.await;
        let large = vec![0; BYTES_MAX as usize];
        Ok(http_body::Frame::data(Bytes::from(large)))
    };
    let body = futures_frame("part").take(1).chain(rest.into_stream());
    let response = send(&pool, streamed(&server, body)).await.unwrap();
    go_on.send(()).unwrap();
    let body = timeout(PATIENCE / 2, response.into_body().collect()).await;
    assert!(body.expect("the request fails at once").is_err());
    server.closed(1).await;
}

/// The server goes on as long as somebody reads.
#[tokio::test]
async fn row_of_interim_answers_ends_with_a_reason_of_its_own() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            while peer
                .try_send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
                .await
            {}
        }
    })
    .await;
    let pool = pool(settings());
    for _ in 0..3 {
        let error = get(&pool, &server.uri("/")).await.unwrap_err().to_string();
        assert!(error.contains("more than 100 interim answers"), "{error}");
    }
    // None of the connections is used again, and none stays open.
    assert_eq!(server.connections(), 3);
    server.closed(3).await;
}

#[tokio::test]
async fn some_interim_answers_are_no_fault() {
    let server = RawServer::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.send(&"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100))
                .await;
            peer.send(&answer("", "right")).await;
        }
    })
    .await;
    let pool = pool(settings());
    for _ in 0..3 {
        assert_eq!(get(&pool, &server.uri("/")).await.unwrap(), "right");
    }
    assert_eq!(server.connections(), 1);
}
