//! Time limits: of the queue, of the job's name, and of the job.

use serde_json::{Value, json};
use toril::queue::{JobState, Queue};

use crate::harness::{TestHost, TestRedis, count, new_job, queue_section, reaches, toril};

const NAMES: &str = "limits = { deadline_ms = 60000, cancel_grace_ms = 1, \
    names = { loop = { deadline_ms = 200 }, fine = { deadline_ms = 90000 }, sleep = { deadline_ms = 30000 } } }";

async fn add_with(queue: &Queue, name: &str, data: Value, options: Value) -> String {
    queue.add(&new_job(name, data, options)).await.unwrap()
}

#[tokio::test]
async fn smallest_time_limit_of_queue_name_and_job_ends_an_attempt() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    // With `reuse` each job of an instance has a time limit of its own.
    for reuse in ["", "\nreuse = { jobs = 100 }"] {
        let options = format!("{NAMES}{reuse}");
        let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", &options).await;
        let hour = || json!(3_600_000);
        for (name, data, timeout, expected) in [
            (
                "loop",
                json!(null),
                json!(null),
                "200 ms for jobs named `loop`",
            ),
            (
                "loop",
                json!(null),
                json!(100_000),
                "200 ms for jobs named `loop`",
            ),
            (
                "loop",
                json!(null),
                json!(150),
                "150 ms from the job's option `timeout`",
            ),
            (
                "sleep",
                hour(),
                json!(150),
                "150 ms from the job's option `timeout`",
            ),
            (
                "sleep",
                hour(),
                json!("150"),
                "150 ms from the job's option `timeout`",
            ),
        ] {
            let id = add_with(&queue, name, data, json!({ "timeout": timeout })).await;
            let job = reaches(&queue, &id, JobState::Failed).await;
            let expected = format!("processor exceeded its time limit of {expected}");
            assert_eq!(job["failedReason"], json!(expected));
        }
        for timeout in [json!(0), json!(-1), json!("soon"), json!({}), json!(true)] {
            let id = add_with(&queue, "fine", json!(null), json!({ "timeout": timeout })).await;
            reaches(&queue, &id, JobState::Completed).await;
        }
        host.stop().await;
    }
    assert_eq!(count(&redis, "ring", "completed").await, 10);
}

#[tokio::test]
async fn invalid_time_limits_of_names_are_refused_with_their_key() {
    let redis = TestRedis::start(false).await;
    let dir = tempfile::tempdir().unwrap();
    for (limits, expected) in [
        (
            "limits.names.walls.deadline_ms = 0",
            "`limits.names.walls.deadline_ms` must be 1 or more",
        ),
        ("limits.names.walls.deadline_ms = -1", "deadline_ms"),
        ("limits.names.walls.deadline_ms = \"long\"", "deadline_ms"),
        (
            "limits.names.walls.deadline = 5",
            "did you mean `deadline_ms`?",
        ),
        ("limits.names.walls = 5", "walls"),
    ] {
        let config = dir.path().join("toril.toml");
        std::fs::write(&config, queue_section("ring", "fixture-noop", limits)).unwrap();
        let arguments = ["serve", "--config", config.to_str().unwrap()];
        let output = toril(&redis, &arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(expected),
            "{limits}: {error}"
        );
    }
}
