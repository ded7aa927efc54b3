//! Requests to cancel a job that arrive before the host knows that it has the job.

use serde_json::json;
use toril::queue::{JobState, Queue};
use toril::served_queue::cancel::{Cancellation, cancel};

use crate::fault_proxy::{Fault, FaultProxy, Gate};
use crate::harness::{TestHost, TestRedis, add, eventually, queue_section, reaches};

/// A host that already runs one job, so that it reads requests, and that asks for the next one when it is woken.
struct Stage {
    redis: TestRedis,
    proxy: FaultProxy,
    host: TestHost,
    queue: Queue,
}

impl Stage {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let proxy = FaultProxy::start(&redis).await;
        let options = "concurrency = 5\ndrain_delay_ms = 600000";
        let section = queue_section("ring", "fixture-misbehaving", options);
        let mut host = TestHost::spawn(&format!("redis = \"{}\"\n{section}", proxy.url()), &[]);
        host.logs("serving").await;
        let queue = redis.queue("ring").await;
        let other = add(&queue, "sleep", json!(3_600_000)).await;
        reaches(&queue, &other, JobState::Active).await;
        Stage {
            redis,
            proxy,
            host,
            queue,
        }
    }

    /// Asks the host to cancel a job, and waits until it has read that.
    async fn asks_to_cancel(&self, id: &str) {
        let cancelled = cancel(&self.queue, id, "enough", false, |_, _| false, |_| ()).await;
        assert_eq!(cancelled.unwrap()[0].outcome, Cancellation::Asked);
        // One may have been under way.
        let read = self.proxy.calls("sync") + 2;
        eventually("the host reads the request", async || {
            (self.proxy.calls("sync") >= read).then_some(())
        })
        .await;
    }

    async fn stops(self, id: &str) {
        let job = reaches(&self.queue, id, JobState::Failed).await;
        assert_eq!(job["failedReason"], "job was cancelled: enough");
        self.host.stop().await;
        drop(self.redis);
    }
}

#[tokio::test]
async fn request_that_comes_before_its_job_is_kept() {
    let stage = Stage::start().await;
    let gate = Gate::default();
    let held = Fault::HoldReply(gate.clone());
    let mut delivery = stage.proxy.inject("settle", held);
    let id = add(&stage.queue, "sleep", json!(3_600_000)).await;
    delivery.struck(1).await;
    reaches(&stage.queue, &id, JobState::Active).await;
    stage.asks_to_cancel(&id).await;
    gate.open();
    stage.stops(&id).await;
}

#[tokio::test]
async fn request_that_comes_before_its_job_is_found_again_is_kept() {
    let stage = Stage::start().await;
    let gate = Gate::default();
    let held = Fault::HoldRequest(gate.clone());
    let mut lost = stage.proxy.inject("settle", Fault::LoseReply);
    let mut search = stage.proxy.inject("reclaim", held);
    let id = add(&stage.queue, "sleep", json!(3_600_000)).await;
    lost.struck(1).await;
    search.struck(1).await;
    reaches(&stage.queue, &id, JobState::Active).await;
    stage.asks_to_cancel(&id).await;
    gate.open();
    stage.stops(&id).await;
}
