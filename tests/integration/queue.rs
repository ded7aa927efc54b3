//! The queue engine by itself, where a whole host would hide what is tested.

use std::collections::HashSet;

use serde_json::json;
use toril::queue::{
    DependenciesQuery, DependencyKinds, ErrorCode, FailedAttempt, Fetch, FlowOptions, Job,
    JobState, KeepJobs, LockedAttempt, Moved, Page, Queue, QueueError, QueueName, Settlement,
    SettlementKind, now_ms, parse_flow,
};

use crate::harness::{TestRedis, add, new_job};

fn fetch(want: usize, number: u64) -> Fetch {
    Fetch {
        worker: None,
        lock_ms: 30_000,
        want,
        bytes_max: 1 << 20,
        token: format!("test:{number}").into(),
        limiter: None,
        metrics_points: None,
        pin: None,
    }
}

/// A queue with so many jobs: their ids begin at 1, their data at 0.
async fn ring_of(redis: &TestRedis, jobs: usize) -> Queue {
    let queue = redis.queue("ring").await;
    for n in 0..jobs {
        add(&queue, "any", json!(n)).await;
    }
    queue
}

fn failed_attempt() -> FailedAttempt {
    FailedAttempt {
        made: 1,
        reason: "no".into(),
        stacktrace: "[]".into(),
    }
}

async fn take(queue: &Queue, want: usize, number: u64) -> Vec<Job> {
    queue
        .settle_and_fetch(&[], &fetch(want, number))
        .await
        .unwrap()
        .jobs
}

fn completed(job: &Job) -> Settlement {
    let kind = SettlementKind::Completed {
        value: "1".into(),
        attempts_made: job.attempts_made + 1,
        keep: KeepJobs::ALL,
    };
    Settlement::new(job, kind)
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| &*job.id).collect()
}

#[tokio::test]
async fn entry_that_fails_changes_nothing_and_breaks_no_other() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 5).await;
    let jobs = take(&queue, 5, 0).await;
    assert_eq!(ids(&jobs), ["1", "2", "3", "4", "5"]);
    let mut batch: Vec<Settlement> = jobs.iter().map(completed).collect();
    batch[0].token = "another".into();
    let _: i64 = redis.command(&["DEL", "bull:ring:2:lock"]).await;
    let _: i64 = redis
        .command(&["SADD", "bull:ring:3:dependencies", "bull:ring:child"])
        .await;
    let _: i64 = redis.command(&["DEL", "bull:ring:4"]).await;
    let before: Vec<String> = redis.command(&["HGETALL", "bull:ring:1"]).await;

    let settled = queue.settle_and_fetch(&batch, &fetch(0, 9)).await.unwrap();
    let codes: Vec<_> = settled
        .results
        .iter()
        .map(|result| match result {
            Ok(Moved::Yes) => None,
            Err(QueueError::Job { code, .. }) => Some(*code),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        codes,
        [
            Some(ErrorCode::JobLockMismatch),
            Some(ErrorCode::JobLockNotExist),
            Some(ErrorCode::JobPendingChildren),
            Some(ErrorCode::JobNotExist),
            None
        ]
    );
    assert_eq!(
        redis
            .command::<Vec<String>>(&["HGETALL", "bull:ring:1"])
            .await,
        before
    );
    let active: Vec<String> = redis
        .command(&["LRANGE", "bull:ring:active", "0", "-1"])
        .await;
    assert_eq!(active, ["4", "3", "2", "1"]);
    assert_eq!(queue.state("5").await.unwrap(), JobState::Completed);
}

#[tokio::test]
async fn key_of_the_wrong_type_is_no_job_and_stops_no_other() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 8).await;
    let _: String = redis.command(&["SET", "bull:ring:2", "text"]).await;
    let jobs = take(&queue, 6, 0).await;
    assert_eq!(ids(&jobs), ["1", "3", "4", "5", "6", "7"]);
    let _: String = redis.command(&["SET", "bull:ring:4", "text"]).await;
    let batch: Vec<_> = jobs.iter().map(completed).collect();
    let settled = queue.settle_and_fetch(&batch, &fetch(9, 1)).await.unwrap();
    assert_eq!(ids(&settled.jobs), ["8"]);
    let settled: Vec<bool> = settled.results.iter().map(Result::is_ok).collect();
    assert_eq!(settled, [true, true, false, true, true, true]);
}

#[tokio::test]
async fn job_whose_parent_redis_refuses_stays_and_stops_no_other() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let flow = json!({ "name": "parent", "queueName": "ring", "opts": { "jobId": "parent" }, "children": [
        { "name": "child", "queueName": "ring", "opts": { "jobId": "child" } }] });
    let flow = parse_flow(&flow.to_string()).unwrap();
    let options = FlowOptions::default();
    queue.flows().add(vec![flow], &options).await.unwrap();
    for n in 0..4 {
        add(&queue, "any", json!(n)).await;
    }
    let jobs = take(&queue, 5, 0).await;
    let _: String = redis
        .command(&["SET", "bull:ring:parent:dependencies", "text"])
        .await;
    let batch: Vec<_> = jobs.iter().map(completed).collect();
    let refused = queue.settle_and_fetch(&batch, &fetch(0, 1)).await;
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    for job in &jobs {
        let state = match &*job.id {
            "child" => JobState::Active,
            _ => JobState::Completed,
        };
        assert_eq!(queue.state(&job.id).await.unwrap(), state, "{}", job.id);
    }
    assert!(
        redis
            .command::<bool>(&["EXISTS", "bull:ring:child:lock"])
            .await
    );
}

#[tokio::test]
async fn error_texts_are_bullmqs() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    add(&queue, "any", json!(null)).await;
    let jobs = take(&queue, 1, 0).await;
    let _: i64 = redis.command(&["DEL", "bull:ring:1:lock"]).await;
    let error = queue.settle_one(completed(&jobs[0])).await.unwrap_err();
    assert_eq!(error.to_string(), "Missing lock for job 1. moveToFinished");
    let orphan = new_job(
        "any",
        json!(null),
        json!({ "parent": { "id": "gone", "queue": "bull:ring" } }),
    );
    let error = queue.add(&orphan).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Missing key for parent job bull:ring:gone. addJob"
    );
}

#[tokio::test]
async fn job_is_settled_once() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    add(&queue, "any", json!(null)).await;
    let jobs = take(&queue, 1, 0).await;
    let twice = [completed(&jobs[0]), completed(&jobs[0])];
    let settled = queue.settle_and_fetch(&twice, &fetch(0, 1)).await.unwrap();
    assert!(settled.results[0].is_ok());
    assert!(settled.results[1].is_err());
    assert!(queue.settle_one(completed(&jobs[0])).await.is_err());
}

#[tokio::test]
async fn age_of_what_is_kept_may_be_a_part_of_a_second() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 2).await;
    let jobs = take(&queue, 2, 0).await;
    queue.settle_one(completed(&jobs[0])).await.unwrap();
    let settled_at = now_ms();
    while now_ms() < settled_at + 2 {
        tokio::task::yield_now().await;
    }
    let mut last = completed(&jobs[1]);
    if let SettlementKind::Completed { keep, .. } = &mut last.kind {
        keep.age_s = Some(0.0015);
    }
    queue.settle_one(last).await.unwrap();
    assert!(queue.job(&jobs[0].id).await.unwrap().is_none());
    assert!(queue.job(&jobs[1].id).await.unwrap().is_some());
}

#[tokio::test]
async fn lost_reply_is_reclaimed() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 4).await;
    let earlier = take(&queue, 1, 0).await;
    let lost = fetch(5, 1);
    let taken = queue.settle_and_fetch(&[], &lost).await.unwrap().jobs;
    let reclaimed = queue.reclaim(&lost).await.unwrap();
    assert_eq!(ids(&reclaimed), ids(&taken));
    assert_eq!(
        reclaimed.iter().map(|job| &*job.token).collect::<Vec<_>>(),
        ["test:1"; 3]
    );
    assert_eq!(reclaimed[0].attempts_started, 1);
    assert_eq!(
        ids(&earlier),
        ["1"],
        "what an earlier call took is not taken again"
    );
}

#[tokio::test]
async fn lock_that_ran_out_is_taken_again_unless_the_job_went_on() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 3).await;
    let jobs = take(&queue, 3, 0).await;
    let _: i64 = redis
        .command(&["DEL", "bull:ring:1:lock", "bull:ring:2:lock"])
        .await;
    let _: i64 = redis.command(&["LREM", "bull:ring:active", "1", "2"]).await;
    let _: String = redis.command(&["SET", "bull:ring:3:lock", "another"]).await;
    let locks: Vec<_> = jobs.iter().map(LockedAttempt::of).collect();
    let lost = queue.extend_locks(&locks, 5_000).await.unwrap();
    assert_eq!(lost, locks[1..]);
    assert_eq!(
        redis.command::<String>(&["GET", "bull:ring:1:lock"]).await,
        &*jobs[0].token
    );
    assert_eq!(
        redis.command::<String>(&["GET", "bull:ring:3:lock"]).await,
        "another"
    );
}

#[tokio::test]
async fn stalled_job_is_given_back_and_fails_after_too_many_times() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    add(&queue, "any", json!(null)).await;
    let check = async || {
        let _: i64 = redis.command(&["DEL", "bull:ring:stalled-check"]).await;
        queue.recover_stalled(30_000, 1).await.unwrap()
    };
    for round in 0..2 {
        let jobs = take(&queue, 1, round).await;
        assert_eq!(jobs[0].deferred_failure, None);
        let _: i64 = redis.command(&["DEL", "bull:ring:1:lock"]).await;
        assert!(check().await.is_empty(), "the first check only marks");
        assert!(
            queue.recover_stalled(30_000, 1).await.unwrap().is_empty(),
            "one check per interval"
        );
        assert_eq!(check().await, ["1"]);
    }
    let jobs = take(&queue, 1, 2).await;
    assert_eq!(
        jobs[0].deferred_failure.as_deref(),
        Some("job stalled more than allowable limit")
    );
    assert_eq!(jobs[0].stalled_counter, 2);
}

#[tokio::test]
async fn job_of_a_scheduler_is_not_failed_for_stalling() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    add(&queue, "any", json!(null)).await;
    let _: i64 = redis.command(&["HSET", "bull:ring:1", "rjk", "beat"]).await;
    let _: i64 = redis
        .command(&["HSET", "bull:ring:repeat:beat", "name", "any"])
        .await;
    for round in 0..3 {
        let jobs = take(&queue, 1, round).await;
        assert_eq!(
            (jobs[0].stalled_counter, &jobs[0].deferred_failure),
            (round as u32, &None)
        );
        let _: i64 = redis.command(&["DEL", "bull:ring:1:lock"]).await;
        for _ in 0..2 {
            let _: i64 = redis.command(&["DEL", "bull:ring:stalled-check"]).await;
            queue.recover_stalled(30_000, 0).await.unwrap();
        }
    }
}

#[tokio::test]
async fn job_whose_hash_is_gone_is_dropped_and_no_other_is_kept_waiting() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 3).await;
    let _: i64 = redis.command(&["DEL", "bull:ring:2"]).await;
    let jobs = take(&queue, 3, 0).await;
    assert_eq!(ids(&jobs), ["1", "3"]);
    assert!(
        !redis.command::<bool>(&["EXISTS", "bull:ring:2"]).await,
        "no ghost is left"
    );
    assert_eq!(redis.command::<u64>(&["LLEN", "bull:ring:active"]).await, 2);
}

#[tokio::test]
async fn job_with_other_fields_than_a_new_one_is_read_whole() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 3).await;
    // As many fields as a new one; and as many values as a new one has fields.
    let _: i64 = redis.command(&["HDEL", "bull:ring:1", "priority"]).await;
    let _: i64 = redis.command(&["HSET", "bull:ring:1", "ats", "4"]).await;
    let _: i64 = redis
        .command(&["HDEL", "bull:ring:2", "timestamp", "delay", "priority"])
        .await;
    let jobs = take(&queue, 3, 0).await;
    let read: Vec<_> = jobs
        .iter()
        .map(|job| (&*job.name, &*job.data, job.attempts_started))
        .collect();
    assert_eq!(read, [("any", "0", 5), ("any", "1", 1), ("any", "2", 1)]);
    assert!(jobs[0].timestamp > 0 && jobs[1].timestamp == 0 && jobs[2].timestamp > 0);
}

#[tokio::test]
async fn failed_batch_entries_keep_the_order_of_retries() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 3).await;
    let jobs = take(&queue, 3, 0).await;
    let retry = |job: &Job| {
        let attempt = failed_attempt();
        let lifo = false;
        Settlement::new(job, SettlementKind::Retry { attempt, lifo })
    };
    let batch: Vec<_> = jobs.iter().map(retry).collect();
    let settled = queue.settle_and_fetch(&batch, &fetch(10, 5)).await.unwrap();
    assert_eq!(ids(&settled.jobs), ["1", "2", "3"]);
    assert!(
        settled
            .jobs
            .iter()
            .all(|job| job.attempts_made == 1 && job.attempts_started == 2)
    );
}

#[tokio::test]
async fn jobs_that_end_in_any_order_are_settled() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 16).await;
    let jobs = take(&queue, 16, 0).await;
    let settle = async |ended: &[usize]| {
        let batch: Vec<_> = ended.iter().map(|id| completed(&jobs[id - 1])).collect();
        let settled = queue.settle_and_fetch(&batch, &fetch(0, 1)).await.unwrap();
        let settled: Vec<bool> = settled.results.iter().map(Result::is_ok).collect();
        let active: Vec<String> = redis
            .command(&["LRANGE", "bull:ring:active", "0", "-1"])
            .await;
        (settled, active.join(" "))
    };
    let all = vec![true; 4];
    // In order, not in order, behind those that go on, and far away from the end.
    let end = settle(&[1, 2, 3, 4]).await;
    assert_eq!(end, (all.clone(), "16 15 14 13 12 11 10 9 8 7 6 5".into()));
    let end = settle(&[8, 5, 10, 6]).await;
    assert_eq!(end, (all.clone(), "16 15 14 13 12 11 9 7".into()));
    let end = settle(&[11, 14, 12, 13]).await;
    assert_eq!(end, (all.clone(), "16 15 9 7".into()));
    // One is not there any more, and some are named twice.
    let end = settle(&[7, 8, 9, 7]).await;
    assert_eq!(end, (vec![true, false, true, false], "16 15".into()));
    let end = settle(&[15, 16, 15, 16]).await;
    assert_eq!(end, (vec![true, true, false, false], String::new()));
}

#[tokio::test]
async fn parent_that_a_running_job_is_given_is_told_of_its_end() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let child = new_job("any", json!(null), json!({ "jobId": "child" }));
    queue.add(&child).await.unwrap();
    let jobs = take(&queue, 1, 0).await;
    let flow = json!({ "name": "parent", "queueName": "ring", "opts": { "jobId": "parent" }, "children": [
        { "name": "any", "queueName": "ring", "opts": { "jobId": "child" } }] });
    let flow = parse_flow(&flow.to_string()).unwrap();
    queue
        .flows()
        .add(vec![flow], &FlowOptions::default())
        .await
        .unwrap();
    assert_eq!(
        queue.state("parent").await.unwrap(),
        JobState::WaitingChildren
    );
    queue.settle_one(completed(&jobs[0])).await.unwrap();
    assert_eq!(queue.state("parent").await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn running_parent_whose_child_failed_does_not_complete() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    add(&queue, "parent", json!(null)).await;
    let parents = take(&queue, 1, 0).await;
    let opts =
        json!({ "parent": { "id": "1", "queue": "bull:ring" }, "failParentOnFailure": true });
    let child = new_job("child", json!(null), opts);
    queue.add(&child).await.unwrap();
    let children = take(&queue, 1, 1).await;
    let kind = SettlementKind::Failed {
        attempt: failed_attempt(),
        attempts: 1.0,
        keep: KeepJobs::ALL,
    };
    let failed = Settlement::new(&children[0], kind);
    queue.settle_one(failed).await.unwrap();
    let error = queue.settle_one(completed(&parents[0])).await.unwrap_err();
    let code = match &error {
        QueueError::Job { code, .. } => *code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code, ErrorCode::JobHasFailedChildren);
    assert_eq!(queue.state("1").await.unwrap(), JobState::Active);
}

#[tokio::test]
async fn scripts_are_loaded_again_after_redis_forgot_them() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    add(&queue, "any", json!(1)).await;
    let _: String = redis.command(&["SCRIPT", "FLUSH"]).await;
    add(&queue, "any", json!(2)).await;
    assert_eq!(take(&queue, 5, 0).await.len(), 2);
}

#[tokio::test]
async fn large_batches_stay_whole() {
    let redis = TestRedis::start(false).await;
    let queue = ring_of(&redis, 500).await;
    let jobs = take(&queue, 500, 0).await;
    assert_eq!(jobs.len(), 500);
    let batch: Vec<_> = jobs.iter().map(completed).collect();
    let settled = queue
        .settle_and_fetch(&batch, &fetch(1, 500))
        .await
        .unwrap();
    assert!(settled.results.iter().all(Result::is_ok));
    assert_eq!(
        redis
            .command::<u64>(&["ZCARD", "bull:ring:completed"])
            .await,
        500
    );
}

#[tokio::test]
async fn failed_child_fails_its_parent_across_queues_and_prefixes() {
    let redis = TestRedis::start(false).await;
    let connection = redis.connect().await;
    let parents = Queue::new(
        connection.clone(),
        "bull",
        &QueueName::new("parents").unwrap(),
    );
    let children = Queue::new(connection, "other", &QueueName::new("children").unwrap());
    let flow = json!({ "name": "parent", "queueName": "parents", "opts": { "jobId": "p" }, "children": [
        { "name": "middle", "queueName": "children", "prefix": "other",
          "opts": { "jobId": "m", "failParentOnFailure": true }, "children": [
            { "name": "leaf", "queueName": "children", "prefix": "other",
              "opts": { "jobId": "l", "failParentOnFailure": true } }] }] });
    let flow = parse_flow(&flow.to_string()).unwrap();
    parents
        .flows()
        .add(vec![flow], &FlowOptions::default())
        .await
        .unwrap();
    for (number, id, reason) in [
        (0, "l", None),
        (1, "m", Some("child other:children:l failed")),
    ] {
        let jobs = take(&children, 1, number).await;
        assert_eq!(ids(&jobs), [id]);
        assert_eq!(jobs[0].deferred_failure.as_deref(), reason);
        let attempt = failed_attempt();
        let kind = SettlementKind::Failed {
            attempt,
            attempts: 0.0,
            keep: KeepJobs::ALL,
        };
        let settlement = Settlement::new(&jobs[0], kind);
        children.settle_one(settlement).await.unwrap();
    }
    let jobs = take(&parents, 1, 0).await;
    assert_eq!(
        jobs[0].deferred_failure.as_deref(),
        Some("child other:children:m failed")
    );
    let counts = parents
        .dependency_counts("p", DependencyKinds::default())
        .await
        .unwrap();
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [
            ("failed", 1),
            ("ignored", 0),
            ("processed", 0),
            ("unprocessed", 0)
        ]
    );
}

#[tokio::test]
async fn children_are_read_page_by_page() {
    const CHILDREN: usize = 2000;
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let _: i64 = redis
        .command(&["HSET", "bull:ring:p", "name", "parent", "timestamp", "1"])
        .await;
    for kind in ["processed", "failed"] {
        let pairs: Vec<String> = (0..CHILDREN)
            .flat_map(|n| [format!("bull:ring:{n}"), n.to_string()])
            .collect();
        let key = format!("bull:ring:p:{kind}");
        let parts: Vec<&str> = ["HSET", &key]
            .into_iter()
            .chain(pairs.iter().map(String::as_str))
            .collect();
        let _: i64 = redis.command(&parts).await;
    }
    let keys: Vec<String> = (0..CHILDREN).map(|n| format!("bull:ring:{n}")).collect();
    let parts = ["SADD", "bull:ring:p:dependencies"]
        .into_iter()
        .chain(keys.iter().map(String::as_str));
    let _: i64 = redis.command(&parts.collect::<Vec<_>>()).await;
    let scored = keys.iter().flat_map(|key| ["1", key.as_str()]);
    let parts: Vec<&str> = ["ZADD", "bull:ring:p:unsuccessful"]
        .into_iter()
        .chain(scored)
        .collect();
    let _: i64 = redis.command(&parts).await;

    let page = |cursor| Some(Page { cursor, count: 100 });
    let (mut processed, mut unprocessed, mut failed) =
        (HashSet::new(), HashSet::new(), HashSet::new());
    let mut query = DependenciesQuery {
        processed: page(0),
        unprocessed: page(0),
        failed: page(0),
        ..Default::default()
    };
    for round in 0.. {
        let found = queue.dependencies("p", &query).await.unwrap();
        assert!(found.ignored.is_none(), "it was not asked for");
        processed.extend(found.processed.unwrap_or_default().into_keys());
        unprocessed.extend(found.unprocessed.unwrap_or_default());
        let more_failed = found.failed.unwrap_or_default();
        assert!(more_failed.len() <= 100);
        query.failed = page(found.next_failed_cursor.unwrap()).filter(|_| !more_failed.is_empty());
        failed.extend(more_failed);
        query.processed = found
            .next_processed_cursor
            .filter(|next| *next > 0)
            .and_then(page);
        query.unprocessed = found
            .next_unprocessed_cursor
            .filter(|next| *next > 0)
            .and_then(page);
        // Asking for none at all would ask for everything.
        if query.processed.is_none() && query.unprocessed.is_none() && query.failed.is_none() {
            break;
        }
        assert!(round < 200);
    }
    assert_eq!(
        [processed.len(), unprocessed.len(), failed.len()],
        [CHILDREN; 3]
    );
}
