//! Queues that limit how many jobs are active over all workers: where a job leaves `active` and nobody takes another one in
//! its place, a marker says that there is room.

use serde_json::json;
use toril_queue::{Job, KeepJobs, Queue, Settlement, SettlementKind};

use crate::harness::{TestRedis, add, attempt, completed, failed, new_job, settle, take};

/// Jobs `a` and `b`, of which one may be active. A worker has `a`, and all others sleep.
async fn full(redis: &TestRedis) -> (Queue, Vec<Job>) {
    let () = redis.run("FLUSHALL").await;
    let queue = redis.queue("paint").await;
    let () = redis.run("HSET bull:paint:meta concurrency 1").await;
    add(&queue, &["a", "b"]).await;
    let jobs = take(&queue, 2, "worker:1").await;
    assert_eq!(jobs.len(), 1);
    let () = redis.run("DEL bull:paint:marker").await;
    (queue, jobs)
}

async fn is_woken(redis: &TestRedis) -> bool {
    redis.run("EXISTS bull:paint:marker").await
}

#[tokio::test]
async fn settling_without_taking_wakes_a_worker() {
    let redis = TestRedis::start().await;
    let kinds = [
        completed(KeepJobs::ALL),
        failed(KeepJobs::ALL),
        SettlementKind::Delayed {
            delay_ms: 3_600_000,
            attempt: None,
        },
        SettlementKind::Retry {
            attempt: attempt(),
            lifo: false,
        },
        SettlementKind::WaitingChildren { child: None },
    ];
    for kind in kinds {
        let shown = format!("{kind:?}");
        let (queue, jobs) = full(&redis).await;
        if matches!(kind, SettlementKind::WaitingChildren { .. }) {
            let () = redis
                .run("SADD bull:paint:a:dependencies bull:paint:child")
                .await;
        }
        let settled = settle(&queue, &[Settlement::new(&jobs[0], kind)], 0, "worker:1").await;
        assert!(settled.results.iter().all(Result::is_ok), "{shown}");
        assert!(is_woken(&redis).await, "{shown}");
    }
}

#[tokio::test]
async fn nobody_is_woken_where_nothing_waits_or_there_is_no_room() {
    let redis = TestRedis::start().await;
    let (queue, jobs) = full(&redis).await;
    let () = redis.run("DEL bull:paint:wait").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    settle(&queue, &[settlement], 0, "worker:1").await;
    assert!(!is_woken(&redis).await);

    let (queue, jobs) = full(&redis).await;
    let () = redis.run("LPUSH bull:paint:active other").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    settle(&queue, &[settlement], 0, "worker:1").await;
    assert!(!is_woken(&redis).await);
}

#[tokio::test]
async fn job_that_is_removed_while_it_is_active_wakes_a_worker() {
    let redis = TestRedis::start().await;
    let (queue, _) = full(&redis).await;
    let () = redis.run("DEL bull:paint:a:lock").await;
    queue.remove("a", true).await.unwrap();
    assert!(is_woken(&redis).await);

    // Its hash is gone, and the check for stalled jobs clears it away. Those that it puts back in line wake one anyway.
    let (queue, _) = full(&redis).await;
    let () = redis.run("DEL bull:paint:a:lock bull:paint:a").await;
    for _ in 0..2 {
        let () = redis.run("DEL bull:paint:stalled-check").await;
        let stalled = queue.recover_stalled(3_600_000, 1).await.unwrap();
        assert!(stalled.is_empty());
    }
    assert!(is_woken(&redis).await);
}

#[tokio::test]
async fn prioritized_job_that_waits_wakes_a_worker_too() {
    let redis = TestRedis::start().await;
    let (queue, jobs) = full(&redis).await;
    let () = redis.run("DEL bull:paint:wait bull:paint:marker").await;
    let prioritized = new_job("paint", json!({ "jobId": "c", "priority": 3 }));
    queue.add(&prioritized).await.unwrap();
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    settle(&queue, &[settlement], 0, "worker:1").await;
    assert!(is_woken(&redis).await);
}
