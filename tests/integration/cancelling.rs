//! Cancelling jobs that run on one host from another host and from the command line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Handle;
use toril::host::Host;
use toril::queue::{JobState, Queue, QueueName};
use toril::sandbox::{Engine, EngineOptions};
use toril::served_queue::QueueSpec;
use toril::served_queue::cancel::{Cancellation, Cancelled, cancel};
use toril::served_queue::deployment::CancelRequest;

use crate::harness::{
    TestHost, TestRedis, add, eventually, new_job, processor, queue_section, reaches, toril,
};

/// What a cancelled job may need beside its grace time, with room for a busy machine.
const BOUND: Duration = Duration::from_secs(30);

async fn cancels(redis: &TestRedis, arguments: &[&str]) -> (Option<i32>, String) {
    let output = toril(redis, &[&["job", "cancel"], arguments].concat()).await;
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

fn embedded(redis: toril::queue::Redis) -> Host {
    let options = EngineOptions {
        executions_max: 20,
        ..EngineOptions::default()
    };
    Host::new(Engine::new(&options).unwrap().into(), redis, "bull")
}

#[tokio::test]
async fn job_of_another_host_is_stopped_whatever_it_does() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let mut host =
        TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "concurrency = 5").await;
    let other = embedded(redis.connect().await);
    for name in ["loop", "sleep"] {
        let job = new_job(name, json!(3_600_000), json!({ "attempts": 5 }));
        let id = queue.add(&job).await.unwrap();
        reaches(&queue, &id, JobState::Active).await;
        let started = Instant::now();
        let cancelled = other.cancel("ring", &id, "wrong customer", false).await;
        assert_eq!(cancelled.unwrap()[0].outcome, Cancellation::Asked);
        let job = reaches(&queue, &id, JobState::Failed).await;
        assert!(
            started.elapsed() < BOUND,
            "{name} took {:?}",
            started.elapsed()
        );
        assert_eq!(job["failedReason"], "job was cancelled: wrong customer");
        assert_eq!(job["atm"], "1");
    }
    host.logs("job is cancelled").await;
    host.stop().await;
}

#[tokio::test]
async fn request_that_is_never_answered_ends_with_its_job() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    // The kernel accepts the connection; nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let grants =
        format!("[queues.ring.grants.http]\nhosts = [\"{address}\"]\nprivate = [\"127.0.0.1\"]\n");
    let section = queue_section("ring", "fixture-http", "") + &grants;
    let host = TestHost::serve(&redis, &section).await;
    let id = add(&queue, "get", json!(format!("http://{address}/"))).await;
    let _request = tokio::task::spawn_blocking(move || silent.accept().unwrap()).await;
    let started = Instant::now();
    let (code, text) = cancels(&redis, &["ring", &id]).await;
    assert_eq!(
        (code, &*text),
        (Some(0), &*format!("ring:{id}: was running, is failed\n"))
    );
    assert!(started.elapsed() < BOUND, "it took {:?}", started.elapsed());
    host.stop().await;
}

#[tokio::test]
async fn failure_of_its_own_is_kept_and_tried_again() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let limits = "limits = { cancel_grace_ms = 30000 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", limits).await;
    let options = json!({ "attempts": 2, "backoff": 3_600_000 });
    let job = new_job("fail-when-cancelled", json!(null), options);
    let id = queue.add(&job).await.unwrap();
    reaches(&queue, &id, JobState::Active).await;
    let (code, text) = cancels(&redis, &["ring", &id, "--reason", "a new price"]).await;
    assert_eq!(
        (code, text),
        (
            Some(1),
            format!("ring:{id}: failed by itself, will be tried again\n")
        )
    );
    let job = queue.job(&id).await.unwrap().unwrap();
    assert_eq!(job["failedReason"], "left because a new price");
    queue.promote(&id).await.unwrap();
    let job = reaches(&queue, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "\"tried again\"");
    host.stop().await;
}

#[tokio::test]
async fn job_that_fails_with_a_reason_of_its_own_is_cancelled_and_one_that_completes_is_not() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let limits = "limits = { cancel_grace_ms = 30000 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", limits).await;
    let id = add(&queue, "fail-when-cancelled", json!(null)).await;
    reaches(&queue, &id, JobState::Active).await;
    let (code, text) = cancels(&redis, &["ring", &id]).await;
    assert_eq!(
        (code, text),
        (Some(0), format!("ring:{id}: was running, is failed\n"))
    );
    let id = add(&queue, "wait-until-cancelled", json!(null)).await;
    reaches(&queue, &id, JobState::Active).await;
    let (code, text) = cancels(&redis, &["ring", &id]).await;
    assert_eq!(
        (code, text),
        (
            Some(1),
            format!("ring:{id}: ended by itself, is completed\n")
        )
    );
    host.stop().await;
}

#[tokio::test]
async fn running_job_that_is_removed_when_it_fails_was_cancelled() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let options = json!({ "removeOnFail": true });
    let job = new_job("sleep", json!(3_600_000), options);
    let id = queue.add(&job).await.unwrap();
    reaches(&queue, &id, JobState::Active).await;
    let (code, text) = cancels(&redis, &["ring", &id]).await;
    assert_eq!(
        (code, text),
        (Some(0), format!("ring:{id}: was running, is failed\n"))
    );
    host.stop().await;
}

/// A host that died leaves its job active, and the job's lock for as long as it holds.
#[tokio::test]
async fn job_of_a_dead_host_fails_once_its_lock_has_expired() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let locks = "lock_duration_ms = 4000";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", locks).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    host.kill().await;
    let (code, text) = cancels(&redis, &["ring", &id, "--reason", "stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    let job = reaches(&queue, &id, JobState::Failed).await;
    assert_eq!(job["failedReason"], "job was cancelled: stop");
    assert_eq!(job["atm"], "1");

    let id = add(&queue, "sleep", json!(3_600_000)).await;
    let _: String = redis
        .command(&["RPOPLPUSH", "bull:ring:wait", "bull:ring:active"])
        .await;
    let (code, text) = cancels(&redis, &["ring", &id]).await;
    assert_eq!(
        (code, text),
        (Some(0), format!("ring:{id}: was active, has failed\n"))
    );
}

/// Nobody waits for the lock to expire: the host that takes the job next finds the request. Also where the host that was
/// asked is the one that dies.
#[tokio::test]
async fn request_for_a_job_of_a_dead_host_is_kept_for_its_next_start() {
    tokio::join!(
        request_is_kept_for_the_next_start(false),
        request_is_kept_for_the_next_start(true)
    );
}

async fn request_is_kept_for_the_next_start(runs_where_it_was_asked: bool) {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let options = "lock_duration_ms = 3000\nstalled_interval_ms = 500";
    let dead = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    dead.kill().await;
    let runs_here = |_: &QueueName, _: &CancelRequest| runs_where_it_was_asked;
    let cancelled = cancel(&queue, &id, "stop", false, runs_here, |_| ()).await;
    assert_eq!(cancelled.unwrap()[0].outcome, Cancellation::Asked);
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    assert_eq!(job["failedReason"], "job was cancelled: stop");
    assert_eq!(job["ats"], "2");
    host.stop().await;
}

#[tokio::test]
async fn flow_is_cancelled_with_its_children_on_request() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let child = |id: &str, queue: &str| json!({ "name": "sleep", "queueName": queue, "opts": { "jobId": id } });
    let mut branch = child("branch", "other");
    branch["children"] = json!([child("leaf", "ring")]);
    let mut root = child("root", "ring");
    root["children"] = json!([branch, child("second", "ring")]);
    let flow = toril::queue::parse_flow(&root.to_string()).unwrap();
    queue
        .flows()
        .add(vec![flow], &Default::default())
        .await
        .unwrap();
    let (code, text) = cancels(&redis, &["ring", "root", "--children"]).await;
    assert_eq!(code, Some(0), "{text}");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let expected = [
        "other:branch: was waiting-children, has failed",
        "ring:leaf: was waiting, has failed",
        "ring:root: was waiting-children, has failed",
        "ring:second: was waiting, has failed",
    ];
    assert_eq!(lines, expected);
    let (code, text) = cancels(&redis, &["ring", "root"]).await;
    assert_eq!((code, &*text), (Some(1), "ring:root: is failed already\n"));
    let (code, text) = cancels(&redis, &["ring", "nobody"]).await;
    assert_eq!(
        (code, &*text),
        (Some(1), "ring:nobody: there is no such job\n")
    );
}

/// A job that runs when its children are looked for may add others before it has stopped. It may be gone by then, too.
#[tokio::test]
async fn children_that_a_running_job_adds_while_it_is_cancelled_are_cancelled_too() {
    for (waits, is_removed) in [(true, false), (true, true), (false, false), (false, true)] {
        let redis = TestRedis::start(false).await;
        let queue = redis.queue("ring").await;
        let more = "limits = { cancel_grace_ms = 30000 }\ngrants = { queues = [\"ring\"] }";
        let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", more).await;
        let options = json!({ "removeOnFail": is_removed });
        let job = new_job("add-child-when-cancelled", json!(waits), options);
        let id = queue.add(&job).await.unwrap();
        reaches(&queue, &id, JobState::Active).await;
        let (code, text) = cancels(&redis, &["ring", &id, "--children"]).await;
        let lines =
            format!("ring:{id}: was running, is failed\nring:late: was delayed, has failed\n");
        assert_eq!((code, text), (Some(0), lines));
        let job = reaches(&queue, "late", JobState::Failed).await;
        assert_eq!(job["failedReason"], "job was cancelled");
        host.stop().await;
    }
}

/// A child that has no children when it is looked for may have one when its turn comes.
#[tokio::test(flavor = "multi_thread")]
async fn children_that_are_added_while_a_flow_is_cancelled_are_cancelled_too() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let options = |id: &str| json!({ "jobId": id, "delay": 3_600_000, "removeOnFail": true });
    let child_of = |parent: &str, id: &str| {
        let mut options = options(id);
        options["parent"] = json!({ "id": parent, "queue": "bull:ring" });
        new_job("fine", json!(null), options)
    };
    for job in [
        new_job("fine", json!(null), json!({ "jobId": "root" })),
        child_of("root", "branch"),
    ] {
        queue.add(&job).await.unwrap();
    }
    let late = child_of("branch", "leaf");
    let mut told = Vec::new();
    let tell = |job: &Cancelled| {
        if job.id == "root" {
            let added = queue.add(&late);
            tokio::task::block_in_place(|| Handle::current().block_on(added)).unwrap();
        }
        told.push(job.id.clone());
    };
    let nowhere = |_: &QueueName, _: &CancelRequest| false;
    let cancelled = cancel(&queue, "root", "", true, nowhere, tell).await;
    assert!(cancelled.unwrap().iter().all(Cancelled::is_cancelled));
    assert_eq!(told, ["root", "branch", "leaf"]);
    let left: Vec<String> = redis
        .command(&["ZRANGE", "bull:ring:delayed", "0", "-1"])
        .await;
    assert_eq!(left, Vec::<String>::new());
}

/// How often each job came to an end, as listeners were told.
async fn ends(redis: &TestRedis) -> BTreeMap<String, usize> {
    let entries: Vec<(String, BTreeMap<String, String>)> = redis
        .command(&["XRANGE", "bull:ring:events", "-", "+"])
        .await;
    let mut ends = BTreeMap::new();
    for (_, event) in entries {
        if matches!(&*event["event"], "completed" | "failed") {
            *ends.entry(event["jobId"].clone()).or_default() += 1;
        }
    }
    ends
}

#[tokio::test]
async fn thousand_jobs_that_end_while_they_are_cancelled_end_once() {
    const JOBS: usize = 1_000;
    let redis = TestRedis::start(false).await;
    let queue: Queue = redis.queue("ring").await;
    let host = embedded(redis.connect().await);
    let mut spec = QueueSpec::new(Some(processor("fixture-misbehaving")));
    spec.worker.concurrency = 10;
    host.attach("ring", spec).await.unwrap();
    let _: i64 = redis
        .command(&["HSET", "bull:ring:meta", "opts.maxLenEvents", "100000"])
        .await;
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..JOBS {
        let name = if n % 2 == 0 { "fine" } else { "sleep" };
        let id = add(&queue, name, json!(n % 3)).await;
        let cancelled = host.cancel("ring", &id, "", false).await.unwrap();
        *outcomes
            .entry(format!("{:?}", cancelled[0].outcome))
            .or_default() += 1;
    }
    eventually("all jobs end", async || {
        (ends(&redis).await.len() == JOBS).then_some(())
    })
    .await;
    for (id, times) in ends(&redis).await {
        assert_eq!(times, 1, "job {id} of {outcomes:?}");
    }
    // Redis has settled the last one before the host hears of it.
    eventually("the host holds none", async || {
        host.jobs("ring").unwrap().is_empty().then_some(())
    })
    .await;
}
