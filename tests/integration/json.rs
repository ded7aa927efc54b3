//! JSON that others wrote: nested deeper than 127 levels, with half of a surrogate pair, with bytes that are no text, or with
//! numbers beyond those of a double.

use serde_json::{Map, Value, json};
use toril::queue::json::DEPTH_MAX;
use toril::queue::{FlowNode, FlowOptions, JobState, NewJob, Queue, parse_flow};

use crate::harness::{TestHost, TestRedis, reaches, toril};

const GRANTED: &str = "grants = { queues = [\"ring\"] }";

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

async fn add_text(queue: &Queue, name: &str, data: &str) -> String {
    let job = NewJob::new(name, data, Map::new()).unwrap();
    queue.add(&job).await.unwrap()
}

async fn add_flow(queue: &Queue, flow: &str) {
    let flow: FlowNode = parse_flow(flow).unwrap();
    let flows = queue.flows();
    flows
        .add(vec![flow], &FlowOptions::default())
        .await
        .unwrap();
}

async fn value_of(queue: &Queue, id: &str) -> String {
    let job = reaches(queue, id, JobState::Completed).await;
    job["returnvalue"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn data_are_read_and_returned_whatever_javascript_put_into_them() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    for levels in [127, 128, 129, 500, DEPTH_MAX] {
        let id = add_text(&queue, "read-data", &nested(levels)).await;
        assert_eq!(value_of(&queue, &id).await, nested(levels));
    }
    let id = add_text(
        &queue,
        "read-data",
        r#"{"\ud800":"a\udfff","b":"\ud83d\ude00"}"#,
    )
    .await;
    let read: Value = serde_json::from_str(&value_of(&queue, &id).await).unwrap();
    assert_eq!(read, json!({ "\u{fffd}": "a\u{fffd}", "b": "😀" }));

    let id = add_text(&queue, "read-data", &nested(DEPTH_MAX + 1)).await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    let reason = job["failedReason"].as_str().unwrap();
    assert_eq!(
        reason,
        "job data does not fit: nested more than 1000 levels"
    );
    host.stop().await;
}

/// Overwrites a field of a job with bytes.
async fn overwrite(redis: &TestRedis, key: &str, field: &[u8], value: &[u8]) {
    let mut set = redis::cmd("HSET");
    set.arg(key).arg(field).arg(value);
    let _: u64 = set
        .query_async(&mut redis.connect().await.shared())
        .await
        .unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_text_fail_neither_a_job_nor_its_parent() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let child = |id: &str| {
        format!(r#"{{"name":"read-data","queueName":"ring","data":1,"opts":{{"jobId":"{id}"}}}}"#)
    };
    let children = [child("a"), child("b")].join(",");
    add_flow(
        &queue,
        &format!(
            r#"{{"name":"read-children","queueName":"ring","opts":{{"jobId":"p"}},"children":[{children}]}}"#
        ),
    )
    .await;
    overwrite(&redis, "bull:ring:a", b"data", b"\"\xff\xfe\"").await;
    // As a child that another worker completed.
    overwrite(
        &redis,
        "bull:ring:p:processed",
        b"bull:ring:\xff",
        b"\"\xff\"",
    )
    .await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    assert_eq!(value_of(&queue, "a").await, "\"\u{fffd}\u{fffd}\"");
    let values: Value = serde_json::from_str(&value_of(&queue, "p").await).unwrap();
    assert_eq!(values["bull:ring:a"], json!("\u{fffd}\u{fffd}"));
    assert_eq!(values["bull:ring:b"], json!(1));
    assert_eq!(values["bull:ring:\u{fffd}"], json!("\u{fffd}"));
    host.stop().await;
}

#[tokio::test]
async fn number_beyond_a_double_is_the_largest_one_to_a_processor() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let long = "9".repeat(400);
    let child = |id: &str, number: &str| {
        format!(
            r#"{{"name":"read-data","queueName":"ring","data":{{"n":{number}}},"opts":{{"jobId":"{id}"}}}}"#
        )
    };
    let children = [child("a", "1e400"), child("b", &format!("-{long}"))].join(",");
    add_flow(
        &queue,
        &format!(
            r#"{{"name":"read-children","queueName":"ring","opts":{{"jobId":"p"}},"children":[{children}]}}"#
        ),
    )
    .await;
    // As a child that another worker completed.
    overwrite(
        &redis,
        "bull:ring:p:processed",
        b"bull:ring:c",
        b"{\"n\":1e400}",
    )
    .await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let values: Value = serde_json::from_str(&value_of(&queue, "p").await).unwrap();
    for (child, number) in [("a", f64::MAX), ("b", -f64::MAX), ("c", f64::MAX)] {
        assert_eq!(values[format!("bull:ring:{child}")], json!({ "n": number }));
    }
    host.stop().await;
}

#[tokio::test]
async fn data_that_bullmq_stores_for_undefined_are_an_object() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let id = add_text(&queue, "read-data", "1").await;
    queue.update_data(&id, None, "").await.unwrap();
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    assert_eq!(value_of(&queue, &id).await, "{}");
    host.stop().await;
}

#[tokio::test]
async fn job_in_steps_keeps_what_stands_beside_its_step() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", GRANTED).await;
    let data = format!(r#"{{"deep":{},"lone":"\ud800"}}"#, nested(5000));
    let options = json!({ "attempts": 2 }).as_object().unwrap().clone();
    let job = NewJob::new("die-between-add-and-step", &data, options).unwrap();
    let id = queue.add(&job).await.unwrap();
    value_of(&queue, &id).await;
    let job = queue.job(&id).await.unwrap().unwrap();
    let expected = format!(r#"{{"deep":{},"lone":"\ud800","step":1}}"#, nested(5000));
    assert_eq!(job["data"], expected);
    host.stop().await;
}

#[tokio::test]
async fn values_of_children_are_read_and_shown() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let deep = nested(500);
    for (name, ids) in [("read-children", "a"), ("read-dependencies", "b")] {
        let child = format!(
            r#"{{"name":"read-data","queueName":"ring","data":{{"v":{deep}}},"opts":{{"jobId":"{ids}-deep"}}}},
               {{"name":"read-data","queueName":"ring","data":"\ud800","opts":{{"jobId":"{ids}-lone"}}}}"#
        );
        let opts = format!(r#"{{"jobId":"{ids}","x":"\udc00","y":{deep}}}"#);
        add_flow(
            &queue,
            &format!(
                r#"{{"name":"{name}","queueName":"ring","opts":{opts},"children":[{child}]}}"#
            ),
        )
        .await;
        let value = value_of(&queue, ids).await;
        assert!(
            value.contains(&deep) && value.contains('\u{fffd}'),
            "{value}"
        );
    }
    let flow = toril(&redis, &["flow", "show", "ring", "a", "--json"]).await;
    assert!(String::from_utf8_lossy(&flow.stdout).contains(&deep));
    let job = toril(&redis, &["job", "ring", "a-deep", "--json"]).await;
    assert!(String::from_utf8_lossy(&job.stdout).contains(&deep));
    host.stop().await;
}

#[tokio::test]
async fn trace_of_another_worker_stays_beside_the_next_one() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let options = json!({ "attempts": 2 }).as_object().unwrap().clone();
    let id = queue
        .add(&NewJob::new("panic", "{}", options).unwrap())
        .await
        .unwrap();
    let key = format!("bull:ring:{id}");
    let _: u64 = redis
        .command(&[
            "HSET",
            &key,
            "stacktrace",
            r#"["Error: \ud800"]"#,
            "atm",
            "1",
        ])
        .await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    let traces: Vec<String> = serde_json::from_str(job["stacktrace"].as_str().unwrap()).unwrap();
    assert_eq!((traces.len(), traces[0].as_str()), (2, "Error: \u{fffd}"));
    host.stop().await;
}
