//! Components that were built for earlier versions of the WIT package run unchanged.

use serde_json::json;
use toril::queue::JobState;

use crate::harness::{TestHost, TestRedis, add, new_job, reaches, root};

#[tokio::test]
async fn components_of_version_1_0_0_run() {
    let redis = TestRedis::start(false).await;
    let section = |queue: &str, file: &str| {
        let file = root().join("tests/built-with-1.0.0").join(file);
        format!("[queues.{queue}]\nprocessor = {file:?}\n")
    };
    let config = section("steps", "step-job.wasm") + &section("ring", "noop.wasm");
    let host = TestHost::serve(&redis, &config).await;

    let ring = redis.queue("ring").await;
    let id = add(&ring, "any", json!(null)).await;
    let job = reaches(&ring, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "1");

    // It reads and writes its data and its log, and fails once in between.
    let steps = redis.queue("steps").await;
    let data = json!({ "failIn": "second" });
    let job = new_job("steps", data, json!({ "attempts": 2 }));
    let id = steps.add(&job).await.unwrap();
    let job = reaches(&steps, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "\"finish\"");
    assert_eq!(job["atm"], "2");
    let data: serde_json::Value = serde_json::from_str(job["data"].as_str().unwrap()).unwrap();
    assert_eq!(data, json!({ "failIn": "second", "step": "finish" }));
    let log: Vec<String> = redis
        .command(&["LRANGE", &format!("bull:steps:{id}:logs"), "0", "-1"])
        .await;
    assert_eq!(log, ["initial step", "second step"]);
    host.stop().await;
}
