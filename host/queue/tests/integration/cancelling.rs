//! Cancelling jobs that wait.

use serde_json::json;
use toril_queue::{
    AttemptId, CancelledJob, JobState, KeepJobs, LockedAttempt, Queue, Settlement, parse_flow,
};

use crate::harness::{TestRedis, add, failed, new_job, settle, take};

async fn cancel(queue: &Queue, id: &str) -> CancelledJob {
    queue.cancel_unheld(id, "not wanted", None).await.unwrap()
}

async fn cancel_only(queue: &Queue, attempt: &AttemptId) -> CancelledJob {
    let cancelled = queue.cancel_unheld("a", "late", Some(attempt)).await;
    cancelled.unwrap()
}

/// Cancels job `a`, which a worker has. Returns the attempt that runs.
async fn attempt_that_runs(queue: &Queue) -> AttemptId {
    match cancel(queue, "a").await {
        CancelledJob::Runs { attempt, .. } => attempt,
        other => panic!("a worker has it: {other:?}"),
    }
}

async fn field(redis: &TestRedis, id: &str, field: &str) -> Option<String> {
    redis.run(&format!("HGET bull:paint:{id} {field}")).await
}

#[tokio::test]
async fn job_that_waits_in_any_way_fails_without_having_started() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let cases = [
        ("first", json!({}), JobState::Waiting),
        ("later", json!({ "delay": 3_600_000 }), JobState::Delayed),
        ("ranked", json!({ "priority": 7 }), JobState::Prioritized),
    ];
    for (id, options, state) in cases {
        let mut options = options;
        options["jobId"] = json!(id);
        queue.add(&new_job("paint", options)).await.unwrap();
        assert_eq!(
            cancel(&queue, id).await,
            CancelledJob::Failed(state),
            "{id}"
        );
        assert_eq!(queue.state(id).await.unwrap(), JobState::Failed, "{id}");
        let reason = field(&redis, id, "failedReason").await;
        assert_eq!(reason.as_deref(), Some("not wanted"), "{id}");
        for counter in ["ats", "processedOn"] {
            assert_eq!(field(&redis, id, counter).await, None, "{counter} of {id}");
        }
        let left: usize = redis.run(&format!("EXISTS bull:paint:{id}:lock")).await;
        assert_eq!(left, 0, "the lock of {id} is left");
    }
    let active: usize = redis.run("LLEN bull:paint:active").await;
    assert_eq!(active, 0);
}

#[tokio::test]
async fn job_of_a_paused_queue_is_found() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a", "b"]).await;
    // As producers of BullMQ 5 pause.
    let () = redis.run("RENAME bull:paint:wait bull:paint:paused").await;
    let () = redis.run("HSET bull:paint:meta paused 1").await;
    assert_eq!(
        cancel(&queue, "a").await,
        CancelledJob::Failed(JobState::Waiting)
    );
    let left: Vec<String> = redis.run("LRANGE bull:paint:paused 0 -1").await;
    assert_eq!(left, ["b"]);
}

#[tokio::test]
async fn job_that_runs_or_ended_is_left_alone() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a"]).await;
    take(&queue, 1, "worker:1").await;
    let before = redis.dump().await;
    let CancelledJob::Runs { token, .. } = cancel(&queue, "a").await else {
        panic!("a worker has it");
    };
    assert_eq!(&*token, "worker:1");
    assert_eq!(
        cancel(&queue, "b").await,
        CancelledJob::Ended(JobState::Unknown)
    );
    assert_eq!(redis.dump().await, before);
    let lock = queue.lock_of("a").await.unwrap().unwrap();
    assert_eq!(lock.token, "worker:1");
    assert!(lock.expires_in.is_some());
    add(&queue, &["c"]).await;
    cancel(&queue, "c").await;
    assert_eq!(
        cancel(&queue, "c").await,
        CancelledJob::Ended(JobState::Failed)
    );
}

/// Its worker died: nobody renews the lock, and nobody would be asked to stop the job.
#[tokio::test]
async fn active_job_without_a_lock_fails_at_once() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a", "b"]).await;
    let jobs = take(&queue, 1, "worker:1").await;
    let () = redis.run("DEL bull:paint:a:lock").await;
    let () = redis.run("SADD bull:paint:stalled a").await;
    let () = redis.run("HSET bull:paint:meta concurrency 1").await;
    let () = redis.run("DEL bull:paint:marker").await;
    assert_eq!(
        cancel(&queue, "a").await,
        CancelledJob::Failed(JobState::Active)
    );
    assert_eq!(queue.state("a").await.unwrap(), JobState::Failed);
    let reason = field(&redis, "a", "failedReason").await;
    assert_eq!(reason.as_deref(), Some("not wanted"));
    assert_eq!(field(&redis, "a", "atm").await.as_deref(), Some("1"));
    let left: usize = redis
        .run("EXISTS bull:paint:active bull:paint:stalled")
        .await;
    assert_eq!(left, 0);
    // No worker notices by itself that there is room again.
    let woken: usize = redis.run("EXISTS bull:paint:marker").await;
    assert_eq!(woken, 1);
    // A worker that comes back does not take the job again.
    let held = [LockedAttempt::of(&jobs[0])];
    assert_eq!(queue.extend_locks(&held, 1_000).await.unwrap(), held);
}

#[tokio::test]
async fn only_the_attempt_that_was_named_is_cancelled() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a"]).await;
    let jobs = take(&queue, 1, "worker:1").await;
    let attempt = attempt_that_runs(&queue).await;
    assert_eq!(attempt, AttemptId::of(&jobs[0]));
    // It is given back, and then tried again, as a worker of BullMQ does it.
    let () = redis.run("DEL bull:paint:a:lock bull:paint:active").await;
    let () = redis.run("RPUSH bull:paint:wait a").await;
    let () = redis.run("HSET bull:paint:a atm 1").await;
    let before = redis.dump().await;
    assert_eq!(
        cancel_only(&queue, &attempt).await,
        CancelledJob::AnotherAttempt(JobState::Waiting)
    );
    assert_eq!(redis.dump().await, before);
    let () = redis.run("HSET bull:paint:a atm 0").await;
    assert_eq!(
        cancel_only(&queue, &attempt).await,
        CancelledJob::Failed(JobState::Waiting)
    );
    // A retry by hand is another attempt.
    assert_eq!(field(&redis, "a", "atm").await.as_deref(), Some("1"));
}

/// The first cancel found it running, the second one after it was given back: its retry is not what they were for.
#[tokio::test]
async fn start_of_a_job_that_was_given_back_counts_when_it_is_cancelled() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a"]).await;
    take(&queue, 1, "worker:1").await;
    let attempt = attempt_that_runs(&queue).await;
    let () = redis.run("DEL bull:paint:a:lock bull:paint:active").await;
    let () = redis.run("RPUSH bull:paint:wait a").await;
    cancel(&queue, "a").await;
    queue.retry("a", false).await.unwrap();
    assert_eq!(
        cancel_only(&queue, &attempt).await,
        CancelledJob::AnotherAttempt(JobState::Waiting)
    );
}

#[tokio::test]
async fn job_that_is_added_again_under_an_id_is_another_one() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a"]).await;
    take(&queue, 1, "worker:1").await;
    let attempt = attempt_that_runs(&queue).await;
    let () = redis
        .run("DEL bull:paint:a bull:paint:a:lock bull:paint:active")
        .await;
    let again = new_job("paint", json!({ "jobId": "a", "timestamp": 7 }));
    queue.add(&again).await.unwrap();
    assert_eq!(
        cancel_only(&queue, &attempt).await,
        CancelledJob::Ended(JobState::Unknown)
    );
}

#[tokio::test]
async fn failure_of_a_job_that_is_gone_is_read_from_the_events() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let job = new_job("paint", json!({ "jobId": "a", "removeOnFail": true }));
    queue.add(&job).await.unwrap();
    assert_eq!(queue.failure_of("a").await.unwrap(), None);
    cancel(&queue, "a").await;
    let failure = queue.failure_of("a").await.unwrap();
    assert_eq!(failure.as_deref(), Some("not wanted"));
}

/// A call that cancels a flow asks for them once the job has stopped.
#[tokio::test]
async fn children_of_a_job_that_is_gone_are_told_to_who_names_its_attempt() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let job = |id: &str, more: serde_json::Value| {
        let mut options = json!({ "jobId": id });
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        new_job("paint", options)
    };
    let child = |id: &str| {
        let parent = json!({ "id": "a", "queue": "bull:paint" });
        job(id, json!({ "delay": 3_600_000, "parent": parent }))
    };
    let children = async |attempt: &AttemptId| {
        let named = queue.cancel_unheld_of_flow("a", "late", Some(attempt), true);
        let (_, children) = named.await.unwrap();
        children.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    queue
        .add(&job("a", json!({ "timestamp": 1_000 })))
        .await
        .unwrap();
    let taken = take(&queue, 1, "worker:1").await;
    let first = attempt_that_runs(&queue).await;
    queue.add(&child("b")).await.unwrap();
    assert_eq!(children(&first).await, ["b"], "while it runs");
    let none = KeepJobs {
        count: Some(0),
        ..KeepJobs::ALL
    };
    settle(
        &queue,
        &[Settlement::new(&taken[0], failed(none))],
        0,
        "worker:1",
    )
    .await;
    assert_eq!(children(&first).await, ["b"], "once it is gone");

    // Another job has its id.
    queue
        .add(&job("a", json!({ "timestamp": 2_000 })))
        .await
        .unwrap();
    take(&queue, 1, "worker:1").await;
    let second = attempt_that_runs(&queue).await;
    queue.add(&child("c")).await.unwrap();
    assert_eq!(children(&first).await, ["b"]);
    assert_eq!(children(&second).await, ["c"]);
    let notes: Vec<String> = redis.run("KEYS *children-of*").await;
    let ttl: i64 = redis.run(&format!("PTTL {}", notes[0])).await;
    assert!(0 < ttl && ttl <= 300_000, "{notes:?} stays for {ttl} ms");
}

#[tokio::test]
async fn rule_of_the_job_decides_whether_it_is_kept() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let job = new_job("paint", json!({ "jobId": "a", "removeOnFail": true }));
    queue.add(&job).await.unwrap();
    cancel(&queue, "a").await;
    let left: usize = redis.run("EXISTS bull:paint:a").await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn parent_learns_of_a_cancelled_child_and_can_be_cancelled_itself() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let tree = |id: &str, child: &str, opts: serde_json::Value| {
        let child = json!({ "name": "child", "queueName": "paint", "opts": {
            "jobId": child, "failParentOnFailure": opts["fail"], "delay": 3_600_000 } });
        let root = json!({ "name": "root", "queueName": "paint", "opts": { "jobId": id }, "children": [child] });
        parse_flow(&root.to_string()).unwrap()
    };
    let flows = queue.flows();
    let roots = vec![
        tree("root", "child", json!({ "fail": true })),
        tree("other", "leaf", json!({ "fail": false })),
    ];
    flows.add(roots, &Default::default()).await.unwrap();
    assert_eq!(
        cancel(&queue, "child").await,
        CancelledJob::Failed(JobState::Delayed)
    );
    // The parent runs next, to fail unrun: as BullMQ does it where a child fails its parent.
    assert_eq!(queue.state("root").await.unwrap(), JobState::Waiting);

    let children = queue.pending_children("other").await.unwrap();
    let ids: Vec<&str> = children.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["leaf"]);
    assert_eq!(
        cancel(&queue, "other").await,
        CancelledJob::Failed(JobState::WaitingChildren)
    );
    cancel(&queue, "leaf").await;
    assert_eq!(queue.state("other").await.unwrap(), JobState::Failed);
}

/// A job that waits, made by a scheduler with these options.
async fn scheduled(redis: &TestRedis, repeat: serde_json::Value) -> &'static str {
    let id = "repeat:daily:4000000000000";
    let opts = json!({ "repeat": repeat });
    for command in [
        "ZADD bull:paint:repeat 4000000000000 daily".to_owned(),
        "HSET bull:paint:repeat:daily name paint ic 1".to_owned(),
        format!(
            "HSET bull:paint:{id} name paint timestamp 1 data {{}} rjk daily delay 0 opts {opts}"
        ),
        format!("LPUSH bull:paint:wait {id}"),
    ] {
        let () = redis.run(&command).await;
    }
    id
}

#[tokio::test]
async fn job_whose_schedule_cannot_be_read_stays_where_it_is() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let id = scheduled(&redis, json!({ "pattern": "every-day", "count": 1 })).await;
    let before = redis.dump().await;
    let refused = queue.cancel_unheld(id, "not wanted", None).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("job scheduler `daily`")
    );
    assert_eq!(redis.dump().await, before);
}

#[tokio::test]
async fn scheduler_goes_on_after_a_job_of_it_was_cancelled() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let id = scheduled(&redis, json!({ "every": 3_600_000, "count": 1 })).await;
    assert_eq!(
        cancel(&queue, id).await,
        CancelledJob::Failed(JobState::Waiting)
    );
    let delayed: Vec<String> = redis.run("ZRANGE bull:paint:delayed 0 -1").await;
    assert_eq!(delayed.len(), 1, "the next job of the scheduler");
    assert_eq!(queue.state(id).await.unwrap(), JobState::Failed);
}

#[tokio::test]
async fn job_is_cancelled_where_redis_has_no_memory_left() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a"]).await;
    let () = redis.run("CONFIG SET maxmemory 1").await;
    assert_eq!(
        cancel(&queue, "a").await,
        CancelledJob::Failed(JobState::Waiting)
    );
    let events: Vec<(String, Vec<String>)> = redis.run("XRANGE bull:paint:events - +").await;
    let last = &events[events.len() - 2].1;
    assert!(last.contains(&"failed".to_owned()), "{last:?}");
    assert!(events[events.len() - 1].1.contains(&"drained".to_owned()));
}
