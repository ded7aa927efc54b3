//! A running host: the queues that it works, attached and detached while it runs.
//!
//! Called by the daemon, and by whoever embeds the host. Talks to workers and to the registry's slots, never
//! to a running job.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tracing::info;

use crate::config::QueueConfig;
use crate::queue::{Queue, Redis};
use crate::registry::Slot;
use crate::runtime::Runtime;
use crate::telemetry::Telemetry;
use crate::worker::Worker;

/// The queues that one process works.
pub struct Host {
    runtime: Arc<Runtime>,
    redis: Redis,
    prefix: String,
    telemetry: Option<Arc<Telemetry>>,
    attached: Mutex<BTreeMap<String, Attached>>,
}

struct Attached {
    slot: Arc<Slot>,
    worker: Worker,
}

/// What an attached queue is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The queue's name.
    pub queue: String,
    /// The digest of the processor that the next job runs in.
    pub digest: String,
    /// Jobs that run at once.
    pub concurrency: usize,
    /// Jobs that are held now.
    pub running: usize,
    /// True while no jobs are taken.
    pub paused: bool,
}

/// What becomes of running jobs when their queue is detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// They end.
    Wait,
    /// They are stopped and given back.
    GiveBack,
}

impl Host {
    /// A host that works no queue yet.
    pub fn new(runtime: Arc<Runtime>, redis: Redis, prefix: &str) -> Self {
        Host {
            runtime,
            redis,
            prefix: prefix.to_owned(),
            telemetry: None,
            attached: Mutex::default(),
        }
    }

    /// Records a span for each attempt of the queues that are attached from now on.
    pub fn with_telemetry(mut self, telemetry: Option<Arc<Telemetry>>) -> Self {
        self.telemetry = telemetry;
        self
    }

    fn attached(&self) -> MutexGuard<'_, BTreeMap<String, Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads a queue's processor and begins to work the queue.
    pub async fn attach(&self, name: &str, config: &QueueConfig) -> anyhow::Result<()> {
        config.check().with_context(|| format!("queue `{name}`"))?;
        let slot = Slot::load(
            &self.runtime,
            &config.processor,
            &config.limits,
            &config.grants,
        )
        .await
        .with_context(|| format!("queue `{name}`"))?;
        self.attach_slot(name, config, Arc::new(slot))
    }

    /// Begins to work a queue whose processor is loaded.
    pub(crate) fn attach_slot(
        &self,
        name: &str,
        config: &QueueConfig,
        slot: Arc<Slot>,
    ) -> anyhow::Result<()> {
        let mut attached = self.attached();
        if attached.contains_key(name) {
            bail!("queue `{name}` is attached already");
        }
        let prefix = config.prefix.as_deref().unwrap_or(&self.prefix);
        self.redis.check_prefix(prefix)?;
        let queue = Queue::new(self.redis.clone(), prefix, name);
        let worker = Worker::start(
            queue,
            config.worker.clone(),
            Arc::clone(&slot),
            Arc::clone(&self.runtime),
            self.telemetry.clone(),
        );
        attached.insert(name.to_owned(), Attached { slot, worker });
        Ok(())
    }

    /// Stops working a queue, and waits until none of its jobs runs here.
    pub async fn detach(&self, name: &str, running: Detach) -> anyhow::Result<()> {
        let removed = self.attached().remove(name);
        let mut attached = removed.with_context(|| not_attached(name))?;
        match running {
            Detach::Wait => attached.worker.drain(),
            Detach::GiveBack => attached.worker.give_back(),
        }
        attached.worker.ended().await;
        info!(queue = name, "queue was detached");
        Ok(())
    }

    /// Takes no more jobs of a queue here; other workers go on.
    pub fn pause(&self, name: &str) -> anyhow::Result<()> {
        self.with_worker(name, Worker::pause)
    }

    /// Takes jobs of a queue again.
    pub fn resume(&self, name: &str) -> anyhow::Result<()> {
        self.with_worker(name, Worker::resume)
    }

    /// Changes how many jobs of a queue run at once.
    pub fn set_concurrency(&self, name: &str, concurrency: usize) -> anyhow::Result<()> {
        anyhow::ensure!(concurrency > 0, "concurrency must be 1 or more");
        self.with_worker(name, |worker| worker.set_concurrency(concurrency))
    }

    /// Stops a running job, which fails for good. False: it does not run here.
    pub fn cancel(&self, name: &str, job_id: &str) -> anyhow::Result<bool> {
        self.with_worker(name, |worker| worker.cancel(job_id))
    }

    fn with_worker<T>(&self, name: &str, act: impl FnOnce(&Worker) -> T) -> anyhow::Result<T> {
        let attached = self.attached();
        Ok(act(&attached
            .get(name)
            .with_context(|| not_attached(name))?
            .worker))
    }

    /// What each queue is doing.
    pub fn status(&self) -> Vec<QueueStatus> {
        let attached = self.attached();
        let status = |(queue, Attached { slot, worker }): (&String, &Attached)| QueueStatus {
            queue: queue.clone(),
            digest: slot.current().digest.clone(),
            concurrency: worker.concurrency(),
            running: worker.running(),
            paused: worker.is_paused(),
        };
        attached.iter().map(status).collect()
    }

    /// Reads each queue's processor again and swaps those that changed. What was refused is in the result.
    pub async fn reload(&self) -> Vec<(String, anyhow::Result<bool>)> {
        let slots: Vec<_> = self
            .attached()
            .iter()
            .map(|(name, attached)| (name.clone(), Arc::clone(&attached.slot)))
            .collect();
        let mut results = Vec::new();
        for (name, slot) in slots {
            results.push((name, slot.reload(&self.runtime).await));
        }
        results
    }

    /// Takes no more jobs of any queue.
    pub(crate) fn drain_all(&self) {
        self.attached()
            .values()
            .for_each(|attached| attached.worker.drain());
    }

    /// Stops all running jobs and gives them back.
    pub(crate) fn give_back_all(&self) {
        self.attached()
            .values()
            .for_each(|attached| attached.worker.give_back());
    }

    /// Waits until nothing runs, after [`drain_all`](Host::drain_all).
    pub(crate) async fn ended(&self) {
        let ends: Vec<_> = self
            .attached()
            .values()
            .map(|attached| attached.worker.end())
            .collect();
        for end in ends {
            end.await;
        }
    }
}

fn not_attached(name: &str) -> String {
    format!("queue `{name}` is not attached")
}
