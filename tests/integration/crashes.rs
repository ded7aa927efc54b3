//! What survives `kill -9`, of the host and of Redis.

use serde_json::json;
use toril::queue::JobState;

use crate::harness::{TestHost, TestRedis, add, count, eventually};

const JOBS: u64 = 200;
/// Locks run out soon, so that a successor need not wait long. A job may stall as often as it likes.
const OPTIONS: &str =
    "concurrency = 50\nlock_duration_ms = 400\nstalled_interval_ms = 200\nmax_stalled_count = 100";

#[tokio::test]
async fn killed_host_loses_no_job() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    for _ in 0..JOBS {
        add(&queue, "sleep", json!(300)).await;
    }
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", OPTIONS).await;
    let all_running = async || {
        let active: u64 = redis.command(&["LLEN", "bull:ring:active"]).await;
        (active == 50).then_some(())
    };
    eventually("50 jobs are running", all_running).await;
    host.kill().await;

    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", OPTIONS).await;
    let done = async || (count(&redis, "ring", "completed").await == JOBS).then_some(());
    eventually("every job completes", done).await;
    assert_eq!(count(&redis, "ring", "failed").await, 0);
    host.stop().await;
}

#[tokio::test]
async fn killed_redis_loses_no_job() {
    let mut redis = TestRedis::start(true).await;
    let queue = redis.queue("ring").await;
    for _ in 0..JOBS {
        add(&queue, "sleep", json!(50)).await;
    }
    // The append-only file may lag a second behind: what was added must be in it before the crash.
    let _: String = redis
        .command(&["CONFIG", "SET", "appendfsync", "always"])
        .await;
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", OPTIONS).await;
    let some_done = async || (count(&redis, "ring", "completed").await >= 50).then_some(());
    eventually("some jobs complete", some_done).await;
    redis.server.kill().await.unwrap();
    host.logs("redis executes no call").await;
    redis.server.restart().await.unwrap();

    let done = async || (count(&redis, "ring", "completed").await == JOBS).then_some(());
    eventually("every job completes", done).await;
    assert_eq!(count(&redis, "ring", "failed").await, 0);
    let queue = redis.queue("ring").await;
    for id in 1..=JOBS {
        assert_eq!(
            queue.state(&id.to_string()).await.unwrap(),
            JobState::Completed
        );
    }
    host.stop().await;
}
