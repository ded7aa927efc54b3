//! Limits: each guest that misbehaves ends as specified, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use toril::queue::{JobState, Queue};

use crate::harness::{
    TestHost, TestRedis, add, count, eventually, handwritten, http_client, new_job, queue_section,
    reaches,
};

const DEADLINE_MS: u64 = 300;
/// The short time limit is for the guests that end by it alone: on a busy machine it would end others as well.
const LIMITS: &str = "limits = { names = { loop = { deadline_ms = 300 }, sleep = { deadline_ms = 300 } }, \
    deadline_ms = 60000, memory_bytes_max = 20971520, value_bytes_max = 1000, \
    table_elements_max = 5000, log_lines_max = 10, log_bytes_max = 20000, progress_updates_max = 5, \
    jobs_added_max = 7, host_calls_max = 5000, cancel_grace_ms = 100 }\ngrants = { queues = [\"ring\"] }";

fn section_of(dir: &TempDir, queue: &str, component: &[u8]) -> String {
    let file = dir.path().join(format!("{queue}.wasm"));
    std::fs::write(&file, component).unwrap();
    format!("[queues.{queue}]\nprocessor = {file:?}\n{LIMITS}\n")
}

/// A guest that does something in `process` and returns these bytes as its value.
fn guest(before: &str, value: &str) -> Vec<u8> {
    handwritten(&format!(
        r#"(memory (export "memory") 1)
           (memory $second 1)
           (table $table 1 funcref)
           (data (i32.const 8) "\20\00\00\00\08\00\00\00")
           (data (i32.const 32) "{value}")
           (func (export "process") (param i32) (result i32)
             {before} local.get 0 call $drop i32.const 0)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#
    ))
}

/// A page of memory in one memory, then in the other, for ever.
const GROW_BOTH: &str = "(loop $again
    (drop (memory.grow (i32.const 1))) (drop (memory.grow $second (i32.const 1))) (br $again))";
const GROW_TABLE: &str =
    "(loop $again (drop (table.grow $table (ref.null func) (i32.const 100))) (br $again))";

async fn fails(queue: &Queue, name: &str, data: Value) -> serde_json::Map<String, Value> {
    let id = add(queue, name, data).await;
    reaches(queue, &id, JobState::Failed).await
}

#[tokio::test]
async fn each_misbehaviour_ends_with_a_reason_of_its_own() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let handwritten: [(&str, Vec<u8>, &str); 5] = [
        (
            "unreachable",
            guest("unreachable", ""),
            "wasm trap: wasm `unreachable` instruction executed",
        ),
        (
            "memories",
            guest(GROW_BOTH, ""),
            "processor exceeded its memory limit of 20971520 bytes",
        ),
        (
            "table",
            guest(GROW_TABLE, ""),
            "processor exceeded its limit of 5000 table elements",
        ),
        (
            "no-utf8",
            guest("", r"\ff\fe\fd\fc\fb\fa\f9\f8"),
            "invalid utf-8",
        ),
        (
            "no-json",
            guest("", "not json"),
            "return value is not JSON: expected ident at line 1 column 2",
        ),
    ];
    let mut config = queue_section("ring", "fixture-misbehaving", LIMITS);
    config += &queue_section("good", "fixture-noop", "");
    for (queue, component, _) in &handwritten {
        config += &section_of(&dir, queue, component);
    }
    let mut host = TestHost::serve(&redis, &config).await;
    let queue = redis.queue("ring").await;
    // Good jobs go on all the while.
    let good = redis.queue("good").await;
    for _ in 0..100 {
        add(&good, "any", json!(null)).await;
    }

    for (name, _, expected) in &handwritten {
        let job = fails(&redis.queue(name).await, "any", json!(null)).await;
        let reason = job["failedReason"].as_str().unwrap();
        assert!(reason.starts_with(expected), "{name}: {reason}");
    }
    let time = "processor exceeded its time limit of 300 ms";
    let rust: [(&str, Value, &str); 15] = [
        ("loop", json!(null), time),
        ("sleep", json!(3_600_000), time),
        ("overflow-stack", json!(null), "wasm trap: "),
        (
            "allocate",
            json!(null),
            "processor exceeded its memory limit of 20971520 bytes",
        ),
        ("panic", json!(null), "panicked at"),
        (
            "abort",
            json!(null),
            "wasm trap: wasm `unreachable` instruction executed",
        ),
        ("exit", json!(null), "processor exited with code 1"),
        (
            "huge-value",
            json!(2000),
            "return value has 2002 bytes, more than the limit of 1000",
        ),
        (
            "huge-data",
            json!(2000),
            "job data has 2002 bytes, more than the limit of 1000",
        ),
        (
            "flood-calls",
            json!(null),
            "processor exceeded its limit of 5000 host calls",
        ),
        (
            "flood-progress",
            json!(null),
            "processor exceeded its limit of 5 progress updates",
        ),
        (
            "flood-queue",
            json!(null),
            "processor exceeded its limit of 7 added jobs",
        ),
        (
            "flood-flow",
            json!(7),
            "processor exceeded its limit of 7 added jobs",
        ),
        ("read-passwd", json!(null), "No such file or directory"),
        ("list-root", json!(null), "No such file or directory"),
    ];
    for (name, data, expected) in rust {
        let job = fails(&queue, name, data).await;
        let reason = job["failedReason"].as_str().unwrap();
        assert!(reason.contains(expected), "{name}: {reason}");
        let at = |field: &str| job[field].as_str().unwrap().parse::<u64>().unwrap();
        let took = at("finishedOn") - at("processedOn");
        // Some seconds more than it may take, for machines that are busy.
        assert!(took < DEADLINE_MS + 5_000, "{name} took {took} ms");
    }
    assert_eq!(
        count(&redis, "ring", "delayed").await,
        7,
        "as many as it may add"
    );

    for name in ["flood-log", "flood-job-log"] {
        add(&queue, name, json!(null)).await;
        host.logs("reached its limit of log lines or bytes").await;
    }
    assert!(host.log().matches("line 5").count() <= 1 && !host.log().contains("line 10"));
    let done = async || (count(&redis, "good", "completed").await == 100).then_some(());
    eventually("the good jobs complete", done).await;
    assert_eq!(count(&redis, "good", "failed").await, 0);
    host.stop().await;
}

#[tokio::test]
async fn what_is_stored_of_a_failure_and_of_empty_lines_has_an_end() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let limits = "limits = { value_bytes_max = 1000, log_bytes_max = 10 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", limits).await;
    let job = fails(&queue, "huge-reason", json!(1_000_000)).await;
    assert_eq!(job["failedReason"], "ä".repeat(500));
    assert!(job["stacktrace"].as_str().unwrap().len() < 1_100);

    let id = add(&queue, "flood-empty-log", json!(null)).await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    let reason = job["failedReason"].as_str().unwrap();
    assert!(reason.contains("limit of 10 bytes of log"), "{reason}");
    assert_eq!(queue.logs(&id, 100).await.unwrap().len(), 10);
    host.stop().await;
}

#[tokio::test]
async fn component_that_is_too_large_is_refused_with_what_admits_it() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let file = dir.path().join("ring.wasm");
    let tables = "table_elements_max = 60000";
    let (one, both) = (
        "guest_memory_bytes_max = 200081408",
        "memory_bytes_max = 200146944",
    );
    let small = "memory_bytes_max = 131137536";
    // What the core module has, limits that are too small, what is said, and what admits it: in `[runtime]`, in the limits.
    for (parts, limit, hint, runtime, larger) in [
        (
            "(memory 1) (memory 1) (memory 1)",
            "",
            "memories_max = 4",
            "memories_max = 4",
            "",
        ),
        ("(table 60000 funcref)", "", tables, tables, tables),
        ("(memory 3053)", "", one, "", both),
        (
            "(memory 2000)",
            "memory_bytes_max = 1000000",
            small,
            "",
            small,
        ),
    ] {
        let component = handwritten(&format!(
            r#"(memory (export "memory") 1) {parts}
               (func (export "process") (param i32) (result i32) unreachable)
               (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#
        ));
        std::fs::write(&file, component).unwrap();
        let config = |runtime: &str, limit: &str| {
            format!(
                "redis = \"{}\"\n[runtime]\n{runtime}\n[queues.ring]\nprocessor = {file:?}\nlimits = {{ {limit} }}",
                redis.server.url()
            )
        };
        let mut host = TestHost::spawn(&config("", limit), &[]);
        assert!(!host.ended().await.success(), "{parts}");
        let says = async || host.log().contains(&format!("`{hint}`")).then_some(());
        eventually("it says what to set", says).await;
        let mut host = TestHost::spawn(&config(runtime, larger), &[]);
        host.logs("serving").await;
        host.stop().await;
    }
}

#[tokio::test]
async fn compiling_takes_its_time_and_no_more() {
    let redis = TestRedis::start(false).await;
    let runtime = "[runtime]\ncompile_ms_max = 1\ncache = false\n";
    let section = queue_section("ring", "fixture-misbehaving", "");
    let config = format!("redis = \"{}\"\n{runtime}{section}", redis.server.url());
    let mut host = TestHost::spawn(&config, &[]);
    assert!(!host.ended().await.success());
    let reason = "compiling took more than the limit of 1 ms";
    let says = async || host.log().contains(reason).then_some(());
    eventually("it says why", says).await;
}

/// What a process holds: resident memory in KiB, open files, threads.
fn held(pid: u32) -> (u64, usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let entries = |dir: &str| {
        std::fs::read_dir(format!("/proc/{pid}/{dir}"))
            .unwrap()
            .count()
    };
    (kib, entries("fd"), entries("task"))
}

/// Short jobs make the host begin those of their queue between two calls to Redis, on the same thread.
#[tokio::test]
async fn endless_job_after_short_ones_holds_up_nobody() {
    let redis = TestRedis::start(false).await;
    let config = queue_section("ring", "fixture-misbehaving", "concurrency = 20")
        + &queue_section("stable", "fixture-misbehaving", "");
    let _host = TestHost::serve(&redis, &config).await;
    let (ring, stable) = (redis.queue("ring").await, redis.queue("stable").await);
    let short = vec![new_job("fine", json!(null), json!({})); 200];
    for (name, queue) in [("ring", &ring), ("stable", &stable)] {
        queue.add_bulk(&short).await.unwrap();
        let all = async || (count(&redis, name, "completed").await == 200).then_some(());
        eventually("the short jobs are completed", all).await;
    }
    let endless = add(&ring, "loop", json!(null)).await;
    reaches(&ring, &endless, JobState::Active).await;
    for queue in [&ring, &stable] {
        let id = add(queue, "fine", json!(null)).await;
        reaches(queue, &id, JobState::Completed).await;
    }
    reaches(&ring, &endless, JobState::Active).await;
}

#[tokio::test]
async fn traps_leave_nothing_behind() {
    const ROUND: usize = 5_000;
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let options =
        "concurrency = 20\nremove_on_fail = true\nlimits = { memory_bytes_max = 20971520 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let round = async || {
        let jobs: Vec<_> = (0..ROUND)
            .map(|n| match n % 100 {
                // Some fill all the memory that they may have.
                0 => "allocate",
                n if n % 2 == 0 => "panic",
                _ => "abort",
            })
            .map(|name| new_job(name, json!(null), json!({})))
            .collect();
        queue.add_bulk(&jobs).await.unwrap();
        let done = async || {
            let left: u64 = redis.command(&["LLEN", "bull:ring:wait"]).await;
            let active: u64 = redis.command(&["LLEN", "bull:ring:active"]).await;
            (left + active == 0).then_some(())
        };
        eventually("all jobs have failed", done).await;
    };
    round().await;
    let (memory, files, threads) = held(host.pid());
    round().await;
    round().await;
    // Threads that waited for files, or compiled, leave in their own time; what is left behind stays.
    let what = format!("no more than {memory} KiB and a fifth, {files} files, {threads} threads");
    eventually(&what, async || {
        let (memory_after, files_after, threads_after) = held(host.pid());
        let grew = memory_after >= memory + memory / 5;
        (!grew && files_after <= files && threads_after <= threads).then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test]
async fn guest_that_asks_ends_by_itself_when_it_is_cancelled() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let limits = "lock_duration_ms = 400\nstalled_interval_ms = 3600000\nlimits = { cancel_grace_ms = 30000 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", limits).await;
    // By losing its lock: it ends, far before its grace time, and writes nothing.
    let id = add(&queue, "wait-until-cancelled", json!(null)).await;
    reaches(&queue, &id, JobState::Active).await;
    let _: String = redis
        .command(&["SET", &format!("bull:ring:{id}:lock"), "another worker"])
        .await;
    let ended = async || {
        let hosts: String = String::from_utf8(
            crate::harness::toril(&redis, &["status", "ring", "--json"])
                .await
                .stdout,
        )
        .unwrap();
        hosts.contains("\"running\":0").then_some(())
    };
    tokio::time::timeout(
        Duration::from_secs(20),
        eventually("the guest ended", ended),
    )
    .await
    .unwrap();
    let job = queue.job(&id).await.unwrap().unwrap();
    assert!(!job.contains_key("returnvalue"), "{job:?}");
    host.stop().await;
}

#[tokio::test]
async fn deadline_is_announced_before_it_comes() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let limits = "limits = { deadline_ms = 3000 }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", limits).await;
    let id = add(&queue, "wait-until-cancelled", json!(null)).await;
    let job = reaches(&queue, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "\"stopped by itself\"");
    host.stop().await;
}

#[tokio::test]
async fn reused_instance_remembers_until_it_traps_or_is_old() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let remembers = async || {
        let id = add(&queue, "remember", json!(null)).await;
        let job = reaches(&queue, &id, JobState::Completed).await;
        job["returnvalue"].as_str().unwrap().parse::<u32>().unwrap()
    };
    let fresh =
        TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "concurrency = 1").await;
    assert_eq!(
        (remembers().await, remembers().await),
        (0, 0),
        "fresh by default"
    );
    fresh.stop().await;

    let options = "concurrency = 1\nreuse = { jobs = 5 }";
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", options).await;
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(remembers().await);
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 0, 1], "five jobs, then a fresh one");
    fails(&queue, "panic", json!(null)).await;
    assert_eq!(remembers().await, 0, "a trap discards it");
    let failed = new_job("no such name", json!(null), json!({}));
    let failed = queue.add(&failed).await.unwrap();
    reaches(&queue, &failed, JobState::Failed).await;
    assert_eq!(remembers().await, 1, "a failure that is a value does not");
    // What a job writes to the log carries its own id.
    let prints = add(&queue, "print", json!(null)).await;
    reaches(&queue, &prints, JobState::Completed).await;
    host.logs(&format!("job_id=\"{prints}\"")).await;
    host.stop().await;
}

#[tokio::test]
async fn processor_time_is_counted() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let config =
        queue_section("ring", "fixture-misbehaving", "") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let host = TestHost::serve(&redis, &config).await;
    let address = host.log();
    let address = address.split("address=").nth(1).unwrap();
    let address = address.lines().next().unwrap().trim_matches('"').to_owned();
    let client = http_client();
    let seconds = async || {
        let metrics = client.get(format!("http://{address}/metrics")).send();
        let metrics = metrics.await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("toril_cpu_seconds_total"));
        line.and_then(|line| line.split(' ').nth(1))
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let sleeps = add(&queue, "sleep", json!(1_500)).await;
    reaches(&queue, &sleeps, JobState::Completed).await;
    let asleep = seconds().await;
    // As long by the clock. Of that it has the processor for a part only, where others compute, too.
    let spins = add(&queue, "spin", json!(1_500)).await;
    reaches(&queue, &spins, JobState::Completed).await;
    let busy = seconds().await - asleep;
    assert!(busy > 5.0 * asleep, "asleep {asleep} s, busy {busy} s");
    host.stop().await;
}
