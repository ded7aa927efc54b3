//! Ids that name something that is no job.

use serde_json::json;
use toril_queue::{JobState, KeepJobs, NewJob, Queue, Settlement};

use crate::harness::{TestRedis, add, add_flow, completed, new_job, settle, take};

/// Another queue whose jobs an id of `q` could spell.
async fn with_neighbours(redis: &TestRedis) -> Queue {
    let queue = redis.queue("q").await;
    add(&queue, &["a", "parent"]).await;
    let child = json!({ "jobId": "child", "parent": { "id": "parent", "queue": "bull:q" } });
    queue.add(&new_job("n", child)).await.unwrap();
    let () = redis.run("HSET bull:q:repeat:s name n ic 1").await;
    for key in ["bull:q:x:7", "bull:q:x:y:7"] {
        let () = redis
            .run(&format!(
                "HSET {key} name n timestamp 1 data 1 opts {{}} rjk s parentKey bull:q:a"
            ))
            .await;
        let () = redis.run(&format!("RPUSH {key}:logs line")).await;
    }
    let () = redis.run("SET bull:q:de:d a").await;
    queue
}

const NO_JOBS: [&str; 14] = [
    "meta",
    "wait",
    "events",
    "id",
    "marker",
    "repeat:s",
    "de:d",
    "x:7",
    "x:y:7",
    "parent:dependencies",
    "",
    "gone",
    "x:7:logs",
    "delayed",
];

#[tokio::test]
async fn nothing_is_written_to_keys_that_are_no_job() {
    let redis = TestRedis::start().await;
    let queue = with_neighbours(&redis).await;
    let before = redis.dump().await;
    for id in NO_JOBS {
        assert!(queue.remove(id, true).await.is_err(), "remove {id}");
        assert!(queue.retry(id, false).await.is_err(), "retry {id}");
        assert!(queue.promote(id).await.is_err(), "promote {id}");
        assert!(
            queue.update_data(id, None, "1").await.is_err(),
            "update {id}"
        );
        assert!(
            queue.update_progress(id, None, "1").await.is_err(),
            "progress {id}"
        );
        assert!(
            queue.update_data(id, Some("t"), "1").await.is_err(),
            "update {id}"
        );
        assert!(
            queue.add_log(id, "line", Some(1)).await.is_err(),
            "log {id}"
        );
        assert!(
            queue.remove_child_dependency(id).await.is_err(),
            "free {id}"
        );
        assert_eq!(
            queue.remove_unprocessed_children(id).await.unwrap(),
            0,
            "children of {id}"
        );
        assert_eq!(
            queue.state(id).await.unwrap(),
            JobState::Unknown,
            "state {id}"
        );
        assert!(queue.job(id).await.unwrap().is_none(), "job {id}");
        assert!(queue.logs(id, 10).await.unwrap().is_empty(), "logs {id}");
        let child = json!({ "parent": { "id": id, "queue": "bull:q" } });
        if !id.is_empty() {
            assert!(
                queue.add(&new_job("n", child)).await.is_err(),
                "parent {id}"
            );
        }
    }
    assert_eq!(redis.dump().await, before);
}

#[tokio::test]
async fn job_is_not_added_over_another_key() {
    let redis = TestRedis::start().await;
    let queue = with_neighbours(&redis).await;
    let before = redis.dump().await;
    let parent = json!({ "id": "a", "queue": "bull:q" });
    // An empty id leaves it to the queue to make up one.
    for id in NO_JOBS.iter().filter(|id| !["gone", ""].contains(*id)) {
        let options = json!({ "jobId": id, "parent": parent });
        let serde_json::Value::Object(options) = options else {
            panic!()
        };
        let added = match NewJob::new("n", "{}", options) {
            Ok(job) => queue.add(&job).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(added.is_err(), "{id}");
    }
    assert_eq!(redis.dump().await, before);
}

#[tokio::test]
async fn jobs_of_schedulers_are_jobs_though_their_ids_have_colons() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["repeat:s:17"]).await;
    assert_eq!(queue.state("repeat:s:17").await.unwrap(), JobState::Waiting);
    assert!(queue.job("repeat:s:17").await.unwrap().is_some());
    assert_eq!(queue.add_log("repeat:s:17", "line", None).await.unwrap(), 1);
    queue.update_data("repeat:s:17", None, "2").await.unwrap();
    queue.remove("repeat:s:17", true).await.unwrap();
}

#[tokio::test]
async fn jobs_that_are_below_each_other_are_removed() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    add(&queue, &["a", "b"]).await;
    // Each completed below the other one, which was removed and added again in between.
    let () = redis.run("HSET bull:q:a:processed bull:q:b 1").await;
    let () = redis.run("HSET bull:q:b:processed bull:q:a 1").await;
    let () = redis.run("SADD bull:q:a:dependencies bull:q:b").await;
    let () = redis.run("SADD bull:q:b:dependencies bull:q:a").await;
    queue.remove("a", true).await.unwrap();
    for id in ["a", "b"] {
        assert_eq!(queue.job(id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn job_that_runs_is_not_removed_with_a_parent_that_it_had_before() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let child = json!({ "name": "n", "queueName": "q", "opts": { "jobId": "child" } });
    let flow = json!({ "name": "n", "queueName": "q", "opts": { "jobId": "parent" }, "children": [child] });
    add_flow(&queue, &flow).await;
    let jobs = take(&queue, 1, "t").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    settle(&queue, &[settlement], 0, "t").await;
    queue.remove("child", true).await.unwrap();
    add(&queue, &["child"]).await;
    // First the parent, which its child has released.
    let jobs = take(&queue, 2, "t").await;
    let settlement = Settlement::new(&jobs[0], completed(KeepJobs::ALL));
    settle(&queue, &[settlement], 0, "t").await;
    assert!(queue.remove("parent", true).await.is_err());
    assert_eq!(queue.state("child").await.unwrap(), JobState::Active);
    queue.remove("parent", false).await.unwrap();
    assert_eq!(queue.state("child").await.unwrap(), JobState::Active);
}

#[tokio::test]
async fn job_without_a_time_is_a_job_once_it_has_started() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("q").await;
    let () = redis.run("HSET bull:q:1 name n data {}").await;
    let () = redis.run("LPUSH bull:q:wait 1").await;
    let jobs = take(&queue, 1, "t").await;
    let token = Some(&*jobs[0].token);
    queue.update_progress("1", token, "5").await.unwrap();
    queue.update_data("1", token, "6").await.unwrap();
    assert_eq!(queue.job("1").await.unwrap().unwrap()["progress"], "5");
}
