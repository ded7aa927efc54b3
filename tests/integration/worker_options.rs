//! Options of a worker that only show in time: each test makes the difference to the default larger than its patience.

use serde_json::json;
use toril::queue::JobState;

use crate::harness::{TestHost, TestRedis, add, eventually, reaches};

#[tokio::test]
async fn limit_that_was_lifted_is_noticed_within_the_maximum_rate_limit_delay() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let hour = "3600000";
    let _: String = redis
        .command(&["SET", "bull:ring:limiter", "999999", "PX", hour])
        .await;
    let options = "limiter = { max = 1000, duration_ms = 1000 }\nmaximum_rate_limit_delay_ms = 50";
    let id = add(&queue, "any", json!(null)).await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-noop", options).await;
    // Only a worker that found the limit reached asks how long it holds.
    eventually("the worker finds the limit", async || {
        let stats: String = redis.command(&["INFO", "commandstats"]).await;
        stats.contains("cmdstat_pttl").then_some(())
    })
    .await;
    assert_eq!(queue.state(&id).await.unwrap(), JobState::Waiting);
    let _: u64 = redis.command(&["DEL", "bull:ring:limiter"]).await;
    reaches(&queue, &id, JobState::Completed).await;
    host.stop().await;
}

#[tokio::test]
async fn locks_are_renewed_at_the_lock_renew_time() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let options = "lock_duration_ms = 3600000\nlock_renew_time_ms = 20";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    let lock = format!("bull:ring:{id}:lock");
    let _: u64 = redis.command(&["PEXPIRE", &lock, "600000"]).await;
    eventually("the lock is renewed", async || {
        let ttl: i64 = redis.command(&["PTTL", &lock]).await;
        (ttl > 600_000).then_some(())
    })
    .await;
    host.kill().await;
}
