//! A marker that a worker without room took: it is put back, so that another worker takes the job at once.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use toril::host::{Detach, Host};
use toril::queue::{JobState, Queue, Redis};
use toril::sandbox::{Engine, EngineOptions};
use toril::served_queue::QueueSpec;

use super::NO_REPLICAS;
use crate::fault_proxy::{Fault, FaultProxy, Gate, Injected};
use crate::harness::{TestRedis, add, eventually, processor, reaches};

/// One worker holds a job and has taken the marker of another one, which the other worker rests for.
struct Crowded {
    _redis: TestRedis,
    proxy: FaultProxy,
    queue: Queue,
    full: Host,
    _other: Host,
    /// The job that the first worker runs, until it is cancelled.
    running: String,
    /// The job whose marker it took.
    waiting: String,
    /// Opened, the worker learns of the marker.
    told: Gate,
}

/// A host with one slot, whose worker rests for an hour if nothing wakes it.
async fn host(redis: Redis, processor: &Path) -> Host {
    let options = EngineOptions {
        executions_max: 4,
        ..EngineOptions::default()
    };
    let host = Host::new(Arc::new(Engine::new(&options).unwrap()), redis, "bull");
    let mut spec = QueueSpec::new(Some(processor.to_owned()));
    spec.worker.concurrency = 1;
    spec.worker.drain_delay_ms = 3_600_000;
    host.attach("ring", spec).await.unwrap();
    host
}

async fn rest(redis: &TestRedis, workers: usize) {
    let rest = format!("blocked_clients:{workers}\r");
    let what = format!("{workers} workers wait for a marker");
    eventually(&what, async || {
        let clients: String = redis.command(&["INFO", "clients"]).await;
        clients.contains(&rest).then_some(())
    })
    .await;
}

impl Crowded {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let proxy = FaultProxy::start(&redis).await;
        let queue = redis.queue("ring").await;
        let told = Gate::default();
        let mut held = proxy.inject("BZPOPMIN", Fault::HoldReply(told.clone()));
        let processor = processor("fixture-misbehaving");
        let behind_proxy = Redis::connect(&proxy.url()).await.unwrap();
        let full = host(behind_proxy, &processor).await;
        // Redis gives a marker to the worker that has waited for longest.
        rest(&redis, 1).await;
        let other = host(redis.connect().await, &processor).await;
        rest(&redis, 2).await;
        let running = add(&queue, "wait-until-cancelled", json!(null)).await;
        held.struck(1).await;
        // Told of nothing, it looks for jobs because it is asked for something.
        full.set_concurrency("ring", 1).unwrap();
        reaches(&queue, &running, JobState::Active).await;
        rest(&redis, 1).await;
        let waiting = Self::add_unmarked(&redis).await;
        Crowded {
            _redis: redis,
            proxy,
            queue,
            full,
            _other: other,
            running,
            waiting,
            told,
        }
    }

    /// A job as it is in Redis once its marker was taken.
    async fn add_unmarked(redis: &TestRedis) -> String {
        let job =
            "HSET bull:ring:second name fine data null opts {} timestamp 1 delay 0 priority 0";
        let job: Vec<&str> = job.split(' ').collect();
        let _: i64 = redis.command(&job).await;
        let _: i64 = redis.command(&["LPUSH", "bull:ring:wait", "second"]).await;
        "second".to_owned()
    }

    fn refuse_to_take_it_back(&self) -> Injected {
        let fault = Fault::Refuse(NO_REPLICAS);
        self.proxy.inject_at("ZADD", 0, usize::MAX, fault)
    }
}

#[tokio::test]
async fn marker_that_a_full_worker_took_wakes_another_one() {
    let faults = [
        None,
        Some(Fault::LoseRequest),
        Some(Fault::LoseReply),
        Some(Fault::Refuse(NO_REPLICAS)),
    ];
    for fault in faults {
        let stage = Crowded::start().await;
        let what = format!("{fault:?}");
        let struck = fault.map(|fault| stage.proxy.inject("ZADD", fault));
        stage.told.open();
        if let Some(mut struck) = struck {
            struck.struck(1).await;
        }
        reaches(&stage.queue, &stage.waiting, JobState::Completed).await;
        let state = stage.queue.state(&stage.running).await.unwrap();
        assert_eq!(state, JobState::Active, "{what}: the first worker was full");
    }
}

/// The worker's last job ends while Redis does not take the marker back.
#[tokio::test]
async fn worker_that_drains_puts_its_marker_back_before_it_ends() {
    let stage = Crowded::start().await;
    let mut refused = stage.refuse_to_take_it_back();
    stage.told.open();
    refused.struck(1).await;
    let cancelled = stage.full.cancel("ring", &stage.running, "enough", false);
    let detached = stage.full.detach("ring", Detach::Wait);
    cancelled.await.unwrap();
    reaches(&stage.queue, &stage.running, JobState::Completed).await;
    stage.proxy.clear();
    detached.await.unwrap();
    reaches(&stage.queue, &stage.waiting, JobState::Completed).await;
}

/// A Redis that never takes the marker back does not hold up a worker that gives its jobs back.
#[tokio::test]
async fn worker_that_gives_back_ends_though_its_marker_is_refused() {
    let stage = Crowded::start().await;
    let mut refused = stage.refuse_to_take_it_back();
    stage.told.open();
    refused.struck(1).await;
    stage.full.detach("ring", Detach::GiveBack).await.unwrap();
}
