//! Locks, after replies were lost.

use toril_queue::{KeepJobs, LockedAttempt, Settlement, SettlementKind};

use crate::harness::{TestRedis, add, completed, fetch, take};

#[tokio::test]
async fn lock_that_ran_out_is_taken_again_for_the_newest_start_only() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a"]).await;
    let first = take(&queue, 1, "t1").await.remove(0);
    let () = redis.run("DEL bull:q:a:lock").await;
    let lost = queue
        .extend_locks(&[LockedAttempt::of(&first)], 30_000)
        .await
        .unwrap();
    assert_eq!(lost, []);
    let held: String = redis.run("GET bull:q:a:lock").await;
    assert_eq!(held, "t1");

    // Moved to the line and taken again; both replies are lost, and the lock runs out.
    queue
        .settle_one(Settlement::new(&first, SettlementKind::Wait))
        .await
        .unwrap();
    let second = take(&queue, 1, "t2").await.remove(0);
    let () = redis.run("DEL bull:q:a:lock").await;
    let both = [LockedAttempt::of(&first), LockedAttempt::of(&second)];
    let lost = queue.extend_locks(&both, 30_000).await.unwrap();
    assert_eq!(lost, [LockedAttempt::of(&first)]);
    let held: String = redis.run("GET bull:q:a:lock").await;
    assert_eq!(held, "t2");
    let settled = queue
        .settle_one(Settlement::new(&second, completed(KeepJobs::ALL)))
        .await;
    assert!(settled.is_ok());
}

#[tokio::test]
async fn locks_are_answered_by_attempt_and_not_by_job() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a"]).await;
    let first = take(&queue, 1, "t1").await.remove(0);
    queue
        .settle_one(Settlement::new(&first, SettlementKind::Wait))
        .await
        .unwrap();
    let second = take(&queue, 1, "t2").await.remove(0);
    let both = [LockedAttempt::of(&second), LockedAttempt::of(&first)];
    let lost = queue.extend_locks(&both, 30_000).await.unwrap();
    assert_eq!(lost, [LockedAttempt::of(&first)]);
}

/// Every order of: the move's reply lost or not, the second fetch reclaimed before or after its lock ran out,
/// renewal of the first attempt in between or not.
#[tokio::test]
async fn job_is_settled_once_or_runs_again_after_any_lost_replies() {
    let redis = TestRedis::start().await;
    for case in 0..8 {
        let [renews, expires, renews_late] = [1, 2, 4].map(|bit| case & bit != 0);
        let queue = redis.queue(&format!("q{case}")).await;
        let base = queue.keys().base().to_owned();
        add(&queue, &["a"]).await;
        let first = take(&queue, 1, "t1").await.remove(0);
        let move_to_wait = Settlement::new(&first, SettlementKind::Wait);
        queue.settle_one(move_to_wait.clone()).await.unwrap();
        // Its reply was lost, and so was that of the fetch that took it again.
        drop(take(&queue, 1, "t2").await);
        let renew = async || {
            queue
                .extend_locks(&[LockedAttempt::of(&first)], 30_000)
                .await
                .unwrap()
        };
        if renews {
            assert_eq!(renew().await.len(), 1);
        }
        if expires {
            let () = redis.run(&format!("DEL {base}:a:lock")).await;
        }
        if renews_late {
            assert_eq!(renew().await.len(), 1, "case {case}");
        }
        assert!(
            queue.settle_one(move_to_wait).await.is_err(),
            "repeated, it changes nothing"
        );
        let mut again = queue.reclaim(&fetch(1, "t2")).await.unwrap();
        if expires {
            assert!(again.is_empty());
            queue.recover_stalled(1, 1).await.unwrap();
            let () = redis.run(&format!("DEL {base}:stalled-check")).await;
            assert_eq!(queue.recover_stalled(1, 1).await.unwrap(), ["a"]);
            again = take(&queue, 1, "t3").await;
        }
        let job = again.remove(0);
        let settled = queue
            .settle_one(Settlement::new(&job, completed(KeepJobs::ALL)))
            .await;
        assert!(settled.is_ok(), "case {case}: {settled:?}");
    }
}

#[tokio::test]
async fn job_that_stalled_comes_back_whatever_is_in_its_hash() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let counts = ["2.0", "many", "1e300", "9223372036854775807"];
    add(&queue, &["a", "b", "c", "d"]).await;
    take(&queue, 4, "t").await;
    queue.recover_stalled(1, 1).await.unwrap();
    for (id, count) in ["a", "b", "c", "d"].iter().zip(counts) {
        let () = redis
            .run(&format!("HSET bull:q:{id} stc {count} rjk s"))
            .await;
        let () = redis.run(&format!("DEL bull:q:{id}:lock")).await;
    }
    let () = redis.run("SET bull:q:repeat x").await;
    let () = redis.run("DEL bull:q:stalled-check").await;
    let mut stalled = queue.recover_stalled(1, 1).await.unwrap();
    stalled.sort();
    assert_eq!(stalled, ["a", "b", "c", "d"]);
    let waiting: u64 = redis.run("LLEN bull:q:wait").await;
    assert_eq!(waiting, 4);
}

#[tokio::test]
async fn attempt_that_moved_its_job_writes_nothing_once_it_was_taken_again() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a"]).await;
    let first = take(&queue, 1, "t1").await.remove(0);
    queue
        .settle_one(Settlement::new(&first, SettlementKind::Wait))
        .await
        .unwrap();
    queue.update_data("a", None, "1").await.unwrap();
    take(&queue, 1, "t2").await;
    let before = redis.dump().await;
    let refused = queue.update_data("a", None, "2").await.unwrap_err();
    assert!(refused.to_string().contains("Lock mismatch"), "{refused}");
    assert!(queue.update_progress("a", None, "2").await.is_err());
    assert_eq!(redis.dump().await, before);
}

/// Redis refuses a script whose first write takes room.
#[tokio::test]
async fn locks_are_taken_again_and_jobs_come_back_where_redis_has_no_memory_left() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a", "b"]).await;
    let taken = take(&queue, 2, "t").await;
    assert!(queue.recover_stalled(1, 9).await.unwrap().is_empty());
    let () = redis
        .run("DEL bull:q:a:lock bull:q:b:lock bull:q:stalled-check")
        .await;
    let () = redis.run("CONFIG SET maxmemory 1").await;
    let again = [LockedAttempt::of(&taken[0])];
    assert!(queue.extend_locks(&again, 60_000).await.unwrap().is_empty());
    assert_eq!(queue.recover_stalled(1_000, 9).await.unwrap(), ["b"]);
}
