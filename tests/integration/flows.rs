//! Flows in a real host: large ones, deep ones, interrupted ones, refused ones.

use serde_json::{Value, json};
use toril::queue::{FlowNode, FlowOptions, JobState, Queue, parse_flow};

use crate::harness::{TestHost, TestRedis, count, eventually, new_job, reaches};

const GRANTED: &str = "grants = { queues = [\"ring\"] }";

async fn add_flow(queue: &Queue, flow: Value) {
    let flow: FlowNode = parse_flow(&flow.to_string()).unwrap();
    queue
        .flows()
        .add(vec![flow], &FlowOptions::default())
        .await
        .unwrap();
}

fn node(name: &str, id: &str, children: Vec<Value>) -> Value {
    json!({ "name": name, "queueName": "ring", "opts": { "jobId": id }, "children": children })
}

#[tokio::test]
async fn parent_of_ten_thousand_children_completes() {
    const CHILDREN: usize = 10_000;
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let children = (0..CHILDREN)
        .map(|n| node("any", &format!("child-{n}"), vec![]))
        .collect();
    add_flow(&queue, node("any", "parent", children)).await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-noop", "").await;
    reaches(&queue, "parent", JobState::Completed).await;
    assert_eq!(
        count(&redis, "ring", "completed").await,
        CHILDREN as u64 + 1
    );
    let values: u64 = redis.command(&["HLEN", "bull:ring:parent:processed"]).await;
    assert_eq!(values, CHILDREN as u64);
    host.stop().await;
}

#[tokio::test]
async fn child_whose_parent_redis_refuses_stops_no_other() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let child = node("any", "child", vec![]);
    add_flow(&queue, node("any", "parent", vec![child])).await;
    let _: String = redis
        .command(&["SET", "bull:ring:parent:dependencies", "text"])
        .await;
    let others = vec![new_job("any", json!(null), json!({})); 100];
    queue.add_bulk(&others).await.unwrap();
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-noop", "").await;
    host.logs("job could not be settled").await;
    let all = async || (count(&redis, "ring", "completed").await == 100).then_some(());
    eventually("the others are completed", all).await;
    assert_eq!(queue.state("child").await.unwrap(), JobState::Active);
    host.stop().await;
}

#[tokio::test]
async fn deep_flow_completes_from_its_leaves() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let leaf = node("return", "level-0", vec![]);
    let tree = (1..50).fold(leaf, |child, level| {
        node("children-values", &format!("level-{level}"), vec![child])
    });
    add_flow(&queue, tree).await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-scenarios", "").await;
    let root = reaches(&queue, "level-49", JobState::Completed).await;
    assert!(root["returnvalue"].as_str().unwrap().contains("level-48"));
    assert_eq!(count(&redis, "ring", "completed").await, 50);
    host.stop().await;
}

#[tokio::test]
async fn retry_between_adding_a_child_and_storing_the_step_adds_no_second_child() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", GRANTED).await;
    let job = new_job(
        "die-between-add-and-step",
        json!({}),
        json!({ "attempts": 2 }),
    );
    let id = queue.add(&job).await.unwrap();
    let parent = reaches(&queue, &id, JobState::Completed).await;
    assert_eq!(parent["atm"], "2");
    assert!(
        parent["stacktrace"]
            .as_str()
            .unwrap()
            .contains("died in between")
    );
    let values: Value = serde_json::from_str(parent["returnvalue"].as_str().unwrap()).unwrap();
    assert_eq!(values, json!({ "bull:ring:ring-1-only": "fine" }));
    assert_eq!(
        count(&redis, "ring", "completed").await,
        2,
        "the parent and one child"
    );
    host.stop().await;
}

#[tokio::test]
async fn queues_that_were_not_granted_are_out_of_reach() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", GRANTED).await;
    for name in ["use-other-queue", "add-flow-elsewhere"] {
        let id = queue
            .add(&new_job(name, json!("vault"), json!({})))
            .await
            .unwrap();
        let job = reaches(&queue, &id, JobState::Failed).await;
        let reason = job["failedReason"].as_str().unwrap();
        assert!(
            reason.contains("may not use queue `vault`") && reason.contains("grants.queues"),
            "{reason}"
        );
        let id = queue
            .add(&new_job(name, json!("ring:wait"), json!({})))
            .await
            .unwrap();
        let job = reaches(&queue, &id, JobState::Failed).await;
        assert!(
            job["failedReason"]
                .as_str()
                .unwrap()
                .contains("contains `:`")
        );
    }
    let keys: Vec<String> = redis.command(&["KEYS", "bull:vault*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
    assert_eq!(
        count(&redis, "ring", "waiting-children").await,
        0,
        "nothing is half-added"
    );
    host.stop().await;
}

#[tokio::test]
async fn job_cannot_become_its_own_ancestor() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", GRANTED).await;
    let job = new_job(
        "become-own-grandparent",
        json!({}),
        json!({ "jobId": "top" }),
    );
    queue.add(&job).await.unwrap();
    let job = reaches(&queue, "top", JobState::Failed).await;
    assert!(
        job["failedReason"]
            .as_str()
            .unwrap()
            .contains("is a descendant of its new child")
    );
    assert!(!job.contains_key("parentKey"));
    host.stop().await;
}
