//! Settling jobs.

use serde_json::json;
use toril_queue::{ErrorCode, KeepJobs, Queue, QueueError, Settlement, SettlementKind};

use crate::harness::{TestRedis, add, completed, failed, fetch, new_job, settle, take};

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
