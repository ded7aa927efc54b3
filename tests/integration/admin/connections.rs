//! Peers that connect to the admin API and leave the host waiting.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Api, TOKEN};
use crate::harness::{TestRedis, eventually, http_client, queue_section, version};

/// Requests that never end: each is one more way to keep a connection.
fn unfinished() -> [String; 4] {
    let authorized = format!("authorization: Bearer {TOKEN}\r\n");
    [
        String::new(),
        "GET /v1/queues HTTP/1.1\r\nhost: localho".into(),
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n".into(),
        format!("PUT /v1/queues/new HTTP/1.1\r\n{authorized}content-length: 100\r\n\r\n{{"),
    ]
}

async fn hold(api: &Api, count: usize) -> Vec<TcpStream> {
    let address = api.url.trim_start_matches("http://");
    let mut held = Vec::new();
    for request in unfinished().iter().cycle().take(count) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        held.push(stream);
    }
    held
}

async fn status_and_text(api: &Api, path: &str) -> (u16, String) {
    // A connection of its own, as that of a load balancer.
    let request = http_client().get(format!("{}{path}", api.url));
    let request = request.header("authorization", format!("Bearer {TOKEN}"));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn open_files(api: &Api) -> usize {
    let dir = format!("/proc/{}/fd", api.host.pid());
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn probes_answer_whatever_unfinished_requests_there_are() {
    let redis = TestRedis::start(false).await;
    let api = Api::start_with(&redis, "", "connections_max = 12").await;
    let before = open_files(&api);
    let held = hold(&api, 400).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status_and_text(&api, path).await, (200, "ok\n".into()));
    }
    let (status, text) = status_and_text(&api, "/v1/queues").await;
    let refused: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 503);
    assert_eq!(refused["error"]["code"], "too_many_connections");
    let files = open_files(&api) - before;
    assert!(files < 60, "{files} more files for 400 connections");
    drop(held);
    eventually("the API has room again", async || {
        (status_and_text(&api, "/v1/queues").await.0 == 200).then_some(())
    })
    .await;
    api.host.stop().await;
}

#[tokio::test]
async fn connections_on_which_nothing_comes_are_closed() {
    let redis = TestRedis::start(false).await;
    let api = Api::start(&redis, "").await;
    let mut held = hold(&api, 3).await;
    let mut idle = hold(&api, 1).await.remove(0);
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    held.push(idle);
    for mut stream in held {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(std::time::Duration::from_secs(60), read);
        read.await.expect("the host closes it").unwrap();
    }
    api.host.stop().await;
}

#[tokio::test]
async fn uploads_that_have_only_begun_keep_nobody_from_uploading() {
    let redis = TestRedis::start(false).await;
    let api = Api::start(&redis, &queue_section("ring", "fixture-noop", "")).await;
    let address = api.url.trim_start_matches("http://");
    let request = format!(
        "POST /v1/queues/ring/versions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: 1000000\r\n\r\nabc"
    );
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        held.push(stream);
    }
    api.uploads("ring", version("good-00001")).await;
    // Those get an answer, too.
    for mut stream in held {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    api.host.stop().await;
}
