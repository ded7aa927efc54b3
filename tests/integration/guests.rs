//! Guests that misbehave: the job fails with a reason of its own, the next one runs.

use serde_json::{Value, json};
use toril::queue::{JobState, Queue};

use crate::harness::{TestHost, TestRedis, add, eventually, new_job, reaches};

const LIMITS: &str = "concurrency = 2\nlimits = { memory_bytes_max = 20971520, value_bytes_max = 1000, log_lines_max = 3 }";
/// A time limit that the job after the one that misbehaves keeps also on a busy machine.
const DEADLINE: &str = "concurrency = 2\nlimits = { deadline_ms = 1000 }";

async fn misbehave(
    limits: &str,
    name: &str,
    data: Value,
) -> (serde_json::Map<String, Value>, TestHost, TestRedis, Queue) {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", limits).await;
    let id = add(&queue, name, data).await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    // The slot is free again and the host is well.
    let next = add(&queue, "fine", json!(null)).await;
    reaches(&queue, &next, JobState::Completed).await;
    (job, host, redis, queue)
}

async fn reason(name: &str, data: Value) -> String {
    reason_within(LIMITS, name, data).await
}

async fn reason_within(limits: &str, name: &str, data: Value) -> String {
    let (job, host, _redis, _) = misbehave(limits, name, data).await;
    host.stop().await;
    job["failedReason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn panic_fails_the_job_with_its_message_and_a_stack() {
    let (job, host, _redis, _) = misbehave(LIMITS, "panic", json!(null)).await;
    let reason = job["failedReason"].as_str().unwrap();
    assert!(
        reason.starts_with("panicked at") && reason.contains("the roof is on fire"),
        "{reason}"
    );
    let traces: Vec<String> = serde_json::from_str(job["stacktrace"].as_str().unwrap()).unwrap();
    assert_eq!(traces.len(), 1);
    // The panic's own machinery is left out: the first frame is the guest's code.
    let frames: Vec<&str> = traces[0]
        .lines()
        .filter(|line| line.starts_with("    at "))
        .collect();
    assert!(
        !frames.is_empty() && !traces[0].contains("core::panicking"),
        "{}",
        traces[0]
    );
    host.stop().await;
}

/// A failed job's reason and its one stack.
fn reason_and_stack(job: &serde_json::Map<String, Value>) -> (String, String) {
    let stacks: Vec<String> = serde_json::from_str(job["stacktrace"].as_str().unwrap()).unwrap();
    let [stack] = <[String; 1]>::try_from(stacks).unwrap();
    (job["failedReason"].as_str().unwrap().to_owned(), stack)
}

#[tokio::test]
async fn what_a_guest_said_on_stderr_is_the_reason_for_which_it_aborts() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "hunter2hunter2").unwrap();
    let options = format!(
        "concurrency = 1\nreuse = {{ jobs = 100 }}\n[queues.ring.grants]\nsecrets = {{ KEY = {{ file = {secret:?} }} }}"
    );
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", &options).await;
    let said = async |words: &str, then: &str| {
        let id = add(
            &queue,
            "last-words",
            json!({ "words": words, "then": then }),
        )
        .await;
        reason_and_stack(&reaches(&queue, &id, JobState::Failed).await)
    };
    let trap = "wasm trap: wasm `unreachable` instruction executed";

    let traceback =
        "Traceback (most recent call last):\n  File \"app.py\", line 3\nValueError: bad\n";
    let (reason, stack) = said(traceback, "abort").await;
    assert_eq!(reason, "ValueError: bad");
    let beginning = format!("Error: ValueError: bad\n{traceback}{trap}\n    at ");
    assert!(stack.starts_with(&beginning), "{stack}");

    let (reason, stack) = said("panic: \u{1b}[31mbad\ngoroutine 1:\n", "exit").await;
    assert_eq!(reason, "panic: \u{fffd}[31mbad");
    let text = "\ngoroutine 1:\nprocessor exited with code 1\n    at ";
    assert!(stack.contains(text), "{stack}");

    // No end of a line, and what may be the beginning of a secret.
    let (reason, _) = said("no hunter2hunter2 but hunter2", "abort").await;
    assert_eq!(reason, "no *** but hunter2");

    // A trap that is no choice of the guest's has its own reason.
    let (reason, stack) = said("step 7\n", "recurse").await;
    assert!(reason.starts_with("wasm trap: "), "{reason}");
    assert!(stack.contains("\nstep 7\nwasm trap: "), "{stack}");

    // Nothing is left of the job before in a reused instance.
    let id = add(&queue, "last-words", json!({ "words": "a warning\n" })).await;
    reaches(&queue, &id, JobState::Completed).await;
    assert_eq!(said("", "abort").await.0, trap);
    host.stop().await;
}

#[tokio::test]
async fn endless_loop_is_stopped_at_its_deadline() {
    assert_eq!(
        reason_within(DEADLINE, "loop", json!(null)).await,
        "processor exceeded its time limit of 1000 ms"
    );
}

#[tokio::test]
async fn guest_that_waits_too_long_is_stopped_at_its_deadline() {
    assert_eq!(
        reason_within(DEADLINE, "sleep", json!(60_000)).await,
        "processor exceeded its time limit of 1000 ms"
    );
}

#[tokio::test]
async fn memory_is_limited() {
    assert_eq!(
        reason("allocate", json!(null)).await,
        "processor exceeded its memory limit of 20971520 bytes"
    );
}

#[tokio::test]
async fn stack_is_limited() {
    // Rust keeps part of its stack in linear memory: which of the two ends first is the compiler's choice.
    let reason = reason("overflow-stack", json!(null)).await;
    assert!(reason.starts_with("wasm trap: "), "{reason}");
}

#[tokio::test]
async fn returned_value_is_limited() {
    let reason = reason("huge-value", json!(2000)).await;
    assert_eq!(
        reason,
        "return value has 2002 bytes, more than the limit of 1000"
    );
}

#[tokio::test]
async fn leaving_as_delayed_without_having_moved_is_an_error_that_says_so() {
    let reason = reason("forget-to-move", json!(null)).await;
    assert!(
        reason.contains("did not move the job") && reason.contains("move-to-delayed"),
        "{reason}"
    );
}

#[tokio::test]
async fn data_that_is_not_json_fails_the_job_for_good() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let job = new_job(
        "read-data",
        json!(1),
        json!({ "attempts": 5, "jobId": "broken" }),
    );
    queue.add(&job).await.unwrap();
    let _: i64 = redis
        .command(&["HSET", "bull:ring:broken", "data", "{not json"])
        .await;
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", LIMITS).await;
    let job = reaches(&queue, "broken", JobState::Failed).await;
    let reason = job["failedReason"].as_str().unwrap();
    assert!(
        reason.starts_with("job data is not valid JSON: "),
        "{reason}"
    );
    assert_eq!(job["atm"], "1");
    host.stop().await;
}

#[tokio::test]
async fn host_goes_by_what_a_guest_did_not_by_how_it_left() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", LIMITS).await;
    let returned = add(&queue, "move-then-return", json!(null)).await;
    let job = reaches(&queue, &returned, JobState::Delayed).await;
    assert!(!job.contains_key("returnvalue") && !job.contains_key("atm"));
    host.logs("ended in another way").await;

    let twice = add(&queue, "move-twice", json!(null)).await;
    reaches(&queue, &twice, JobState::Delayed).await;
    // It writes what the second move was answered after the first one took effect.
    eventually("the second move is refused", async || {
        let job = queue.job(&twice).await.ok()??;
        job["data"].contains("already moved").then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test]
async fn what_a_guest_prints_reaches_the_log_clean_and_counted() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", LIMITS).await;
    add(&queue, "print", json!(null)).await;
    host.logs("to the log").await;
    host.logs("limit of log lines").await;
    let log = host.log();
    assert!(
        log.contains("to stdout\u{fffd}[31m") && log.contains("to stderr"),
        "{log}"
    );
    host.stop().await;
}

#[tokio::test]
async fn lost_lock_stops_the_guest_and_writes_nothing() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let options = "lock_duration_ms = 200\nstalled_interval_ms = 3600000";
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let id = add(&queue, "spin", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    let _: String = redis
        .command(&["SET", &format!("bull:ring:{id}:lock"), "another worker"])
        .await;
    host.logs("lock of a running job was lost").await;
    // The slot is free: the guest has been stopped.
    let next = add(&queue, "fine", json!(null)).await;
    reaches(&queue, &next, JobState::Completed).await;
    assert_eq!(queue.state(&id).await.unwrap(), JobState::Active);
    let job = queue.job(&id).await.unwrap().unwrap();
    assert!(
        !job.contains_key("failedReason") && !job.contains_key("atm"),
        "{job:?}"
    );
    host.stop().await;
}

#[tokio::test]
async fn guests_that_compute_do_not_hold_up_the_renewal_of_locks() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    // A lock that is not renewed in time is found by the next check, and its job runs again.
    let options = "concurrency = 200\nlock_duration_ms = 2000\nstalled_interval_ms = 250\nmax_stalled_count = 100";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(add(&queue, "spin", json!(6_000)).await);
    }
    // They come round only at their epochs, one after the other. Were the renewal in that line, too, each of
    // its steps would wait for a whole round, a second long.
    for id in ids {
        let job = reaches(&queue, &id, JobState::Completed).await;
        assert_eq!(job["ats"], "1", "a lock ran out: {job:?}");
    }
    host.stop().await;
}
