//! Keys that are not what they should be, and calls that are too large: what they cost, and what they do not.

use serde_json::{Map, json};
use toril_queue::{
    Caller, FlowQuery, Job, JobState, JobWrite, KeepJobs, NewJob, Queue, QueueError, Request,
    Settlement, SettlementKind, Writer,
};

use crate::harness::{
    TestRedis, add, add_flow, attempt, completed, failed, fetch, ids, new_job, take,
};

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// One job of each way to end, taken together.
async fn different_ends(queue: &Queue) -> Vec<Settlement> {
    add(queue, &IDS).await;
    let jobs = take(queue, IDS.len(), "worker:1").await;
    let retry = SettlementKind::Retry {
        attempt: attempt(),
        lifo: false,
    };
    let delayed = SettlementKind::Delayed {
        delay_ms: 3_600_000,
        attempt: None,
    };
    let keep_two = KeepJobs {
        count: Some(2),
        ..KeepJobs::ALL
    };
    let kinds = [
        completed(KeepJobs::ALL),
        failed(KeepJobs::ALL),
        retry,
        delayed,
        SettlementKind::Wait,
        completed(keep_two),
    ];
    let pairs = jobs.iter().zip(kinds);
    pairs
        .map(|(job, kind)| Settlement::new(job, kind))
        .collect()
}

/// The user of the host may lack a command, for a while or because its list of commands is too short.
#[tokio::test]
async fn command_that_the_user_may_not_run_loses_no_job_of_the_call() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for command in ["hset", "xadd", "zadd", "del"] {
        for ends in [1, 6] {
            let () = redis.run("FLUSHALL").await;
            add(&queue, &IDS).await;
            let jobs = take(&queue, ends, "worker:1").await;
            let end = |job: &Job| Settlement::new(job, completed(KeepJobs::ALL));
            let settlements: Vec<Settlement> = jobs.iter().map(end).collect();
            let () = redis.run(&format!("ACL SETUSER default -{command}")).await;
            let refused = queue
                .settle_and_fetch(&settlements, &fetch(0, "worker:1"))
                .await;
            let () = redis.run("ACL SETUSER default +@all").await;
            refused.unwrap_err();
            for id in ids(&jobs) {
                let state = queue.state(id).await.unwrap();
                let there = [JobState::Active, JobState::Completed].contains(&state);
                assert!(there, "-{command}, {ends} jobs: {id} is {state:?}");
            }
        }
    }
}

/// Where jobs wait, each list in its order.
async fn lines(redis: &TestRedis) -> [Vec<String>; 3] {
    [
        redis.run("LRANGE bull:paint:wait 0 -1").await,
        redis.run("ZRANGE bull:paint:prioritized 0 -1").await,
        redis.run("ZRANGE bull:paint:delayed 0 -1").await,
    ]
}

/// Reading a job was refused, and that was taken for a job that is not there.
#[tokio::test]
async fn command_that_the_user_may_not_run_loses_no_job_that_is_taken() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for command in ["hget", "hgetall", "hlen", "psetex", "hset", "xadd"] {
        let () = redis.run("FLUSHALL").await;
        add(&queue, &IDS).await;
        // As jobs that ran before.
        for id in ["b", "d"] {
            let () = redis.run(&format!("HSET bull:paint:{id} atm 1")).await;
        }
        for (id, score) in [("d", 4096), ("c", 8192)] {
            let () = redis.run(&format!("LREM bull:paint:wait 1 {id}")).await;
            let () = redis
                .run(&format!("ZADD bull:paint:delayed {score} {id}"))
                .await;
        }
        let () = redis.run("LREM bull:paint:wait 1 f").await;
        let () = redis.run("ZADD bull:paint:prioritized 1 f").await;
        let () = redis.run("HSET bull:paint:f atm 1").await;
        let before = lines(&redis).await;
        let () = redis.run(&format!("ACL SETUSER default -{command}")).await;
        for want in [1, 3, 6] {
            let _ = queue.settle_and_fetch(&[], &fetch(want, "worker:1")).await;
        }
        let () = redis.run("ACL SETUSER default +@all").await;
        for id in IDS {
            let state = queue.state(id).await.unwrap();
            assert_ne!(state, JobState::Unknown, "-{command}: {id}");
        }
        if command == "hget" {
            assert_eq!(
                lines(&redis).await[2],
                before[2],
                "due jobs keep their order"
            );
        }
    }
}

/// Scripts took a job off its list before they read or wrote its hash.
#[tokio::test]
async fn command_that_the_user_may_not_run_loses_no_job_that_is_moved() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for command in ["hget", "hmget", "hset", "hdel", "xadd"] {
        let () = redis.run("FLUSHALL").await;
        let flow = json!({ "name": "n", "queueName": "paint", "opts": { "jobId": "parent" }, "children":
            [{ "name": "n", "queueName": "paint", "opts": { "jobId": "child", "failParentOnFailure": true } }] });
        add_flow(&queue, &flow).await;
        add(&queue, &["fails", "stalls", "waits"]).await;
        let jobs = take(&queue, 3, "worker:1").await;
        let fails = Settlement::new(&jobs[1], failed(KeepJobs::ALL));
        queue
            .settle_and_fetch(&[fails], &fetch(0, "worker:1"))
            .await
            .unwrap();
        for id in ["due", "later"] {
            let job = new_job("n", json!({ "jobId": id, "delay": 3_600_000 }));
            queue.add(&job).await.unwrap();
        }
        let () = redis
            .run("DEL bull:paint:stalls:lock bull:paint:child:lock")
            .await;
        let () = redis.run("SADD bull:paint:stalled stalls").await;

        let () = redis.run(&format!("ACL SETUSER default -{command}")).await;
        let _ = queue.promote("due").await;
        let _ = queue.change_delay("later", 10).await;
        let _ = queue.change_priority("waits", 3, false).await;
        let _ = queue.retry("fails", false).await;
        let _ = queue.recover_stalled(1, 1).await;
        let _ = queue.cancel_unheld("child", "no more", None).await;
        let _ = queue.cancel_unheld("waits", "no more", None).await;
        let () = redis.run("ACL SETUSER default +@all").await;
        for id in [
            "parent", "child", "fails", "stalls", "waits", "due", "later",
        ] {
            let state = queue.state(id).await.unwrap();
            assert_ne!(state, JobState::Unknown, "-{command}: {id}");
        }
    }
}

#[tokio::test]
async fn set_of_the_wrong_type_loses_no_job_of_the_call() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for (key, stays) in [
        ("completed", ["a", "f"].as_slice()),
        ("failed", &["b"]),
        ("stalled", &[]),
        ("metrics:completed", &[]),
        ("metrics:failed", &[]),
    ] {
        for plain_only in [false, true] {
            let () = redis.run("FLUSHALL").await;
            let mut settlements = different_ends(&queue).await;
            if plain_only {
                settlements.truncate(1);
            }
            let () = redis.run(&format!("SET bull:paint:{key} text")).await;
            let fetch = toril_queue::Fetch {
                metrics_points: Some(5),
                ..fetch(0, "worker:1")
            };
            let settled = queue.settle_and_fetch(&settlements, &fetch).await;
            let stays = |id: &str| stays.contains(&id);
            let any_stays = settlements
                .iter()
                .any(|settlement| stays(&settlement.job_id));
            assert_eq!(settled.is_err(), any_stays, "{key} {plain_only}");
            for settlement in &settlements {
                let id = &*settlement.job_id;
                let active: Option<u64> = redis.run(&format!("LPOS bull:paint:active {id}")).await;
                let locked: bool = redis.run(&format!("EXISTS bull:paint:{id}:lock")).await;
                let expected = (stays(id), stays(id));
                assert_eq!(
                    (active.is_some(), locked),
                    expected,
                    "{key} {plain_only} {id}"
                );
            }
            let () = redis.run(&format!("DEL bull:paint:{key}")).await;
            for settlement in &settlements {
                let id = &*settlement.job_id;
                let state = queue.state(id).await.unwrap();
                assert_ne!(state, JobState::Unknown, "{key} {plain_only} {id}");
            }
        }
    }
}

#[tokio::test]
async fn stalled_jobs_are_found_and_locks_renewed_in_spite_of_a_damaged_set() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["a"]).await;
    let job = take(&queue, 1, "worker:1").await.pop().unwrap();
    let () = redis.run("SET bull:paint:stalled text").await;
    let lock = toril_queue::LockedAttempt::of(&job);
    assert!(
        queue
            .extend_locks(&[lock], 30_000)
            .await
            .unwrap()
            .is_empty()
    );
    let () = redis.run("DEL bull:paint:a:lock").await;
    for found in [0, 1] {
        let () = redis.run("DEL bull:paint:stalled-check").await;
        let stalled = queue.recover_stalled(3_600_000, 1).await.unwrap();
        assert_eq!(stalled.len(), found);
    }
}

#[tokio::test]
async fn damaged_metrics_fail_no_call() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for damage in [
        "HSET bull:paint:metrics:completed count many",
        "HSET bull:paint:metrics:completed count 1 prevTS never prevCount 0",
        "HSET bull:paint:metrics:completed count 1 prevTS 0 prevCount x",
        "SET bull:paint:metrics:completed:data text",
    ] {
        let () = redis.run("FLUSHALL").await;
        add(&queue, &["a", "b"]).await;
        let job = take(&queue, 1, "worker:1").await.pop().unwrap();
        let () = redis
            .run("HSET bull:paint:metrics:completed count 1 prevTS 0 prevCount 0")
            .await;
        let () = redis.run(damage).await;
        let settlement = Settlement::new(&job, completed(KeepJobs::ALL));
        let fetch = toril_queue::Fetch {
            metrics_points: Some(5),
            ..fetch(1, "worker:2")
        };
        let settled = queue.settle_and_fetch(&[settlement], &fetch).await.unwrap();
        assert_eq!(settled.jobs.len(), 1, "{damage}");
        assert_eq!(
            queue.state("a").await.unwrap(),
            JobState::Completed,
            "{damage}"
        );
    }
}

/// A child with a parent and a child of its own, which one worker had and another one has now.
async fn lost_job(redis: &TestRedis, queue: &Queue) -> Job {
    let node = |id: &str, children: serde_json::Value| json!({ "name": "n", "queueName": "paint", "opts": { "jobId": id }, "children": children });
    let flow = node("parent", json!([node("job", json!([]))]));
    add_flow(queue, &flow).await;
    let job = take(queue, 1, "worker:1").await.pop().unwrap();
    let parent = json!({ "queue": "bull:paint", "id": "job" });
    let child = new_job(
        "n",
        json!({ "jobId": "below", "parent": parent, "delay": 3_600_000 }),
    );
    queue.add(&child).await.unwrap();
    let () = redis.run("SET bull:paint:job:lock worker:2").await;
    job
}

/// The hash of the job may be rehashed between two dumps; its log and its children are keys of their own.
async fn dump_but_the_job(redis: &TestRedis) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut dump = redis.dump().await;
    dump.retain(|(key, _)| key != "bull:paint:job");
    dump
}

#[tokio::test]
async fn attempt_that_lost_its_job_writes_nothing_beside_it() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let job = lost_job(&redis, &queue).await;
    let before = dump_but_the_job(&redis).await;
    let mut caller = Caller::new(toril_queue::Redis::connect(redis.url()).await.unwrap(), "c");
    let line = [JobWrite::Log("line".to_owned())];
    for writer in [Writer::Holder(&job.token), Writer::Mover] {
        let request = caller.request();
        let logged = queue.write_job("job", writer, &line, None, &request).await;
        assert!(logged.unwrap_err().to_string().contains("Lock mismatch"));
        let left = queue
            .remove_child_dependency_by(writer, "job", &Request::untracked())
            .await;
        assert!(left.unwrap_err().to_string().contains("Lock mismatch"));
        let removed = queue
            .remove_unprocessed_children_by(writer, "job", None, &Request::untracked())
            .await;
        assert!(removed.unwrap_err().to_string().contains("Lock mismatch"));
    }
    assert_eq!(dump_but_the_job(&redis).await, before);
    // Its new holder, and callers from outside, may.
    let holder = Writer::Holder("worker:2");
    queue
        .write_job("job", holder, &line, None, &caller.request())
        .await
        .unwrap();
    queue.add_log("job", "line", None).await.unwrap();
    assert_eq!(
        queue
            .remove_unprocessed_children_by(holder, "job", None, &Request::untracked())
            .await
            .unwrap(),
        1
    );
    assert!(
        queue
            .remove_child_dependency_by(holder, "job", &Request::untracked())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn results_that_are_too_large_are_refused_before_they_are_read() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    add(&queue, &["p"]).await;
    for kind in ["processed", "failed"] {
        for child in 0..200 {
            let value = "1".repeat(1000);
            let set = format!("HSET bull:paint:p:{kind} bull:paint:{child} {value}");
            let () = redis.run(&set).await;
        }
    }
    let small = 100_000;
    let refused = |error: QueueError| matches!(error, QueueError::TooLarge { bytes_max, .. } if bytes_max == small);
    assert!(refused(
        queue.children_values_within("p", small).await.unwrap_err()
    ));
    assert!(refused(
        queue
            .ignored_children_failures_within("p", small)
            .await
            .unwrap_err()
    ));
    let all = toril_queue::DependenciesQuery::default();
    assert!(refused(
        queue
            .dependencies_within("p", &all, small)
            .await
            .unwrap_err()
    ));
    let page = |count| toril_queue::DependenciesQuery {
        processed: Some(toril_queue::Page { cursor: 0, count }),
        ..all
    };
    assert!(refused(
        queue
            .dependencies_within("p", &page(5000), small)
            .await
            .unwrap_err()
    ));
    assert!(
        queue
            .dependencies_within("p", &page(10), small)
            .await
            .is_ok()
    );
    assert_eq!(queue.children_values("p").await.unwrap().len(), 200);

    let () = redis
        .run(&format!(
            "HSET bull:paint:p returnvalue {}",
            "1".repeat(small)
        ))
        .await;
    let (flows, query) = (queue.flows(), FlowQuery::default());
    let name = queue.keys().queue_name();
    assert!(refused(
        flows
            .get_within(name, "p", query, None, small)
            .await
            .unwrap_err()
    ));
    assert!(
        flows
            .get_within(name, "p", query, None, 10 * small)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn more_jobs_than_a_call_takes_are_refused_and_none_is_added() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let jobs = vec![NewJob::new("n", "{}", Map::new()).unwrap(); 80_001];
    let error = queue.add_bulk(&jobs).await.unwrap_err().to_string();
    assert!(
        error.contains("80001 jobs") && error.contains("hint: "),
        "{error}"
    );
    let added = queue.add_bulk(&jobs[..80_000]).await.unwrap();
    assert_eq!(added.len(), 80_000);
    let waiting: u64 = redis.run("LLEN bull:paint:wait").await;
    assert_eq!(waiting, 80_000);
}
