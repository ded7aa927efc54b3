//! Outcomes that Redis refuses, because the job is not its worker's any more: listeners hear of them in BullMQ's words,
//! and they are counted.

use std::sync::Arc;

use serde_json::json;
use toril::host::{Detach, Host};
use toril::queue::{JobState, Queue, Redis};
use toril::sandbox::{Engine, EngineOptions};
use toril::served_queue::QueueSpec;
use toril::worker::EventReader;

use crate::fault_proxy::{Fault, FaultProxy, Gate};
use crate::harness::{TestRedis, add, eventually, processor, reaches};

struct Stage {
    redis: TestRedis,
    proxy: FaultProxy,
    host: Host,
}

impl Stage {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let proxy = FaultProxy::start(&redis).await;
        let options = EngineOptions {
            executions_max: 20,
            ..EngineOptions::default()
        };
        let engine = Arc::new(Engine::new(&options).unwrap());
        let connection = Redis::connect(&proxy.url()).await.unwrap();
        let host = Host::new(engine, connection, "bull");
        Stage { redis, proxy, host }
    }

    /// A queue that rests until it is resumed: the first call of its worker takes a job, the second one settles it.
    async fn queue(&self, name: &str, lock_ms: u64) -> (Queue, EventReader) {
        let mut spec = QueueSpec::new(Some(processor("fixture-misbehaving")));
        spec.worker.concurrency = 1;
        spec.worker.autorun = false;
        spec.worker.lock_duration_ms = lock_ms;
        spec.worker.skip_stalled_check = true;
        self.host.attach(name, spec).await.unwrap();
        let events = self.host.listen(name).unwrap();
        (self.redis.queue(name).await, events)
    }

    async fn command(&self, parts: &[&str]) {
        let mut command = redis::cmd(parts[0]);
        command.arg(&parts[1..]);
        let connection = self.redis.connect().await;
        command.exec_async(&mut connection.shared()).await.unwrap();
    }

    async fn dropped(&self, queue: &str) {
        let what = format!("the outcome of `{queue}` is counted");
        let counted = format!("toril_outcomes_dropped_total{{queue=\"{queue}\"}} 1\n");
        eventually(&what, async || {
            self.host.metrics().contains(&counted).then_some(())
        })
        .await;
    }
}

/// The message of the next `error` event.
async fn error(events: &mut EventReader) -> String {
    loop {
        let event = events.recv().await.unwrap();
        if event.name == "error" {
            let arguments = event.json();
            return arguments["error"]["message"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn refused_outcomes_are_errors_in_bullmqs_words_and_are_counted() {
    let stage = Stage::start().await;
    // What happens to job 1 of each queue while its outcome is on its way.
    let cases: [(&str, &[&[&str]], &str); 5] = [
        (
            // As the check for stalled jobs leaves it.
            "given-back",
            &[
                &["DEL", "bull:given-back:1:lock"],
                &["LREM", "bull:given-back:active", "0", "1"],
            ],
            "Missing lock for job 1. moveToFinished",
        ),
        (
            "taken-over",
            &[&["SET", "bull:taken-over:1:lock", "another worker"]],
            "Lock mismatch for job 1. Cmd moveToFinished from active",
        ),
        (
            "obliterated",
            &[
                &["DEL", "bull:obliterated:1", "bull:obliterated:1:lock"],
                &["DEL", "bull:obliterated:active"],
            ],
            "Missing key for job 1. moveToFinished",
        ),
        (
            "moved-away",
            &[&["LREM", "bull:moved-away:active", "0", "1"]],
            "Job 1 is not in the active state. moveToFinished",
        ),
        (
            "damaged",
            &[
                &["DEL", "bull:damaged:meta"],
                &["SET", "bull:damaged:meta", "no hash"],
            ],
            "WRONGTYPE",
        ),
    ];
    for (name, commands, message) in cases {
        let (queue, mut events) = stage.queue(name, 30_000).await;
        add(&queue, "fine", json!(null)).await;
        let gate = Gate::default();
        let held = Fault::HoldRequest(gate.clone());
        let mut settles = stage.proxy.inject_at("settle", 1, 1, held);
        stage.host.resume(name).unwrap();
        settles.struck(1).await;
        for command in commands {
            stage.command(command).await;
        }
        gate.open();
        let error = error(&mut events).await;
        assert!(error.contains(message), "{name}: {error}");
        stage.dropped(name).await;
        stage.host.detach(name, Detach::Wait).await.unwrap();
    }
}

#[tokio::test]
async fn outcome_of_an_attempt_whose_lock_was_lost_is_dropped_with_an_error() {
    let stage = Stage::start().await;
    let (queue, mut events) = stage.queue("ring", 200).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    stage.host.resume("ring").unwrap();
    reaches(&queue, &id, JobState::Active).await;
    let lock = format!("bull:ring:{id}:lock");
    stage.command(&["SET", &lock, "another worker"]).await;
    let words = format!("Missing lock for job {id}. moveToFinished");
    assert_eq!(error(&mut events).await, words);
    stage.dropped("ring").await;
}

/// What waits under these ids cannot run: their hashes are gone, or have no name.
#[tokio::test]
async fn ids_without_a_job_are_an_error_and_are_counted() {
    let stage = Stage::start().await;
    let (queue, mut events) = stage.queue("ring", 30_000).await;
    stage
        .command(&["HSET", "bull:ring:nameless", "data", "{}"])
        .await;
    stage
        .command(&["RPUSH", "bull:ring:wait", "gone", "nameless"])
        .await;
    let id = add(&queue, "fine", json!(null)).await;
    stage.host.resume("ring").unwrap();
    reaches(&queue, &id, JobState::Completed).await;
    let counted = "toril_ids_without_job_total{queue=\"ring\"} 2\n";
    assert!(stage.host.metrics().contains(counted));
    let said = error(&mut events).await;
    assert_eq!(said, r#"2 waiting ids have no job: ["nameless", "gone"]"#);
}
