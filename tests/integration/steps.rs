//! Durable steps, from a guest to Redis and to the dry run.

mod crashes;
mod server;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use toril::queue::{JobState, Queue};
use toril::sandbox::dry_run::{DryRun, State};
use toril::sandbox::{Engine, EngineOptions, Grants, Policy, Stub};

use self::server::Server;
use crate::harness::{
    TestHost, TestRedis, completes, eventually, fails, new_job, processor, queue_section, reaches,
    toril,
};

const GUEST: &str = "fixture-steps";
/// So many steps that a job hears that it is to be given back long before its last one: what the log says comes a moment
/// before the job is told.
const MANY: usize = 50;

/// The queues `ring` and `parts`; the first one calls jobs of the other.
fn sections() -> String {
    let stub = "grants.stub = [\"wasi:http\"]\n";
    let ring = queue_section("ring", GUEST, &format!("{stub}grants.queues = [\"parts\"]"));
    ring + &queue_section("parts", GUEST, stub)
}

async fn add(queue: &Queue, name: &str, data: Value, options: Value) -> String {
    queue.add(&new_job(name, data, options)).await.unwrap()
}

async fn value(queue: &Queue, id: &str) -> Value {
    let job = reaches(queue, id, JobState::Completed).await;
    serde_json::from_str(job["returnvalue"].as_str().unwrap()).unwrap()
}

async fn dry_run() -> DryRun {
    let engine = Arc::new(Engine::new(&EngineOptions::for_one_component()).unwrap());
    let grants = Grants {
        queues: vec!["parts".into()],
        stub: vec![Stub::Http],
        ..Grants::default()
    };
    let policy = Arc::new(Policy {
        grants: Arc::new(grants),
        ..Policy::default()
    });
    let component = std::fs::read(processor(GUEST)).unwrap();
    let loaded = Arc::new(engine.load(component, &policy).await.unwrap());
    let mut dry_run = DryRun::new(engine);
    for queue in ["ring", "parts"] {
        dry_run.serve_loaded(queue, Arc::clone(&loaded), Arc::clone(&policy));
    }
    dry_run
}

/// Runs a job in a dry run to its end; its value, and how often it was started.
async fn dry_value(name: &str, data: Value, options: Value) -> (Value, u32) {
    let mut dry_run = dry_run().await;
    let (data, options) = (data.to_string(), options.to_string());
    let id = dry_run.add("ring", name, &data, &options).unwrap();
    dry_run.run_to_end().await.unwrap();
    let job = dry_run.job("ring", &id).unwrap();
    assert_eq!(job.state, State::Completed, "{:?}", job.failed_reason);
    let value = serde_json::from_str(&job.returnvalue.unwrap()).unwrap();
    (value, job.attempts_started)
}

#[tokio::test]
async fn finished_steps_run_once_however_often_the_job_fails() {
    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &sections()).await;
    let queue = redis.queue("ring").await;
    let (data, options) = (json!({ "count": 3, "fails": 2 }), json!({ "attempts": 3 }));
    let id = add(&queue, "steps", data.clone(), options.clone()).await;
    assert_eq!(value(&queue, &id).await, json!([1, 1, 3]));
    assert_eq!(dry_value("steps", data, options).await.0, json!([1, 1, 3]));

    // What is kept outlives a retry, until it is dropped.
    queue.retry(&id, true).await.unwrap();
    assert_eq!(value(&queue, &id).await, json!([1, 1, 3]));
    let shown = toril(&redis, &["job", "ring", &id, "--steps"]).await;
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        "s0: 1\ns1: 1\ns2: 3\n"
    );
    let retry = ["job", "retry", "ring", &id, "--completed", "--from-step"];
    let unknown = toril(&redis, &[&retry[..], &["s9"]].concat()).await;
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("has no step `s9`"), "{said}");
    assert!(
        toril(&redis, &[&retry[..], &["s1"]].concat())
            .await
            .status
            .success()
    );
    assert_eq!(value(&queue, &id).await, json!([1, 5, 5]));

    queue.remove(&id, false).await.unwrap();
    let left: Vec<String> = redis.command(&["KEYS", &format!("bull:ring:{id}*")]).await;
    assert_eq!(left, Vec::<String>::new());
    host.stop().await;
}

#[tokio::test]
async fn sleeping_job_is_delayed_and_goes_on_in_time() {
    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &sections()).await;
    let queue = redis.queue("ring").await;
    let asleep = add(&queue, "sleep", json!({ "ms": 3_600_000 }), json!({})).await;
    reaches(&queue, &asleep, JobState::Delayed).await;
    // Woken before its time, it lies down again.
    queue.promote(&asleep).await.unwrap();
    eventually("it was started again", async || {
        let job = queue.job(&asleep).await.unwrap().unwrap();
        (job.get("ats")? == "2").then_some(())
    })
    .await;
    reaches(&queue, &asleep, JobState::Delayed).await;
    let id = add(&queue, "sleep", json!({ "ms": 50 }), json!({})).await;
    let job = reaches(&queue, &id, JobState::Completed).await;
    assert_eq!(
        (&job["returnvalue"], &job["atm"]),
        (&json!("2"), &json!("1"))
    );
    assert_eq!(completes(&queue, "sleep", json!({ "ms": 0 })).await, 1);
    host.stop().await;

    let hour = json!({ "ms": 3_600_000 });
    assert_eq!(dry_value("sleep", hour, json!({})).await, (json!(2), 2));
}

#[tokio::test]
async fn called_job_runs_once_and_its_end_is_the_value_of_the_call() {
    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &sections()).await;
    let queue = redis.queue("ring").await;
    let parts = redis.queue("parts").await;
    for (child, data, ended) in [
        ("child", json!([1, null]), json!([1, null])),
        ("broken", json!(null), json!({ "failed": "broken child" })),
    ] {
        let data = json!({ "child": child, "data": data });
        let id = add(&queue, "call", data.clone(), json!({})).await;
        assert_eq!(value(&queue, &id).await, ended);
        let job = queue.job(&id).await.unwrap().unwrap();
        assert_eq!(&*job["atm"], "1", "waiting spends no attempt");
        // Again: the child's end is known.
        queue.retry(&id, true).await.unwrap();
        assert_eq!(value(&queue, &id).await, ended);
        assert_eq!(dry_value("call", data, json!({})).await, (ended, 2));
    }
    let counts = parts.counts().await.unwrap();
    assert_eq!((counts["completed"], counts["failed"]), (1, 1));

    // A failure that is to fail this job does so.
    let options = json!({ "failParentOnFailure": true });
    let data = json!({ "child": "broken", "options": options });
    let reason = fails(&queue, "call", data).await;
    assert!(reason.contains("child"), "{reason}");
    host.stop().await;
}

#[tokio::test]
async fn call_adds_what_it_may_and_nothing_else() {
    let redis = TestRedis::start(false).await;
    let config = queue_section("ring", GUEST, "grants.stub = [\"wasi:http\"]");
    let host = TestHost::serve(&redis, &config).await;
    let queue = redis.queue("ring").await;
    let refused = completes(&queue, "call", json!({ "child": "child" })).await;
    let reason = refused["failed"].as_str().unwrap();
    assert!(reason.contains("grants.queues"), "{reason}");
    let keys: Vec<String> = redis.command(&["KEYS", "bull:parts*"]).await;
    assert_eq!(keys, Vec::<String>::new());
    let fields: Vec<String> = redis.command(&["HKEYS", "bull:ring:1"]).await;
    assert!(
        fields.iter().all(|field| !field.starts_with("toril:")),
        "{fields:?}"
    );
    host.stop().await;

    let host = TestHost::serve(&redis, &sections()).await;
    for (option, given) in [
        ("jobId", json!("mine")),
        ("parent", json!({ "id": "1", "queue": "bull:ring" })),
        ("deduplication", json!({ "id": "one" })),
        ("removeDependencyOnFailure", json!(true)),
    ] {
        let data = json!({ "child": "child", "options": { option: given } });
        let refused = completes(&queue, "call", data).await;
        let reason = refused["failed"].as_str().unwrap();
        let said = format!("a job that is called cannot have the option `{option}`");
        assert!(reason.contains(&said), "{reason}");
    }
    host.stop().await;
}

#[tokio::test]
async fn loop_goes_on_at_its_cursor() {
    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &sections()).await;
    let queue = redis.queue("ring").await;
    let (data, options) = (json!({ "count": 10, "fails": 1 }), json!({ "attempts": 2 }));
    let id = add(&queue, "rows", data.clone(), options.clone()).await;
    assert_eq!(value(&queue, &id).await, json!([5, 10]));
    assert_eq!(dry_value("rows", data, options).await.0, json!([5, 10]));
    host.stop().await;
}

#[tokio::test]
async fn misused_steps_are_errors_that_say_what_to_do() {
    let redis = TestRedis::start(false).await;
    let limits = "[queues.ring.limits]\nsteps_max = 2\nsteps_bytes_max = 1000\n";
    let host = TestHost::serve(&redis, &(sections() + limits)).await;
    let queue = redis.queue("ring").await;
    for (name, data, said) in [
        (
            "twice",
            json!({}),
            "two steps of this attempt are named `a`",
        ),
        (
            "steps",
            json!({ "count": 3 }),
            "limit of 2 steps (`limits.steps_max`)",
        ),
        (
            "fill",
            json!({ "count": 1000 }),
            "more than the limit of 1000 (`limits.steps_bytes_max`)",
        ),
    ] {
        let reason = fails(&queue, name, data).await;
        assert!(reason.contains(said), "{name}: {reason}");
    }
    // A job that was moved belongs to nobody until it is taken again.
    let id = add(&queue, "moved", json!({}), json!({})).await;
    eventually("it was given back and started again", async || {
        let job = queue.job(&id).await.unwrap().unwrap();
        (job.get("ats")?.parse::<u32>().unwrap() > 1).then_some(())
    })
    .await;
    queue.remove(&id, false).await.ok();
    host.stop().await;
}

fn with_server(server: &Server, options: &str) -> String {
    let grants = format!(
        "[queues.ring.grants.http]\nhosts = [\"{}\"]\nprivate = [\"127.0.0.1\"]\n",
        server.address()
    );
    queue_section("ring", GUEST, options) + &grants
}

#[tokio::test]
async fn host_that_stops_gives_a_job_back_between_two_steps() {
    let redis = TestRedis::start(false).await;
    let server = Server::start().await;
    let gate = server.hold("begin/1/1");
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve(&redis, &with_server(&server, "")).await;
    let data = json!({ "count": MANY, "url": server.url() });
    let id = add(&queue, "steps", data, json!({})).await;
    gate.reached().await;
    host.signal("TERM");
    host.logs("stopping").await;
    gate.open();
    host.logs("job returns to the queue between two steps")
        .await;
    assert!(host.ended().await.success());
    let job = reaches(&queue, &id, JobState::Waiting).await;
    assert!(!job.contains_key("atm"), "{job:?}");

    let host = TestHost::serve(&redis, &with_server(&server, "")).await;
    // The start that was given back does not count.
    assert_eq!(value(&queue, &id).await, json!(vec![1; MANY]));
    let begun = (0..MANY).map(|step| server.count(&format!("begin/1/{step}")));
    assert_eq!(begun.collect::<Vec<_>>(), vec![1; MANY]);
    host.stop().await;
}

#[tokio::test]
async fn swap_gives_pinned_jobs_back_between_two_steps_and_they_keep_their_version() {
    let redis = TestRedis::start(false).await;
    let server = Server::start().await;
    let gate = server.hold("begin/1/1");
    let queue = redis.queue("ring").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ring.wasm");
    std::fs::copy(processor(GUEST), &file).unwrap();
    let grants = with_server(&server, "");
    let grants = grants.split_once("[queues.ring.grants").unwrap().1;
    let config =
        format!("[queues.ring]\nprocessor = {file:?}\npinned = true\n[queues.ring.grants{grants}");
    let mut host = TestHost::serve(&redis, &config).await;
    let data = json!({ "count": MANY, "url": server.url() });
    let id = add(&queue, "steps", data, json!({})).await;
    gate.reached().await;
    std::fs::copy(processor("fixture-noop"), &file).unwrap();
    host.signal("HUP");
    host.logs("processor was swapped").await;
    gate.open();
    host.logs("job returns to the queue between two steps")
        .await;
    assert_eq!(value(&queue, &id).await, json!(vec![1; MANY]));
    assert_eq!(server.count("begin/1/1"), 1);
    let job = queue.job(&id).await.unwrap().unwrap();
    assert_eq!((&*job["atm"], &*job["ats"]), ("1", "1"));
    host.stop().await;
}

#[tokio::test]
async fn steps_that_redis_has_lost_run_again_and_the_log_says_so() {
    let redis = TestRedis::start(false).await;
    let server = Server::start().await;
    let gate = server.hold("begin/1/2");
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve(&redis, &with_server(&server, "")).await;
    let data = json!({ "count": 3, "url": server.url(), "fails": 1 });
    let id = add(&queue, "steps", data, json!({ "attempts": 2 })).await;
    gate.reached().await;
    // As a Redis that comes back without its last writes.
    let lost: u64 = redis
        .command(&["HDEL", "bull:ring:1", "toril:step:s1"])
        .await;
    assert_eq!(lost, 1);
    gate.open();
    host.logs("redis has lost the records of a job's steps: the steps run again")
        .await;
    assert!(host.log().contains("steps=[\"s1\"]"), "{}", host.log());
    assert_eq!(value(&queue, &id).await, json!([1, 2, 2]));
    host.stop().await;
}

#[tokio::test]
async fn steps_that_cannot_be_read_can_be_dropped() {
    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &sections()).await;
    let queue = redis.queue("ring").await;
    let id = add(&queue, "steps", json!({ "count": 3 }), json!({})).await;
    assert_eq!(value(&queue, &id).await, json!([1, 1, 1]));
    let key = format!("bull:ring:{id}");
    for (step, record, left) in [
        ("s1", "nope", vec!["s0", "s2"]),
        // As another program might write it.
        ("s1", r#"{"at":1,"value":1,"order":2}"#, vec!["s0"]),
    ] {
        let field = format!("toril:step:{step}");
        let _: u64 = redis.command(&["HSET", &key, &field, record]).await;
        queue.drop_steps(&id, true, step).await.unwrap();
        let shown = toril(&redis, &["job", "ring", &id, "--steps"]).await;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let names: Vec<&str> = shown
            .lines()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(names, left);
    }
    host.stop().await;
}

#[tokio::test]
async fn job_is_given_back_only_once_it_has_a_step_to_go_on_from() {
    let redis = TestRedis::start(false).await;
    let server = Server::start().await;
    let gate = server.hold("begin/1/0");
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve(&redis, &with_server(&server, "pinned = true")).await;
    let data = json!({ "count": MANY, "url": server.url() });
    let id = add(&queue, "steps", data, json!({})).await;
    gate.reached().await;
    host.signal("TERM");
    host.logs("stopping").await;
    gate.open();
    assert!(host.ended().await.success());
    let job = reaches(&queue, &id, JobState::Waiting).await;
    assert!(job.contains_key("toril:step:s0"), "{job:?}");
}

/// Time alone wakes nothing up in a dry run.
#[tokio::test]
async fn dry_run_shows_where_a_job_sleeps() {
    let mut dry_run = dry_run().await;
    let id = dry_run
        .add("ring", "sleep", r#"{"ms":1000}"#, "{}")
        .unwrap();
    dry_run.run().await.unwrap();
    let until = dry_run.now_ms() + 1000;
    let job = dry_run.job("ring", &id).unwrap();
    assert_eq!(job.state, State::Delayed(until));
    assert!(job.steps["nap"].ends_with(&format!("\"until\":{until}}}")));
    dry_run.advance(Duration::from_millis(1000));
    dry_run.run().await.unwrap();
    assert_eq!(dry_run.job("ring", &id).unwrap().state, State::Completed);
}
