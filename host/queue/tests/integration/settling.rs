//! Settling jobs.

use serde_json::json;
use toril_queue::{ErrorCode, JobState, KeepJobs, Queue, QueueError, Settlement, SettlementKind};

use crate::harness::{TestRedis, add, completed, failed, fetch, ids, new_job, settle, take};

fn keep(count: i64) -> KeepJobs {
    KeepJobs {
        count: Some(count),
        ..KeepJobs::ALL
    }
}

/// Settles jobs `a`, `b`, … of these rules in one call and, in another queue, one by one.
async fn ends_as_one_by_one(redis: &TestRedis, round: usize, rules: &[(bool, KeepJobs)]) {
    let (batch, single) = (
        redis.queue(&format!("batch{round}")).await,
        redis.queue(&format!("single{round}")).await,
    );
    for queue in [&batch, &single] {
        let base = queue.keys().base();
        for (set, score) in [
            ("completed", 1000),
            ("completed", 2000),
            ("failed", 1000),
            ("failed", 2000),
        ] {
            let id = format!("old-{set}-{score}");
            let () = redis.run(&format!("ZADD {base}:{set} {score} {id}")).await;
            let () = redis
                .run(&format!("HSET {base}:{id} name n timestamp 1"))
                .await;
        }
    }
    let names: Vec<String> = (0..rules.len())
        .map(|at| char::from(b'a' + at as u8).to_string())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settlements = async |queue: &Queue| -> Vec<Settlement> {
        add(queue, &names).await;
        let jobs = take(queue, rules.len(), "t").await;
        let settle = |(job, (completes, keep)): (_, &(bool, KeepJobs))| {
            let kind = if *completes {
                completed(*keep)
            } else {
                failed(*keep)
            };
            Settlement::new(job, kind)
        };
        jobs.iter().zip(rules).map(settle).collect()
    };
    settle(&batch, &settlements(&batch).await, 0, "t").await;
    for settlement in settlements(&single).await {
        single.settle_one(settlement).await.unwrap();
    }
    for set in ["completed", "failed"] {
        let kept = async |queue: &Queue| -> Vec<String> {
            let mut kept: Vec<String> = redis
                .run(&format!("ZRANGE {}:{set} 0 -1", queue.keys().base()))
                .await;
            // One by one they may end in different milliseconds.
            kept.sort();
            kept
        };
        assert_eq!(
            kept(&batch).await,
            kept(&single).await,
            "{set} of {rules:?}"
        );
    }
}

#[tokio::test]
async fn retention_in_one_call_ends_as_one_by_one() {
    let redis = TestRedis::start().await;
    let age = |age_s, limit| KeepJobs {
        count: None,
        age_s: Some(age_s),
        limit,
    };
    let rules = [
        KeepJobs::ALL,
        keep(1),
        keep(2),
        keep(0),
        age(3600.0, Some(1)),
        age(3600.0, None),
    ];
    ends_as_one_by_one(
        &redis,
        0,
        &[
            (true, keep(1)),
            (true, KeepJobs::ALL),
            (true, KeepJobs::ALL),
        ],
    )
    .await;
    ends_as_one_by_one(
        &redis,
        1,
        &[(true, KeepJobs::ALL), (true, keep(1)), (false, keep(2))],
    )
    .await;
    let mut random = fastrand::Rng::with_seed(7);
    for round in 2..60 {
        let jobs: Vec<_> = (0..random.usize(1..7))
            .map(|_| (random.bool(), *random.choice(rules.iter()).unwrap()))
            .collect();
        ends_as_one_by_one(&redis, round, &jobs).await;
    }
}

/// One after the other in one call: what is applied for the first one must not keep the others from where they go.
#[tokio::test]
async fn rule_that_cannot_be_applied_loses_no_job() {
    let redis = TestRedis::start().await;
    let huge = [
        keep(i64::MAX),
        KeepJobs {
            count: None,
            age_s: Some(1e300),
            limit: Some(u64::MAX),
        },
        // Many neighbours have it: what one call removes at most is that many times this.
        KeepJobs {
            count: None,
            age_s: Some(3600.0),
            limit: Some((1 << 53) - 1),
        },
    ];
    for (round, rule) in huge.into_iter().enumerate() {
        let queue = redis.queue(&format!("q{round}")).await;
        let names: Vec<String> = (0..40).map(|number| format!("j{number}")).collect();
        add(
            &queue,
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
        )
        .await;
        let jobs = take(&queue, 40, "t").await;
        let rule_of = |at: usize| if at < 20 { rule } else { KeepJobs::ALL };
        let settlements: Vec<_> = jobs
            .iter()
            .enumerate()
            .map(|(at, job)| Settlement::new(job, completed(rule_of(at))))
            .collect();
        settle(&queue, &settlements, 0, "t").await;
        let done: u64 = redis.run(&format!("ZCARD bull:q{round}:completed")).await;
        assert_eq!(done, 40, "{rule:?}");
    }
}

#[tokio::test]
async fn old_jobs_of_any_shape_do_not_keep_new_ones_from_their_place() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    // No hash, a parent that is no text, and a parent whose keys are not what they should be.
    let () = redis.run("SET bull:q:text x").await;
    let () = redis
        .run(r#"HSET bull:q:record name n timestamp 1 parent {"id":{},"queueKey":[]}"#)
        .await;
    let () = redis
        .run("HSET bull:q:child name n timestamp 1 parentKey bull:q:p")
        .await;
    let () = redis.run("SET bull:q:p:dependencies x").await;
    for id in ["text", "record", "child"] {
        let () = redis.run(&format!("ZADD bull:q:completed 1 {id}")).await;
    }
    add(&queue, &["a", "b", "c", "d"]).await;
    let jobs = take(&queue, 4, "t").await;
    let rules = [keep(1), KeepJobs::ALL, KeepJobs::ALL, KeepJobs::ALL];
    let settlements: Vec<_> = jobs
        .iter()
        .zip(rules)
        .map(|(job, rule)| Settlement::new(job, completed(rule)))
        .collect();
    settle(&queue, &settlements, 0, "t").await;
    add(&queue, &["e"]).await;
    let last = take(&queue, 1, "u").await;
    settle(
        &queue,
        &[Settlement::new(&last[0], completed(keep(1)))],
        0,
        "u",
    )
    .await;
    let kept: Vec<String> = redis.run("ZRANGE bull:q:completed 0 -1").await;
    assert_eq!(kept, ["e"]);
}

#[tokio::test]
async fn job_whose_parent_cannot_be_read_is_settled() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for parent in [
        r#"{"id":{},"queueKey":"bull:q"}"#,
        r#"{"id":"1","queueKey":[]}"#,
        "[",
        "7",
    ] {
        add(&queue, &["a"]).await;
        let () = redis.run(&format!("HSET bull:q:a parent {parent}")).await;
        let jobs = take(&queue, 1, "t").await;
        let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
        settle(&queue, &[settlement], 0, "t").await;
        let () = redis.run("DEL bull:q:a bull:q:completed").await;
    }
}

#[tokio::test]
async fn settling_passes_where_redis_has_no_memory_left() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a", "b"]).await;
    let jobs = take(&queue, 1, "t").await;
    // As of a producer that wrote none.
    let () = redis.run("HDEL bull:q:meta opts.maxLenEvents").await;
    let () = redis.run("CONFIG SET maxmemory 1").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    let settled = settle(&queue, &[settlement], 1, "u").await;
    assert!(settled.results[0].is_ok());
    assert_eq!(settled.jobs.len(), 1);
    let refused = queue.add(&new_job("n", json!({}))).await.unwrap_err();
    assert!(refused.to_string().contains("OOM"), "{refused}");
    let logged = queue.add_log("b", "line", None).await.unwrap_err();
    assert!(logged.to_string().contains("OOM"), "{logged}");
    let count: u64 = redis.run("GET bull:q:id").await;
    assert_eq!(count, 2, "nothing of the job that was refused is there");
}

#[tokio::test]
async fn streams_are_trimmed_where_jobs_are_added_and_not_where_they_are_taken() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let () = redis.run("HSET bull:q:meta opts.maxLenEvents 20").await;
    let jobs: Vec<_> = (0..500).map(|_| new_job("n", json!({}))).collect();
    queue.add_bulk(&jobs).await.unwrap();
    let length: u64 = redis.run("XLEN bull:q:events").await;
    assert!((20..120).contains(&length), "{length}");
    take(&queue, 200, "t").await;
    let longer: u64 = redis.run("XLEN bull:q:events").await;
    assert_eq!(longer, length + 200);
}

#[tokio::test]
async fn errors_name_the_file_and_line_of_the_script() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a"]).await;
    let jobs = take(&queue, 1, "t").await;
    let () = redis.run("SET bull:q:completed x").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    let error = queue
        .settle_and_fetch(&[settlement], &fetch(0, "t"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("settle.lua:") && text.contains("WRONGTYPE"),
        "{text}"
    );
    let line: usize = text
        .split("settle.lua:")
        .nth(1)
        .unwrap()
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    let source = include_str!("../../lua/settle.lua")
        .lines()
        .nth(line - 1)
        .unwrap();
    assert!(
        source.contains("'completed', unpack(completed)"),
        "{source}"
    );
}

#[tokio::test]
async fn a_lost_job_is_refused_by_itself() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a", "b", "c", "d", "e"]).await;
    let jobs = take(&queue, 5, "t").await;
    let () = redis.run("SET bull:q:b:lock other").await;
    let () = redis.run("DEL bull:q:c:lock").await;
    let settlements: Vec<_> = jobs
        .iter()
        .map(|job| Settlement::new(job, completed(KeepJobs::ALL)))
        .collect();
    let settled = settle(&queue, &settlements, 0, "t").await;
    let code = |at: usize| match &settled.results[at] {
        Err(QueueError::Job { code, .. }) => Some(*code),
        _ => None,
    };
    assert_eq!(
        [0, 1, 2, 3, 4].map(code),
        [
            None,
            Some(ErrorCode::JobLockMismatch),
            Some(ErrorCode::JobLockNotExist),
            None,
            None
        ]
    );
    let active: Vec<String> = redis.run("LRANGE bull:q:active 0 -1").await;
    assert_eq!(active, ["c", "b"]);
}

#[tokio::test]
async fn size_of_a_settlement_is_known() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a"]).await;
    let job = take(&queue, 1, "t").await.remove(0);
    let value = |value: &str| SettlementKind::Completed {
        value: value.into(),
        attempts_made: 1,
        keep: KeepJobs::ALL,
    };
    let [small, large] = ["", "12345"].map(|text| Settlement::new(&job, value(text)).bytes());
    assert_eq!(large - small, 5);
}

/// The worker that gives it back takes no other one: somebody else must be told.
#[tokio::test]
async fn job_that_is_given_back_wakes_another_worker_whatever_its_priority() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for priority in [0, 5] {
        let job = new_job("n", json!({ "priority": priority }));
        queue.add(&job).await.unwrap();
        let taken = take(&queue, 1, "t").await;
        let _: u64 = redis.run("DEL bull:q:marker").await;
        let kind = SettlementKind::GiveBack { delay_ms: None };
        queue
            .settle_one(Settlement::new(&taken[0], kind))
            .await
            .unwrap();
        let marker: Option<u64> = redis.run("ZSCORE bull:q:marker 0").await;
        assert_eq!(marker, Some(0), "priority {priority}");
        let _: u64 = redis.run("DEL bull:q:wait bull:q:prioritized").await;
    }
}

/// A job that is kept until another one ends has no hash yet: its id is free.
#[tokio::test]
async fn kept_job_whose_id_was_taken_meanwhile_is_not_put_in_line_twice() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let kept = |id: &str| {
        let deduplication = json!({ "id": "d", "keepLastIfActive": true });
        new_job(
            "paint",
            json!({ "jobId": id, "deduplication": deduplication }),
        )
    };
    queue.add(&kept("a")).await.unwrap();
    let jobs = take(&queue, 1, "t").await;
    queue.add(&kept("b")).await.unwrap();
    assert_eq!(queue.state("b").await.unwrap(), JobState::Unknown);
    add(&queue, &["b"]).await;
    let b = take(&queue, 1, "t").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    settle(&queue, &[settlement], 0, "t").await;
    assert_eq!(
        ids(&take(&queue, 1, "u").await),
        Vec::<&str>::new(),
        "it runs"
    );
    let settlement = Settlement::new(&b[0], completed(KeepJobs::ALL));
    let settled = settle(&queue, &[settlement], 0, "t").await;
    assert!(settled.results[0].is_ok());
    // The kept job is nobody's any more, and its deduplication id is free.
    queue.add(&kept("c")).await.unwrap();
    assert_eq!(queue.state("c").await.unwrap(), JobState::Waiting);
}
