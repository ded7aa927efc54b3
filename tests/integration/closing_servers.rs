//! Servers that close the connection of a guest's request with their answer, or before it is whole.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use toril::queue::JobState;

use crate::harness::{TestHost, TestRedis, new_job, queue_section, reaches};

/// A server that answers by the path, and closes the connection in the same breath; returns its port.
async fn closing_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 1 << 16];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or("/");
                let large = "x".repeat(200_000);
                let answer = match path {
                    "/empty" => "connection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    "/sized" => "connection: close\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
                    "/unsized" => "connection: close\r\n\r\nhello".to_owned(),
                    "/chunked" => {
                        "connection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                            .to_owned()
                    }
                    "/large" => format!("connection: close\r\n\r\n{large}"),
                    "/cut" => "connection: close\r\ncontent-length: 500\r\n\r\nhello".to_owned(),
                    _ => return,
                };
                let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn connection_that_the_server_closes_is_not_polled_again() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let port = closing_server().await;
    let grant = format!(
        "[queues.ring.grants.http]\nhosts = [\"127.0.0.1:{port}\"]\nprivate = [\"127.0.0.0/8\"]\n"
    );
    let section = queue_section("ring", "fixture-http", "") + &grant;
    let host = TestHost::serve(&redis, &section).await;
    let mut jobs = Vec::new();
    for path in [
        "empty", "sized", "unsized", "chunked", "large", "cut", "nothing",
    ] {
        // Which of two things comes first is chance.
        for _ in 0..15 {
            let url = json!(format!("http://127.0.0.1:{port}/{path}"));
            let id = queue.add(&new_job("get", url, json!({}))).await.unwrap();
            jobs.push((path, id));
        }
    }
    for (path, id) in jobs {
        let length = match path {
            "empty" => Some(0),
            "large" => Some(200_000),
            "cut" | "nothing" => None,
            _ => Some(5),
        };
        let Some(length) = length else {
            reaches(&queue, &id, JobState::Failed).await;
            continue;
        };
        let job = reaches(&queue, &id, JobState::Completed).await;
        let value: serde_json::Value =
            serde_json::from_str(job["returnvalue"].as_str().unwrap()).unwrap();
        assert_eq!(value["length"], length, "{path}: {value}");
    }
    let log = host.log();
    assert!(!log.contains("panicked"), "{log}");
    host.stop().await;
}
