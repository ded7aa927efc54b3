//! Locks that ran out while nobody could renew them, and writes that Redis has no room for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, json};
use toril::queue::{Fetch, Job, JobState, Queue};
use toril::redis_backend::RedisBackend;
use toril::sandbox::backend::{CallResult, JobBackend, JobError, NewJob, StepBackend};
use toril::sandbox::names::QueueRef;
use toril::worker::Listeners;

use crate::harness::{TestHost, TestRedis, add, reaches};

/// A job that this test took, as a worker does.
async fn take(queue: &Queue) -> Arc<Job> {
    let id = add(queue, "any", json!(1)).await;
    let fetch = Fetch {
        worker: None,
        lock_ms: 60_000,
        want: 1,
        bytes_max: usize::MAX,
        token: format!("token of {id}").into(),
        limiter: None,
        metrics_points: None,
        pin: None,
    };
    let taken = queue.settle_and_fetch(&[], &fetch).await.unwrap();
    Arc::new(taken.jobs.into_iter().next().unwrap())
}

/// Each call of a guest that needs the job's lock.
async fn write(call: &str, backend: &mut RedisBackend) -> CallResult<()> {
    match call {
        "update-data" => backend.update_data("2").await,
        "update-progress" => {
            backend.update_progress("50").await?;
            backend.stored().await;
            // Not waited for: the next one is told.
            backend.update_progress("60").await
        }
        "log" => backend.log("a line").await.map(drop),
        "keep-step" => backend.keep_step("a", r#"{"value":1}"#).await,
        "move-to-wait" => backend.move_to_wait().await,
        _ => backend.move_to_delayed(u64::MAX).await,
    }
}

const WRITES: [&str; 6] = [
    "update-data",
    "update-progress",
    "log",
    "keep-step",
    "move-to-wait",
    "move-to-delayed",
];

#[tokio::test]
async fn attempt_whose_lock_ran_out_goes_on_while_nobody_has_its_job() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    for call in WRITES {
        let job = take(&queue).await;
        let lock = format!("bull:ring:{}:lock", job.id);
        let mut backend = RedisBackend::new(queue.clone(), Arc::clone(&job), Listeners::default());
        let _: u64 = redis.command(&["DEL", &lock]).await;
        write(call, &mut backend)
            .await
            .unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let holder: Option<String> = redis.command(&["GET", &lock]).await;
        let moved = call.starts_with("move");
        assert_eq!(holder, (!moved).then(|| job.token.to_string()), "{call}");
        let _: String = redis.command(&["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn attempt_whose_job_is_another_workers_writes_nothing() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    for call in WRITES {
        for given_back in [false, true] {
            let job = take(&queue).await;
            let lock = format!("bull:ring:{}:lock", job.id);
            let mut backend =
                RedisBackend::new(queue.clone(), Arc::clone(&job), Listeners::default());
            if given_back {
                // As the check for stalled jobs does.
                let _: u64 = redis.command(&["DEL", &lock]).await;
                let _: u64 = redis
                    .command(&["LREM", "bull:ring:active", "1", &job.id])
                    .await;
                let _: u64 = redis.command(&["RPUSH", "bull:ring:wait", &job.id]).await;
            } else {
                let _: String = redis.command(&["SET", &lock, "another worker"]).await;
            }
            let before = queue.job(&job.id).await.unwrap();
            let error = write(call, &mut backend).await.unwrap_err();
            assert!(matches!(error, JobError::LockLost(_)), "{call}: {error:?}");
            assert_eq!(queue.job(&job.id).await.unwrap(), before, "{call}");
            let _: String = redis.command(&["FLUSHALL"]).await;
        }
    }
}

#[tokio::test]
async fn outcome_of_a_job_whose_lock_ran_out_is_settled_while_nobody_has_it() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    // Nobody renews it in the time of the test.
    let options = "lock_duration_ms = 3600000\nstalled_interval_ms = 3600000\nconcurrency = 4";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        // All of them still run when the last one has lost its lock.
        ids.push(add(&queue, "sleep", json!(3_000)).await);
    }
    for id in &ids {
        reaches(&queue, id, JobState::Active).await;
        let _: u64 = redis
            .command(&["DEL", &format!("bull:ring:{id}:lock")])
            .await;
    }
    for id in &ids {
        let job = reaches(&queue, id, JobState::Completed).await;
        assert_eq!(job["ats"], "1");
    }
    host.stop().await;
}

#[tokio::test]
async fn job_that_is_removed_while_it_runs_makes_room_for_the_next_one() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let _: u64 = redis
        .command(&["HSET", "bull:ring:meta", "concurrency", "1"])
        .await;
    // The worker has a free slot, and sleeps until a marker comes: for longer than the test takes.
    let options = "lock_duration_ms = 1000\nconcurrency = 2\ndrain_delay_ms = 3600000";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let removed = add(&queue, "sleep", json!(60_000)).await;
    reaches(&queue, &removed, JobState::Active).await;
    let next = add(&queue, "sleep", json!(0)).await;
    // As `obliterate` does it: no script of BullMQ tells workers of it.
    let job = format!("bull:ring:{removed}");
    let lock = format!("{job}:lock");
    let _: u64 = redis
        .command(&["DEL", &job, &lock, "bull:ring:active"])
        .await;
    reaches(&queue, &next, JobState::Completed).await;
    host.stop().await;
}

/// Calls of scripts since the last time.
async fn calls_of_scripts(redis: &TestRedis) -> u64 {
    let stats: String = redis.command(&["INFO", "commandstats"]).await;
    let _: String = redis.command(&["CONFIG", "RESETSTAT"]).await;
    let calls = |line: &str| {
        let (name, counts) = line.split_once(":calls=")?;
        let count = counts.split(',').next()?.parse::<u64>().ok()?;
        name.starts_with("cmdstat_eval").then_some(count)
    };
    stats.lines().filter_map(calls).sum()
}

#[tokio::test]
async fn what_a_guest_need_not_wait_for_goes_together_and_in_order() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let job = take(&queue).await;
    let mut backend = RedisBackend::new(queue.clone(), Arc::clone(&job), Listeners::default());
    assert_eq!(backend.log("line 1").await.unwrap(), 1);
    calls_of_scripts(&redis).await;
    for n in 2..=30 {
        assert_eq!(backend.log(&format!("line {n}")).await.unwrap(), n);
        backend.update_progress(&n.to_string()).await.unwrap();
    }
    backend.update_data("2").await.unwrap();
    assert_eq!(calls_of_scripts(&redis).await, 1);

    let logs = queue.logs(&job.id, 100).await.unwrap();
    let lines: Vec<_> = (1..=30).map(|n| format!("line {n}")).collect();
    assert_eq!(logs, lines);
    let fields = queue.job(&job.id).await.unwrap().unwrap();
    assert_eq!((&*fields["data"], &*fields["progress"]), ("2", "30"));
    let events: Vec<(String, BTreeMap<String, String>)> = redis
        .command(&["XRANGE", "bull:ring:events", "-", "+"])
        .await;
    let progress: Vec<_> = events
        .iter()
        .filter(|(_, event)| event["event"] == "progress")
        .map(|(_, event)| event["data"].clone())
        .collect();
    let expected: Vec<_> = (2..=30).map(|n| n.to_string()).collect();
    assert_eq!(progress, expected);
}

#[tokio::test]
async fn guest_waits_where_much_waits_to_be_stored() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let job = take(&queue).await;
    let mut backend = RedisBackend::new(queue.clone(), Arc::clone(&job), Listeners::default());
    let large = "x".repeat(100_000);
    for n in 0..300 {
        backend.log(&format!("line {n}")).await.unwrap();
    }
    for _ in 0..4 {
        backend.log(&large).await.unwrap();
    }
    backend.stored().await;
    // Each call took as many lines as may wait.
    let calls = calls_of_scripts(&redis).await;
    assert!((8..16).contains(&calls), "{calls} calls");
    assert_eq!(queue.logs(&job.id, 1000).await.unwrap().len(), 304);
}

/// Its work is done, whether somebody sees how far it was or not.
#[tokio::test]
async fn job_completes_whose_progress_is_refused() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let id = add(&queue, "flood-progress", json!(1)).await;
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let line = "log lines or progress of a job are lost";
    host.logs(line).await;
    reaches(&queue, &id, JobState::Completed).await;
    host.stop().await;
}

#[tokio::test]
async fn writes_are_refused_at_once_where_redis_has_no_memory_left() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let job = take(&queue).await;
    let mut backend = RedisBackend::new(queue.clone(), job, Listeners::default());
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let other = QueueRef::new("bull", "other").unwrap();
    let new = NewJob {
        name: "n".to_owned(),
        data: "1".to_owned(),
        options: Map::new(),
        parent: None,
    };
    let added = backend.add(&other, vec![new]).await.map(drop);
    let logged = backend.log("a line").await.map(drop);
    let updated = backend.update_data("2").await;
    for refused in [added, logged, updated] {
        let error = refused.unwrap_err();
        assert!(matches!(error, JobError::Unavailable(_)), "{error:?}");
    }
    // What takes no room passes.
    backend.move_to_wait().await.unwrap();
}

#[tokio::test]
async fn what_a_guest_goes_on_from_is_stored_where_its_notes_are_refused() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let job = take(&queue).await;
    let mut backend = RedisBackend::new(queue.clone(), Arc::clone(&job), Listeners::default());
    backend.log("a line").await.unwrap();
    let logs = format!("bull:ring:{}:logs", job.id);
    let _: u64 = redis.command(&["DEL", &logs]).await;
    let _: String = redis.command(&["SET", &logs, "no list"]).await;
    // All three go in one call, which is refused for its line.
    backend.log("a line").await.unwrap();
    backend.update_progress("50").await.unwrap();
    backend.update_data("2").await.unwrap();
    backend.keep_step("a", r#"{"value":1}"#).await.unwrap();
    assert!(backend.update_progress("55").await.is_err());
    backend.update_progress("60").await.unwrap();
    backend.stored().await;
    assert!(
        backend.log("a line").await.is_err(),
        "its answer is a count again"
    );
    let fields = queue.job(&job.id).await.unwrap().unwrap();
    assert_eq!((&*fields["data"], &*fields["progress"]), ("2", "60"));
    assert_eq!(fields["toril:step:a"], r#"{"value":1}"#);
}

/// What an attempt wrote is stored before it calls others: they find it.
#[tokio::test]
async fn other_calls_do_not_overtake_progress() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let job = take(&queue).await;
    let mut backend = RedisBackend::new(queue.clone(), Arc::clone(&job), Listeners::default());
    let other = QueueRef::new("bull", "other").unwrap();
    for n in 0..20 {
        backend.update_progress(&n.to_string()).await.unwrap();
        let new = NewJob {
            name: "n".to_owned(),
            data: "1".to_owned(),
            options: Map::new(),
            parent: None,
        };
        backend.add(&other, vec![new]).await.unwrap();
        let fields = queue.job(&job.id).await.unwrap().unwrap();
        assert_eq!(fields["progress"], n.to_string());
    }
}
