//! The host as a library: queues attached, changed and detached while it runs.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use toril::host::{ApplyError, Detach, Host};
use toril::queue::{JobState, Queue, Redis};
use toril::sandbox::{Engine, EngineOptions, Reuse};
use toril::served_queue::QueueSpec;

use crate::fault_proxy::{Fault, FaultProxy, Gate};
use crate::harness::{TestRedis, add, eventually, processor, reaches, waits_for_a_marker};

async fn host(redis: &TestRedis) -> (Host, Queue) {
    let options = EngineOptions {
        executions_max: 20,
        ..EngineOptions::default()
    };
    let runtime = Arc::new(Engine::new(&options).unwrap());
    let host = Host::new(runtime, redis.connect().await, "bull");
    (host, redis.queue("ring").await)
}

async fn host_behind(proxy: &FaultProxy) -> Host {
    let engine = Arc::new(Engine::new(&EngineOptions::default()).unwrap());
    let connection = Redis::connect(&proxy.url()).await.unwrap();
    Host::new(engine, connection, "bull")
}

fn config(concurrency: usize) -> QueueSpec {
    let mut config = QueueSpec::new(Some(processor("fixture-misbehaving")));
    config.worker.concurrency = concurrency;
    config
}

#[tokio::test]
async fn queue_is_attached_and_detached_while_the_host_runs() {
    let redis = TestRedis::start(false).await;
    let (host, queue) = host(&redis).await;
    let id = add(&queue, "fine", json!(null)).await;
    host.attach("ring", config(5)).await.unwrap();
    reaches(&queue, &id, JobState::Completed).await;
    let status = &host.status()[0];
    assert_eq!(
        (&*status.queue, status.concurrency, status.paused),
        ("ring", 5, false)
    );
    assert!(
        host.attach("ring", config(5))
            .await
            .unwrap_err()
            .to_string()
            .contains("already attached")
    );

    let running = add(&queue, "sleep", json!(1_000)).await;
    reaches(&queue, &running, JobState::Active).await;
    host.detach("ring", Detach::Wait).await.unwrap();
    assert_eq!(queue.state(&running).await.unwrap(), JobState::Completed);
    let later = add(&queue, "fine", json!(null)).await;
    assert_eq!(queue.state(&later).await.unwrap(), JobState::Waiting);
    assert!(
        host.detach("ring", Detach::Wait)
            .await
            .unwrap_err()
            .to_string()
            .contains("not attached")
    );

    host.attach("ring", config(1)).await.unwrap();
    reaches(&queue, &later, JobState::Completed).await;
    let endless = add(&queue, "loop", json!(null)).await;
    reaches(&queue, &endless, JobState::Active).await;
    host.detach("ring", Detach::GiveBack).await.unwrap();
    assert_eq!(queue.state(&endless).await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn queue_that_waits_for_redis_is_told_that_the_host_stops() {
    let redis = TestRedis::start(false).await;
    let (host, _) = host(&redis).await;
    let refuse = ["CONFIG", "SET", "min-replicas-to-write", "1"];
    let _: String = redis.command(&refuse).await;
    let applied = host.apply("ring", QueueSpec::new(None));
    drop(host);
    let error = applied.await.unwrap_err();
    assert!(matches!(error, ApplyError::Stopping), "{error}");
}

#[tokio::test]
async fn concurrency_that_is_set_while_a_worker_drains_is_that_of_the_next_one() {
    let redis = TestRedis::start(false).await;
    let (host, queue) = host(&redis).await;
    host.attach("ring", config(5)).await.unwrap();
    let running = add(&queue, "sleep", json!(1_000)).await;
    reaches(&queue, &running, JobState::Active).await;
    let mut changed = config(6);
    changed.worker.lock_duration_ms = 20_000;
    host.apply("ring", changed).await.unwrap();
    assert_eq!(host.status()[0].concurrency, 6);
    host.set_concurrency("ring", 7).unwrap();
    // The next worker takes it.
    let later = add(&queue, "fine", json!(null)).await;
    reaches(&queue, &later, JobState::Completed).await;
    assert_eq!(queue.state(&running).await.unwrap(), JobState::Completed);
    assert_eq!(host.status()[0].concurrency, 7);
}

#[tokio::test]
async fn idle_instances_that_new_settings_do_not_keep_are_dropped_at_once() {
    let redis = TestRedis::start(false).await;
    let (host, queue) = host(&redis).await;
    let reusing = |age_ms: Option<u64>| {
        let reuse = age_ms.map(|age_ms| Reuse {
            jobs: 1_000,
            age_ms,
        });
        QueueSpec { reuse, ..config(5) }
    };
    host.attach("ring", reusing(Some(u64::MAX))).await.unwrap();
    for changed in [None, Some(3_600_000)] {
        host.apply("ring", reusing(Some(u64::MAX))).await.unwrap();
        let id = add(&queue, "fine", json!(null)).await;
        reaches(&queue, &id, JobState::Completed).await;
        let idle = async || (host.engine().memory_bytes() > 0).then_some(());
        eventually("an instance is idle", idle).await;
        // One that comes back later is not kept either.
        let running = add(&queue, "sleep", json!(1_000)).await;
        reaches(&queue, &running, JobState::Active).await;
        host.apply("ring", reusing(changed)).await.unwrap();
        reaches(&queue, &running, JobState::Completed).await;
        let none = async || (host.engine().memory_bytes() == 0).then_some(());
        eventually("none is idle", none).await;
    }
}

#[tokio::test]
async fn refused_queue_leaves_the_host_as_it_was() {
    let redis = TestRedis::start(false).await;
    let (host, _) = host(&redis).await;
    let missing = QueueSpec::new(Some(PathBuf::from("missing.wasm")));
    assert!(host.attach("ring", missing).await.is_err());
    let mut zero = config(1);
    zero.worker.lock_duration_ms = 0;
    assert!(host.attach("ring", zero).await.is_err());
    let mut huge = config(1);
    for (bytes, reason) in [
        (1 << 32, "started with room for"),
        (
            (1 << 32) + 1,
            "`limits.memory_bytes_max` must be 4294967296 or less",
        ),
    ] {
        huge.limits.memory_bytes_max = bytes;
        let error = host.attach("ring", huge.clone()).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(host.status().is_empty());
    assert!(host.pause("ring").is_err());
}

#[tokio::test]
async fn worker_rests_while_it_is_paused_and_starts_so_without_autorun() {
    let redis = TestRedis::start(false).await;
    let (host, queue) = host(&redis).await;
    let mut resting = config(5);
    resting.worker.autorun = false;
    host.attach("ring", resting).await.unwrap();
    let first = add(&queue, "fine", json!(null)).await;
    assert!(host.status()[0].paused);
    host.resume("ring").unwrap();
    reaches(&queue, &first, JobState::Completed).await;
    // A job that runs when the worker is paused goes on.
    let running = add(&queue, "sleep", json!(1_000)).await;
    reaches(&queue, &running, JobState::Active).await;
    host.pause("ring").unwrap();
    let second = add(&queue, "fine", json!(null)).await;
    reaches(&queue, &running, JobState::Completed).await;
    assert_eq!(queue.state(&second).await.unwrap(), JobState::Waiting);
    host.resume("ring").unwrap();
    reaches(&queue, &second, JobState::Completed).await;
}

#[tokio::test]
async fn concurrency_changes_while_jobs_run() {
    let redis = TestRedis::start(false).await;
    let (host, queue) = host(&redis).await;
    host.attach("ring", config(1)).await.unwrap();
    for _ in 0..6 {
        add(&queue, "sleep", json!(3_600_000)).await;
    }
    let active = async |jobs: u64| {
        let now: u64 = redis.command(&["LLEN", "bull:ring:active"]).await;
        (now == jobs).then_some(())
    };
    eventually("one job runs", async || active(1).await).await;
    host.set_concurrency("ring", 4).unwrap();
    eventually("four jobs run", async || active(4).await).await;
    host.detach("ring", Detach::GiveBack).await.unwrap();
    eventually("none runs", async || active(0).await).await;
}

#[tokio::test]
async fn job_is_put_off_while_the_time_of_the_next_one_cannot_be_computed() {
    let redis = TestRedis::start(false).await;
    let (host, queue) = host(&redis).await;
    host.attach("ring", config(1)).await.unwrap();
    let mut events = host.listen("ring").unwrap();
    let id = "repeat:moon:1000";
    let hash = format!("bull:ring:{id}");
    let strategy = r#"{"repeat":{"pattern":"every full moon"}}"#;
    let job = "name fine data null rjk moon timestamp 1 delay 0 priority 0";
    let job: Vec<&str> = job.split(' ').collect();
    let add: [&[&str]; 5] = [
        &["ZADD", "bull:ring:repeat", "1000", "moon"],
        &["HSET", "bull:ring:repeat:moon", "name", "fine", "ic", "1"],
        &[&["HSET", &hash, "opts", strategy], &job[..]].concat(),
        &["LPUSH", "bull:ring:wait", id],
        &["ZADD", "bull:ring:marker", "0", "0"],
    ];
    for command in add {
        let _: i64 = redis.command(command).await;
    }
    let error = loop {
        let event = events.recv().await.unwrap();
        if event.name == "error" {
            break event.json()["error"]["message"].to_string();
        }
    };
    assert!(error.contains("cron pattern `every full moon`"), "{error}");
    let put_off = reaches(&queue, id, JobState::Delayed).await;
    assert!(!put_off.contains_key("finishedOn"), "{put_off:?}");
    let metrics = host.metrics();
    let counted = "toril_scheduler_errors_total{queue=\"ring\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    let pattern = r#"{"repeat":{"pattern":"@yearly"}}"#;
    let _: i64 = redis.command(&["HSET", &hash, "opts", pattern]).await;
    queue.promote(id).await.unwrap();
    reaches(&queue, id, JobState::Completed).await;
    let next: i64 = redis.command(&["ZCARD", "bull:ring:delayed"]).await;
    assert_eq!(next, 1, "the chain goes on");
}

#[tokio::test]
async fn queue_that_is_seen_to_be_gone_can_be_attached() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let host = Arc::new(host_behind(&proxy).await);
    let spec = QueueSpec::new(Some(processor("fixture-noop")));
    host.attach("ring", spec.clone()).await.unwrap();
    let gate = Gate::default();
    let mut held = proxy.inject("leave", Fault::HoldRequest(gate.clone()));
    let leaves = tokio::spawn(host.detach("ring", Detach::Wait));
    held.struck(1).await;
    assert!(host.status().is_empty());
    let attaches = tokio::spawn({
        let (host, spec) = (Arc::clone(&host), spec.clone());
        async move { host.attach("ring", spec).await }
    });
    tokio::task::yield_now().await;
    gate.open();
    attaches.await.unwrap().unwrap();
    leaves.await.unwrap().unwrap();
    assert_eq!(host.status().len(), 1);
    let error = host.attach("ring", spec).await.unwrap_err().to_string();
    assert_eq!(error, "queue `ring` is already attached");
}

/// A worker that was told of a job and cannot take it passes on what it was told.
#[tokio::test]
async fn marker_that_a_paused_worker_took_is_put_back_whatever_is_lost() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let host = host_behind(&proxy).await;
    let mut spec = config(1);
    spec.worker.drain_delay_ms = 3_600_000;
    host.attach("ring", spec).await.unwrap();
    let queue = redis.queue("ring").await;
    for fault in [
        Fault::LoseRequest,
        Fault::LoseReply,
        Fault::Refuse("LOADING Redis is loading the dataset in memory"),
    ] {
        let waits = async || waits_for_a_marker(&redis).await;
        eventually("the host waits for a marker", waits).await;
        host.pause("ring").unwrap();
        let mut injected = proxy.inject("ZADD", fault);
        let id = add(&queue, "sleep", json!(0)).await;
        injected.struck(1).await;
        // What another worker does that waits.
        let told: Vec<String> = redis.command(&["BZPOPMIN", "bull:ring:marker", "30"]).await;
        assert_eq!(told, ["bull:ring:marker", "0", "0"]);
        host.resume("ring").unwrap();
        reaches(&queue, &id, JobState::Completed).await;
    }
}
