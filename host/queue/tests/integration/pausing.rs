//! Jobs that come back to a paused queue wait where the resume of its producer finds them.

use serde_json::json;
use toril_queue::{Job, JobState, KeepJobs, Queue, Settlement, SettlementKind};

use crate::harness::{
    TestRedis, add, attempt, completed, eventually, failed, new_job, settle, take,
};

/// How a job comes back in line.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Added,
    Promoted,
    FellDue,
    Retried,
    MovedToWait,
    GivenBack,
    Reprocessed,
    Stalled,
    ParentOfLastChild,
    ParentOfFailedChild,
    ParentOfRemovedChild,
    ParentLeftByChild,
}

const WAYS: [Way; 12] = [
    Way::Added,
    Way::Promoted,
    Way::FellDue,
    Way::Retried,
    Way::MovedToWait,
    Way::GivenBack,
    Way::Reprocessed,
    Way::Stalled,
    Way::ParentOfLastChild,
    Way::ParentOfFailedChild,
    Way::ParentOfRemovedChild,
    Way::ParentLeftByChild,
];

async fn add_flow(queue: &Queue) {
    let flow = json!({ "name": "paint", "queueName": "paint", "opts": { "jobId": "job" }, "children": [
        { "name": "paint", "queueName": "paint", "opts": { "jobId": "child", "failParentOnFailure": true } }] });
    crate::harness::add_flow(queue, &flow).await;
}

/// Brings the job of this test to where it comes back from; returns what a worker took.
async fn prepare(queue: &Queue, way: Way) -> Option<Job> {
    match way {
        Way::Added => return None,
        Way::Promoted | Way::FellDue => {
            let delay = if way == Way::FellDue { 1 } else { 3_600_000 };
            let job = new_job("paint", json!({ "jobId": "job", "delay": delay }));
            queue.add(&job).await.unwrap();
            return None;
        }
        Way::Retried | Way::MovedToWait | Way::GivenBack | Way::Reprocessed | Way::Stalled => {
            add(queue, &["job"]).await;
        }
        _ => add_flow(queue).await,
    }
    if matches!(way, Way::ParentOfRemovedChild | Way::ParentLeftByChild) {
        return None;
    }
    let taken = take(queue, 1, "worker:1").await.pop();
    if way == Way::Reprocessed {
        let settlement = Settlement::new(taken.as_ref().unwrap(), failed(KeepJobs::ALL));
        settle(queue, &[settlement], 0, "worker:1").await;
    }
    taken
}

async fn comes_back(redis: &TestRedis, queue: &Queue, way: Way, taken: Option<Job>) {
    let settled = async |kind: SettlementKind| {
        let settlement = Settlement::new(taken.as_ref().unwrap(), kind);
        let settled = settle(queue, &[settlement], 1, "worker:2").await;
        assert!(settled.jobs.is_empty() && settled.results.iter().all(Result::is_ok));
    };
    match way {
        Way::Added => add(queue, &["job"]).await,
        Way::Promoted => queue.promote("job").await.unwrap(),
        Way::FellDue => {
            eventually("the job is due", async || {
                take(queue, 1, "worker:2").await;
                (queue.state("job").await.unwrap() == JobState::Waiting).then_some(())
            })
            .await;
        }
        Way::Retried => {
            let retry = SettlementKind::Retry {
                attempt: attempt(),
                lifo: false,
            };
            settled(retry).await;
        }
        Way::MovedToWait => settled(SettlementKind::Wait).await,
        Way::GivenBack => settled(SettlementKind::GiveBack { delay_ms: None }).await,
        Way::Reprocessed => queue.retry("job", false).await.unwrap(),
        Way::Stalled => {
            for _ in 0..2 {
                let () = redis
                    .run("DEL bull:paint:stalled-check bull:paint:job:lock")
                    .await;
                queue.recover_stalled(3_600_000, 1).await.unwrap();
            }
        }
        Way::ParentOfLastChild => settled(completed(KeepJobs::ALL)).await,
        Way::ParentOfFailedChild => settled(failed(KeepJobs::ALL)).await,
        Way::ParentOfRemovedChild => queue.remove("child", true).await.unwrap(),
        Way::ParentLeftByChild => {
            assert!(queue.remove_child_dependency("child").await.unwrap());
        }
    }
}

/// What a producer of BullMQ 5 does: it renames one list to the other.
async fn pause_as_bullmq_5(redis: &TestRedis) {
    let exists: bool = redis.run("EXISTS bull:paint:wait").await;
    if exists {
        let () = redis.run("RENAME bull:paint:wait bull:paint:paused").await;
    }
    let () = redis.run("HSET bull:paint:meta paused 1").await;
}

async fn resume_as_bullmq_5(redis: &TestRedis) {
    let exists: bool = redis.run("EXISTS bull:paint:paused").await;
    if exists {
        let () = redis.run("RENAME bull:paint:paused bull:paint:wait").await;
    }
    let () = redis.run("HDEL bull:paint:meta paused").await;
}

#[tokio::test]
async fn resume_of_bullmq_5_finds_each_job_that_came_back() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for version in ["bullmq:5.58.0", "bullmq:4.18.3", "bullmq-pro:7.40.0", ""] {
        for way in WAYS {
            let () = redis.run("FLUSHALL").await;
            if !version.is_empty() {
                let () = redis
                    .run(&format!("HSET bull:paint:meta version {version}"))
                    .await;
            }
            let taken = prepare(&queue, way).await;
            pause_as_bullmq_5(&redis).await;
            comes_back(&redis, &queue, way, taken).await;
            assert_eq!(
                queue.state("job").await.unwrap(),
                JobState::Waiting,
                "{way:?}"
            );
            // One that is added while the queue is paused.
            add(&queue, &["last"]).await;
            assert!(take(&queue, 10, "worker:3").await.is_empty(), "{way:?}");
            resume_as_bullmq_5(&redis).await;
            let mut taken: Vec<String> = take(&queue, 10, "worker:3")
                .await
                .into_iter()
                .map(|job| job.id.to_string())
                .filter(|id| id != "child")
                .collect();
            taken.sort();
            assert_eq!(taken, ["job", "last"], "{way:?} with version {version:?}");
        }
    }
}

#[tokio::test]
async fn jobs_wait_in_one_list_while_bullmq_6_has_paused_the_queue() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    for version in ["bullmq:6.7.0", "bullmq:10.0.1"] {
        for way in WAYS {
            let () = redis.run("FLUSHALL").await;
            let () = redis
                .run(&format!("HSET bull:paint:meta version {version}"))
                .await;
            let taken = prepare(&queue, way).await;
            let () = redis.run("HSET bull:paint:meta paused 1").await;
            comes_back(&redis, &queue, way, taken).await;
            let waiting: Vec<String> = redis.run("LRANGE bull:paint:wait 0 -1").await;
            assert!(
                waiting.contains(&"job".to_owned()),
                "{way:?} with version {version}"
            );
            let other: u64 = redis.run("EXISTS bull:paint:paused").await;
            assert_eq!(other, 0, "{way:?} with version {version}");
        }
    }
}
