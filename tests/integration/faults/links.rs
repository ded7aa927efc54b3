//! Slow links.

use serde_json::json;
use toril::queue::JobState;

use super::Stage;
use crate::harness::{add, eventually, new_job};

/// Locks as they are by default: one second is less than what a call of these takes.
const OPTIONS: &str = "concurrency = 10\ndrain_delay_ms = 1000";

/// A large job takes longer than the host waits for a reply that makes no progress, and no other queue waits for it: a small
/// job of another queue is done before it.
#[tokio::test]
async fn large_job_on_a_slow_link_is_taken_and_does_not_hold_up_another_queue() {
    let stage = Stage::with(OPTIONS).await;
    // 26 s and more, at 200 kB/s.
    let data = "x".repeat(5_200_000);
    // Not the way on which the test adds it.
    stage.proxy.throttle(200_000);
    let large = stage
        .slow
        .add(&new_job("fine", json!(data), json!({})))
        .await
        .unwrap();
    eventually("the large job is taken", async || {
        (stage.slow.state(&large).await.ok()? == JobState::Active).then_some(())
    })
    .await;
    let small = add(&stage.ring, "nothing", json!(null)).await;
    eventually("a small job of another queue is done", async || {
        (stage.ring.state(&small).await.ok()? == JobState::Completed).then_some(())
    })
    .await;
    let state = stage.slow.state(&large).await.unwrap();
    let log = stage.host.log();
    assert_eq!(state, JobState::Active, "one waits for the other:\n{log}");
    eventually("the large job is done", async || {
        (stage.slow.state(&large).await.ok()? == JobState::Completed).then_some(())
    })
    .await;
    assert_eq!(stage.ends("slow").await[&large], 1);
    stage.proxy.throttle(0);
    stage.host.stop().await;
}

/// Many values together are more than a link passes within the time that the host waits for one reply.
#[tokio::test]
async fn large_values_on_a_slow_link_are_settled_once() {
    let stage = Stage::with(OPTIONS).await;
    stage.proxy.throttle(500_000);
    for _ in 0..10 {
        let job = new_job("huge-value", json!(1_000_000), json!({}));
        stage.slow.add(&job).await.unwrap();
    }
    eventually("all jobs are done", async || {
        let done: usize = stage.redis.command(&["ZCARD", "bull:slow:completed"]).await;
        (done == 10).then_some(())
    })
    .await;
    stage.proxy.throttle(0);
    for (id, ends) in stage.ends("slow").await {
        assert_eq!(ends, 1, "job {id} was settled {ends} times");
    }
    stage.host.stop().await;
}
