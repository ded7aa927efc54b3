//! Taking jobs: budgets, ids without jobs, numbers of any size.

use serde_json::json;
use toril_queue::{Fetch, Marker, NewJob, Settlement, SettlementKind};

use crate::harness::{TestRedis, add, attempt, fetch, ids, new_job, settle, take};

#[tokio::test]
async fn budget_ends_the_taking_and_puts_the_others_back_where_they_were() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for (id, priority) in [("a", 0), ("b", 0), ("c", 0), ("p", 1), ("r", 1), ("s", 2)] {
        let options = json!({ "jobId": id, "priority": priority });
        let serde_json::Value::Object(options) = options else {
            panic!()
        };
        let data = format!("\"{}\"", "x".repeat(1000));
        queue
            .add(&NewJob::new("n", &data, options).unwrap())
            .await
            .unwrap();
    }
    let before = redis.dump().await;
    let line: Vec<String> = redis.run("LRANGE bull:q:wait 0 -1").await;
    let scores: Vec<String> = redis.run("ZRANGE bull:q:prioritized 0 -1 WITHSCORES").await;

    let budget = |bytes_max| Fetch {
        bytes_max,
        ..fetch(10, "t")
    };
    let settled = queue.settle_and_fetch(&[], &budget(1500)).await.unwrap();
    assert_eq!(ids(&settled.jobs), ["a", "b"]);
    assert!(settled.more);
    let active: Vec<String> = redis.run("LRANGE bull:q:active 0 -1").await;
    assert_eq!(active, ["b", "a"]);
    let left: Vec<String> = redis.run("LRANGE bull:q:wait 0 -1").await;
    assert_eq!(left, line[..1]);
    let left: Vec<String> = redis.run("ZRANGE bull:q:prioritized 0 -1 WITHSCORES").await;
    assert_eq!(left, scores);
    let untouched: Vec<_> = redis
        .dump()
        .await
        .into_iter()
        .filter(|entry| before.contains(entry))
        .collect();
    for id in ["c", "p", "r", "s"] {
        assert!(
            untouched
                .iter()
                .any(|(key, _)| *key == format!("bull:q:{id}")),
            "{id}"
        );
    }
    let marker: Option<f64> = redis.run("ZSCORE bull:q:marker 0").await;
    assert_eq!(marker, Some(0.0), "others are told that more is waiting");

    // One is taken at least, and the cut goes through `prioritized`, too.
    let settled = queue.settle_and_fetch(&[], &budget(1)).await.unwrap();
    assert_eq!((ids(&settled.jobs), settled.more), (vec!["c"], true));
    let settled = queue.settle_and_fetch(&[], &budget(1500)).await.unwrap();
    assert_eq!((ids(&settled.jobs), settled.more), (vec!["p", "r"], true));
    let left: Vec<String> = redis.run("ZRANGE bull:q:prioritized 0 -1 WITHSCORES").await;
    assert_eq!(left, scores[4..]);
    let settled = queue.settle_and_fetch(&[], &budget(1500)).await.unwrap();
    assert_eq!((ids(&settled.jobs), settled.more), (vec!["s"], false));
    let events: Vec<(String, Vec<String>)> = redis.run("XRANGE bull:q:events - +").await;
    let active = events
        .iter()
        .filter(|(_, fields)| fields.contains(&"active".to_owned()));
    assert_eq!(active.count(), 6);
}

#[tokio::test]
async fn budget_counts_against_a_limiter_only_what_was_taken() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a", "b", "c"]).await;
    let limiter = Some(toril_queue::Limiter {
        max: 10,
        duration_ms: 60_000,
    });
    let budget = Fetch {
        bytes_max: 1,
        limiter,
        ..fetch(3, "t")
    };
    let settled = queue.settle_and_fetch(&[], &budget).await.unwrap();
    assert_eq!(ids(&settled.jobs), ["a"]);
    let used: u64 = redis.run("GET bull:q:limiter").await;
    assert_eq!(used, 1);
}

#[tokio::test]
async fn global_limit_that_is_no_number_of_jobs_lets_one_through_in_each_window() {
    for max in ["0", "-1"] {
        let redis = TestRedis::start().await;
        let queue = redis.queue("q").await;
        add(&queue, &["a", "b"]).await;
        let limit = format!("HSET bull:q:meta max {max} duration 60000");
        let () = redis.run(&limit).await;
        let settled = queue.settle_and_fetch(&[], &fetch(3, "t")).await.unwrap();
        assert_eq!(ids(&settled.jobs), ["a"], "{max}");
        let settled = queue.settle_and_fetch(&[], &fetch(3, "t")).await.unwrap();
        assert_eq!(ids(&settled.jobs), [""; 0], "{max}: its window goes on");
        let () = redis.run("DEL bull:q:limiter").await;
        let settled = queue.settle_and_fetch(&[], &fetch(3, "t")).await.unwrap();
        assert_eq!(ids(&settled.jobs), ["b"], "{max}");
    }
}

#[tokio::test]
async fn ids_without_a_job_are_dropped_in_one_call() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a", "b"]).await;
    let () = redis.run("SET bull:q:text x").await;
    let () = redis
        .run("RPUSH bull:q:wait gone gone text events meta 0:5")
        .await;
    let () = redis.run("HSET bull:q:nameless data {}").await;
    let () = redis.run("RPUSH bull:q:wait nameless").await;
    let settled = settle(&queue, &[], 1, "t").await;
    assert_eq!(ids(&settled.jobs), ["a"]);
    // A marker of BullMQ before 5 is no loss.
    let jobless = ["nameless", "meta", "events", "text", "gone", "gone"];
    assert_eq!(
        (settled.jobless, settled.jobless_ids),
        (6, jobless.map(str::to_owned).to_vec())
    );
    let active: Vec<String> = redis.run("LRANGE bull:q:active 0 -1").await;
    assert_eq!(active, ["a"]);
    let line: Vec<String> = redis.run("LRANGE bull:q:wait 0 -1").await;
    assert_eq!(line, ["b"]);
}

#[tokio::test]
async fn call_that_finds_only_ids_without_jobs_ends_and_says_that_more_may_be_there() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let gone: Vec<String> = (0..1500).map(|n| format!("gone{n}")).collect();
    let () = redis
        .run(&format!("RPUSH bull:q:wait {}", gone.join(" ")))
        .await;
    let settled = settle(&queue, &[], 1, "t").await;
    assert!(settled.more && settled.jobs.is_empty());
    let shown = settled.jobless_ids.len() as u64;
    assert!(
        settled.jobless > shown && shown == 10,
        "{shown} of {}",
        settled.jobless
    );
    add(&queue, &["a"]).await;
    assert_eq!(ids(&take(&queue, 1, "t").await), ["a"]);
}

#[tokio::test]
async fn numbers_of_any_size_are_read() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for delay in [1e19, 1e300] {
        queue
            .add(&new_job("late", json!({ "delay": delay })))
            .await
            .unwrap();
    }
    add(&queue, &["a", "b", "c"]).await;
    let () = redis.run("ZADD bull:q:delayed inf never").await;
    let () = redis
        .run("HSET bull:q:a ats 1e300 priority 18446744073709551616 timestamp 1e400 stc -7")
        .await;
    let jobs = take(&queue, 3, "t").await;
    assert_eq!(ids(&jobs), ["a", "b", "c"]);
    assert_eq!(jobs[0].priority, u32::MAX);
    let delays = [u64::MAX, 1 << 63, 10_000_000_000_000_000_000];
    let delayed = jobs.iter().zip(delays).map(|(job, delay_ms)| {
        let attempt = Some(attempt());
        Settlement::new(job, SettlementKind::Delayed { delay_ms, attempt })
    });
    let settled = settle(&queue, &delayed.collect::<Vec<_>>(), 5, "u").await;
    assert!(
        settled.results.iter().all(Result::is_ok),
        "{:?}",
        settled.results
    );
    assert!(settled.jobs.is_empty());
    assert!(settled.next_delayed_ms.is_some_and(|due| due < (1 << 53)));
    let mut wait = queue.marker_wait(None);
    let () = redis.run("ZREM bull:q:marker 0").await;
    let marker = wait.next(std::time::Duration::from_secs(5)).await.unwrap();
    assert!(matches!(marker, Some(Marker::Delayed(due)) if due < (1 << 53)));

    let () = redis.run("DEL bull:q:delayed").await;
    let () = redis.run("ZADD bull:q:delayed inf never").await;
    let settled = settle(&queue, &[], 5, "u").await;
    assert_eq!(settled.next_delayed_ms, Some((1 << 53) - 1));
    queue.rate_limit(u64::MAX).await.unwrap();
    let () = redis.run("DEL bull:q:limiter").await;
    let () = redis
        .run("HSET bull:q:meta max 1.5 duration 1e19 concurrency 3.7")
        .await;
    add(&queue, &["d", "e", "f"]).await;
    // BullMQ takes the next job while as many were taken as is less than the limit.
    assert_eq!(ids(&take(&queue, 5, "v").await), ["d", "e"]);
}

#[tokio::test]
async fn calls_that_lua_could_not_unpack_are_not_sent() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let ids: Vec<String> = (0..Settlement::BATCH_MAX)
        .map(|n| format!("j{n}"))
        .collect();
    let jobs: Vec<NewJob> = ids
        .iter()
        .map(|id| new_job("n", json!({ "jobId": id })))
        .collect();
    queue.add_bulk(&jobs).await.unwrap();
    let refused = queue
        .settle_and_fetch(&[], &fetch(Fetch::WANT_MAX + 1, "t"))
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("7001 jobs to take")
    );
    let jobs = take(&queue, Fetch::WANT_MAX, "t").await;
    assert_eq!(jobs.len(), Settlement::BATCH_MAX);
    let settlements: Vec<Settlement> = jobs
        .iter()
        .map(|job| Settlement::new(job, crate::harness::failed(toril_queue::KeepJobs::ALL)))
        .collect();
    let mut too_many = settlements.clone();
    too_many.push(settlements[0].clone());
    let refused = queue.settle_and_fetch(&too_many, &fetch(0, "t")).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("2001 settlements")
    );
    // In an order that shares nothing, so that each is looked for.
    let odd = settlements.iter().step_by(2);
    let scattered: Vec<Settlement> = odd.cloned().collect();
    let settled = settle(&queue, &scattered, 0, "t").await;
    assert!(settled.results.iter().all(Result::is_ok));
    let failed: usize = redis.run("ZCARD bull:q:failed").await;
    assert_eq!(failed, Settlement::BATCH_MAX / 2);
}

#[tokio::test]
async fn key_of_the_wrong_type_loses_no_job_in_line() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let line = async || -> Vec<String> { redis.run("LRANGE bull:q:wait 0 -1").await };
    add(&queue, &["a", "b", "c"]).await;
    let before = line().await;
    for key in ["prioritized", "active"] {
        let () = redis.run(&format!("SET bull:q:{key} x")).await;
        let refused = queue.settle_and_fetch(&[], &fetch(5, "t")).await;
        assert!(refused.unwrap_err().to_string().contains("WRONGTYPE"));
        assert_eq!(line().await, before, "{key}");
        let () = redis.run(&format!("DEL bull:q:{key}")).await;
    }
    queue
        .add(&new_job("n", json!({ "jobId": "d", "priority": 7 })))
        .await
        .unwrap();
    let () = redis.run("SET bull:q:active x").await;
    let refused = queue.settle_and_fetch(&[], &fetch(5, "t")).await;
    assert!(refused.unwrap_err().to_string().contains("WRONGTYPE"));
    let () = redis.run("DEL bull:q:active").await;
    assert_eq!(ids(&take(&queue, 5, "u").await), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn key_of_the_wrong_type_loses_no_job_that_is_due() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    for (id, priority) in [("a", 0), ("p", 7), ("b", 0)] {
        let options = json!({ "jobId": id, "priority": priority, "delay": 1, "timestamp": 1 });
        queue.add(&new_job("n", options)).await.unwrap();
    }
    let () = redis.run("SET bull:q:prioritized x").await;
    let refused = queue.settle_and_fetch(&[], &fetch(5, "t")).await;
    assert!(refused.unwrap_err().to_string().contains("WRONGTYPE"));
    let () = redis.run("DEL bull:q:prioritized").await;
    let mut taken = Vec::new();
    for token in ["u", "v"] {
        let jobs = take(&queue, 5, token).await;
        taken.extend(jobs.into_iter().map(|job| job.id.to_string()));
    }
    taken.sort();
    assert_eq!(taken, ["a", "b", "p"]);
}
