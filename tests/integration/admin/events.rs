//! The stream of a queue's events.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Api, TOKEN};
use crate::harness::{TestRedis, add, count, eventually, new_job, queue_section, reaches};

/// The events of a queue, as they come.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn of(api: &Api, queue: &str) -> Self {
        let path = format!("/v1/queues/{queue}/events");
        let response = api.send(Method::GET, &path, "").await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = String::new();
        Stream { response, text }
    }

    /// The next event of a name.
    async fn next(&mut self, name: &str) -> Value {
        loop {
            while let Some((event, left)) = self.text.split_once("\n\n") {
                let (event, left) = (event.to_owned(), left.to_owned());
                self.text = left;
                if let Some(data) = event.strip_prefix(&format!("event: {name}\ndata: ")) {
                    assert!(!data.contains('\n'), "one line: {data}");
                    return serde_json::from_str(data).unwrap();
                }
            }
            let chunk = self.response.chunk().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn events_show_the_job_as_it_is_now() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let api = Api::start(&redis, &queue_section("ring", "fixture-scenarios", "")).await;
    let mut stream = Stream::of(&api, "ring").await;

    let id = add(&queue, "update-data", json!({ "step": "first" })).await;
    let completed = stream.next("completed").await;
    let stored = reaches(&queue, &id, toril::queue::JobState::Completed).await;
    let job = &completed["job"];
    assert_eq!(
        (&job["attemptsMade"], &job["attemptsStarted"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(job["finishedOn"].to_string(), stored["finishedOn"]);
    assert_eq!(job["data"], json!({ "step": "second" }));
    assert_eq!(job["returnvalue"], json!({ "step": "second" }));
    assert_eq!(job["failedReason"], Value::Null);
    add(&queue, "progress", json!(null)).await;
    let job = &stream.next("completed").await["job"];
    assert_eq!(job["progress"], json!({ "done": true }));

    let failing = json!({ "attempts": 3, "backoff": 5 });
    let id = queue.add(&new_job("fail", json!({}), failing)).await;
    let id = id.unwrap();
    for attempt in 1..=3 {
        let failed = stream.next("failed").await;
        let job = &failed["job"];
        assert_eq!(failed["final"], attempt == 3);
        assert_eq!(job["attemptsMade"], attempt);
        assert_eq!(job["failedReason"], "on purpose");
        assert_eq!(failed["error"]["message"], "on purpose");
        assert_eq!(job["stacktrace"].as_array().unwrap().len(), attempt);
        if attempt < 3 {
            assert_eq!(
                (&job["finishedOn"], &job["delay"]),
                (&Value::Null, &json!(5))
            );
        } else {
            let stored = reaches(&queue, &id, toril::queue::JobState::Failed).await;
            assert_eq!(job["finishedOn"].to_string(), stored["finishedOn"]);
        }
    }
    let gives_up = new_job("unrecoverable", json!({}), json!({ "attempts": 3 }));
    queue.add(&gives_up).await.unwrap();
    assert_eq!(stream.next("failed").await["final"], true);
    api.host.stop().await;
}

#[tokio::test]
async fn values_in_several_lines_are_one_line_of_an_event() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let api = Api::start(
        &redis,
        &queue_section("ring", "fixture-scenarios", "concurrency = 1"),
    )
    .await;
    let mut stream = Stream::of(&api, "ring").await;
    // A producer of another language may store JSON so.
    let data = "{\r\n  \"a\": \"b\\n\"\n}";
    let job = [
        "name",
        "return",
        "data",
        data,
        "opts",
        "{}",
        "timestamp",
        "1",
    ];
    let _: i64 = redis
        .command(&[&["HSET", "bull:ring:lines"], &job[..]].concat())
        .await;
    let _: i64 = redis.command(&["LPUSH", "bull:ring:wait", "lines"]).await;
    add(&queue, "return", json!("wakes the worker")).await;
    let completed = stream.next("completed").await;
    assert_eq!(completed["jobId"], "lines");
    assert_eq!(completed["job"]["data"], json!({ "a": "b\n" }));
    assert_eq!(completed["result"], json!({ "a": "b\n" }));
    api.host.stop().await;
}

#[tokio::test]
async fn reader_that_never_reads_is_told_what_it_missed() {
    const JOBS: u64 = 60;
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let api = Api::start(&redis, &queue_section("ring", "fixture-noop", "")).await;
    let mut silent = TcpStream::connect(api.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = format!(
        "GET /v1/queues/ring/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    silent.write_all(request.as_bytes()).await.unwrap();
    silent.readable().await.unwrap();

    let large = json!("x".repeat(5_000_000));
    for _ in 0..JOBS {
        add(&queue, "large", large.clone()).await;
    }
    let all = async || (count(&redis, "ring", "completed").await == JOBS).then_some(());
    eventually("the jobs run all the same", all).await;
    let last = add(&queue, "last", json!(null)).await;
    reaches(&queue, &last, toril::queue::JobState::Completed).await;

    let (mut read, mut text, mut buffer) = (0, String::new(), vec![0; 1 << 20]);
    // The last events are small enough to find room.
    while !text.contains("\"name\":\"last\"") {
        let count = silent.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the stream ended: {read} bytes");
        read += count;
        let part = String::from_utf8_lossy(&buffer[..count]);
        text.extend(part.chars().filter(|character| *character != 'x'));
    }
    assert!(text.contains("event: missed\ndata: "), "{text}");
    let sent = 2 * JOBS as usize * 5_000_000;
    assert!(read < sent / 4, "{read} of {sent} bytes were kept");
    api.host.stop().await;
}
