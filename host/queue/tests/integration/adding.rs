//! Adding jobs and log lines.

use serde_json::json;
use toril_queue::{Caller, ErrorCode, FlowOptions, QueueError, parse_flow};

use crate::harness::{TestRedis, add, ids, new_job, take};

#[tokio::test]
async fn two_jobs_of_one_id_in_one_call_are_one_job() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let twice = [
        new_job("first", json!({ "jobId": "x" })),
        new_job("second", json!({ "jobId": "x" })),
    ];
    assert_eq!(queue.add_bulk(&twice).await.unwrap(), ["x", "x"]);
    let line: Vec<String> = redis.run("LRANGE bull:q:wait 0 -1").await;
    assert_eq!(line, ["x"]);
    assert_eq!(queue.job("x").await.unwrap().unwrap()["name"], "first");
    let delayed = [
        new_job("n", json!({ "jobId": "y", "delay": 5 })),
        new_job("n", json!({ "jobId": "y", "priority": 3 })),
    ];
    queue.add_bulk(&delayed).await.unwrap();
    let prioritized: u64 = redis.run("ZCARD bull:q:prioritized").await;
    assert_eq!(prioritized, 0);
}

#[tokio::test]
async fn child_that_names_two_parents_in_one_call_is_refused() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["p1", "p2"]).await;
    let before = redis.dump().await;
    let child = |parent: &str| {
        new_job(
            "n",
            json!({ "jobId": "c", "parent": { "id": parent, "queue": "bull:q" } }),
        )
    };
    let refused = queue
        .add_bulk(&[child("p1"), child("p2")])
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            QueueError::Job {
                code: ErrorCode::ParentJobCannotBeReplaced,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(redis.dump().await, before);
    assert_eq!(
        queue.add_bulk(&[child("p1"), child("p1")]).await.unwrap(),
        ["c", "c"]
    );
}

#[tokio::test]
async fn repeated_request_adds_once_and_leaves_nothing() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let mut caller = Caller::new(queue.redis().clone(), "t/1");
    let request = caller.request();
    let jobs = [new_job("n", json!({})), new_job("n", json!({}))];
    let first = queue.add_bulk_once(&jobs, &request).await.unwrap();
    assert_eq!(ids(&take(&queue, 1, "t").await), [&*first[0]]);
    assert_eq!(queue.add_bulk_once(&jobs, &request).await.unwrap(), first);
    let waiting: u64 = redis.run("LLEN bull:q:wait").await;
    assert_eq!(waiting, 1);

    let line = caller.request();
    for _ in 0..2 {
        let count = queue.add_log_once("1", "a", None, &line).await;
        assert_eq!(count.unwrap(), 1);
    }
    let again = queue.add_log_once("1", "a", None, &caller.request()).await;
    assert_eq!(again.unwrap(), 2);
    assert_eq!(queue.logs("1", 9).await.unwrap(), ["a", "a"]);
    let ttl: i64 = redis.run("PTTL bull:q:toril-request:t/1").await;
    assert!((1..=120_000).contains(&ttl));
    drop(caller);
    // Sent over the same connection, and so after what the caller sent when it was dropped.
    queue.state("1").await.unwrap();
    let notes: Vec<String> = redis.run("KEYS *toril*").await;
    assert_eq!(notes, [""; 0]);
}

#[tokio::test]
async fn request_that_was_lost_on_its_way_is_carried_out_when_repeated() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let request = Caller::new(queue.redis().clone(), "t/1").request();
    let jobs = [new_job("n", json!({}))];
    let () = redis.run("CONFIG SET maxmemory 1").await;
    assert!(queue.add_bulk_once(&jobs, &request).await.is_err());
    let () = redis.run("CONFIG SET maxmemory 0").await;
    let added = queue.add_bulk_once(&jobs, &request).await.unwrap();
    assert_eq!(added, ["1"]);
}

#[tokio::test]
async fn repeated_plan_of_a_flow_adds_nothing_even_when_its_jobs_are_gone() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let flow = parse_flow(r#"{"name":"n","queueName":"q"}"#).unwrap();
    let plan = queue
        .flows()
        .plan(vec![flow], &FlowOptions::default())
        .unwrap();
    let mut caller = Caller::new(queue.redis().clone(), "t/1");
    let request = caller.request();
    let added = plan.add_once(&request).await.unwrap();
    queue.remove(&added[0].id, true).await.unwrap();
    assert_eq!(plan.add_once(&request).await.unwrap(), added);
    let waiting: u64 = redis.run("LLEN bull:q:wait").await;
    assert_eq!(waiting, 0);
}

#[tokio::test]
async fn keys_of_bullmq_are_enough() {
    let redis = TestRedis::start().await;
    let () = redis
        .run("ACL SETUSER worker on >secret ~bull:q:* +@all")
        .await;
    let url = format!("{}?user=worker&pass=secret", redis.url());
    let connection = toril_queue::Redis::connect(&url).await.unwrap();
    let queue = toril_queue::Queue::new(
        connection,
        "bull",
        &toril_queue::QueueName::new("q").unwrap(),
    );
    add(&queue, &["a", "b"]).await;
    let job = take(&queue, 1, "t").await.remove(0);
    queue.update_progress("a", Some("t"), "1").await.unwrap();
    queue
        .add_log_once(
            "a",
            "x",
            None,
            &Caller::new(queue.redis().clone(), "t/a").request(),
        )
        .await
        .unwrap();
    queue
        .extend_locks(&[toril_queue::LockedAttempt::of(&job)], 1000)
        .await
        .unwrap();
    queue.recover_stalled(1000, 1).await.unwrap();
    queue.reclaim(&crate::harness::fetch(0, "t")).await.unwrap();
    let settlement =
        toril_queue::Settlement::new(&job, crate::harness::completed(toril_queue::KeepJobs::ALL));
    queue.settle_one(settlement).await.unwrap();
    queue.remove("b", true).await.unwrap();
    queue.retry("a", true).await.unwrap();
    assert!(queue.promote("a").await.is_err());
}

#[tokio::test]
async fn next_job_of_a_scheduler_has_its_deduplication_id() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let options = r#"{"repeat":{"every":1000},"de":{"id":"one"}}"#;
    let () = redis.run(&format!("HSET bull:q:repeat:s:1000 name n data 1 opts {options} timestamp 1 delay 0 priority 0 rjk s")).await;
    let () = redis.run("HSET bull:q:repeat:s name n every 1000").await;
    let () = redis.run("ZADD bull:q:repeat 1000 s").await;
    let () = redis.run("LPUSH bull:q:wait repeat:s:1000").await;
    let job = take(&queue, 1, "t").await.remove(0);
    let next = queue.advance_scheduler(&job).await.unwrap().unwrap();
    assert_eq!(queue.job(&next).await.unwrap().unwrap()["deid"], "one");
}

#[tokio::test]
async fn deduplication_of_any_length_adds_all_jobs() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for (round, ttl) in [1, u64::MAX, i64::MAX as u64, 1_000_000_000_000_000_000]
        .into_iter()
        .enumerate()
    {
        let jobs = [
            new_job("n", json!({})),
            new_job(
                "n",
                json!({ "deduplication": { "id": format!("d{round}"), "ttl": ttl } }),
            ),
        ];
        assert_eq!(queue.add_bulk(&jobs).await.unwrap().len(), 2, "{ttl}");
    }
}

/// As where the reply was lost: the second call must be told what the first one did.
#[tokio::test]
async fn removal_and_change_that_are_sent_twice_are_answered_as_the_first_time() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let mut caller = Caller::new(queue.redis().clone(), "t/1");
    let job = new_job("n", json!({ "jobId": "one", "delay": 60_000 }));
    let id = queue.add(&job).await.unwrap();
    let change = caller.request();
    queue.change_delay_once(&id, 90_000, &change).await.unwrap();
    let events: u64 = redis.run("XLEN bull:q:events").await;
    queue.change_delay_once(&id, 90_000, &change).await.unwrap();
    assert_eq!(redis.run::<u64>("XLEN bull:q:events").await, events);
    let remove = caller.request();
    for _ in 0..2 {
        queue.remove_within(&id, true, None, &remove).await.unwrap();
    }
    let other = caller.request();
    assert!(queue.remove_within(&id, true, None, &other).await.is_err());
    // A refusal changed nothing: the next time it may be none.
    queue
        .add(&new_job("n", json!({ "jobId": id })))
        .await
        .unwrap();
    queue.remove_within(&id, true, None, &other).await.unwrap();
    let () = redis.run("ZADD bull:q:repeat 5 s").await;
    let remove = caller.request();
    for _ in 0..2 {
        assert!(queue.remove_scheduler_once("s", &remove).await.unwrap());
    }
    assert!(!queue.remove_scheduler("s").await.unwrap());
    let () = redis.run("SET bull:q:de:d 1").await;
    let remove = caller.request();
    for _ in 0..2 {
        let removed = queue.remove_deduplication_key("d", &remove);
        assert!(removed.await.unwrap());
    }
    let other = caller.request();
    let removed = queue.remove_deduplication_key("d", &other);
    assert!(!removed.await.unwrap());
}
