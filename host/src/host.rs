//! A running host: the queues that it works, attached and detached while it runs.
//!
//! Called by the daemon, the admin API, and whoever embeds the host. Talks to workers and to the registry's
//! slots, never to a running job.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tracing::{info, warn};
use utoipa::ToSchema;

use crate::config::QueueConfig;
use crate::fleet::{Deployments, Identity, Member};
use crate::metrics::Metrics;
use crate::registry::{Refusal, Slot, Version, VersionReport};
use crate::telemetry::Telemetry;
use crate::worker::{Listeners, Observers, RunningJob, Worker, WorkerEvent};
use toril_queue::{Queue, QueueError, QueueName, Redis};
use toril_sandbox::{Digest, Engine, Policy};

/// The queues that one process works.
pub struct Host {
    runtime: Arc<Engine>,
    redis: Redis,
    prefix: String,
    identity: Identity,
    metrics: Metrics,
    telemetry: Option<Arc<Telemetry>>,
    attached: Mutex<BTreeMap<String, Attached>>,
}

struct Attached {
    config: QueueConfig,
    member: Arc<Member>,
    worker: Worker,
    observers: Arc<Observers>,
    /// Follows the deployments, until this is aborted; none where Redis does not let us.
    following: Option<AbortHandle>,
}

impl Attached {
    async fn leave(&self, identity: &Identity) {
        if let Some(following) = &self.following {
            following.abort();
            self.member.leave(identity).await;
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

/// What an attached queue is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The queue's name.
    pub queue: String,
    /// The digest of the processor that the next job runs in; none where there is no processor yet.
    pub digest: Option<String>,
    /// The candidate of a canary.
    pub candidate: Option<String>,
    /// The versions that serve, or that jobs still run on.
    pub versions: Vec<VersionReport>,
    /// Jobs that run at once.
    pub concurrency: usize,
    /// Jobs that are held now.
    pub running: usize,
    /// True while no jobs are taken.
    pub paused: bool,
    /// The last processor that was not taken, until the next swap.
    pub refusal: Option<Refusal>,
    /// What its processors may do beyond their jobs: names, no values.
    pub grants: Vec<String>,
}

/// What becomes of running jobs when their queue is detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// They end.
    Wait,
    /// They are stopped and given back.
    GiveBack,
}

/// What reading a queue's file again did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The file holds another processor, which serves now.
    Swapped,
    /// It does, but a deployment goes before it.
    Hidden,
    /// It holds the same.
    Unchanged,
    /// It holds none that can be taken; the queue's status says why.
    Refused,
}

/// Asked for a queue that this host does not work.
#[derive(Debug, thiserror::Error)]
#[error("queue `{0}` is not attached")]
pub struct NotAttached(pub String);

impl Host {
    /// A host that works no queue yet.
    pub fn new(runtime: Arc<Engine>, redis: Redis, prefix: &str) -> Self {
        Host {
            runtime,
            redis,
            prefix: prefix.to_owned(),
            identity: Identity::new(),
            metrics: Metrics::new(),
            telemetry: None,
            attached: Mutex::default(),
        }
    }

    /// Records a span for each attempt of the queues that are attached from now on.
    pub fn with_telemetry(mut self, telemetry: Option<Arc<Telemetry>>) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// The engine.
    pub fn runtime(&self) -> &Arc<Engine> {
        &self.runtime
    }

    /// The connection.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Who this host is to others.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn attached(&self) -> MutexGuard<'_, BTreeMap<String, Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads a queue's processor and begins to work the queue.
    pub async fn attach(&self, name: &str, config: &QueueConfig) -> anyhow::Result<()> {
        config.check().with_context(|| format!("queue `{name}`"))?;
        let version = match &config.processor {
            Some(file) => Some(
                load_file(&self.runtime, file, config)
                    .await
                    .with_context(|| format!("queue `{name}`"))?,
            ),
            None => None,
        };
        self.attach_loaded(name, config, version).await
    }

    /// Begins to work a queue whose file, if it has one, is loaded. What is deployed goes before the file.
    pub(crate) async fn attach_loaded(
        &self,
        name: &str,
        config: &QueueConfig,
        file: Option<Arc<Version>>,
    ) -> anyhow::Result<()> {
        if self.attached().contains_key(name) {
            bail!("queue `{name}` is attached already");
        }
        self.runtime.check_limits(&config.limits)?;
        let prefix = config.prefix.as_deref().unwrap_or(&self.prefix);
        self.redis.check_prefix(prefix)?;
        let queue = Queue::new(self.redis.clone(), prefix, &QueueName::new(name)?);
        let observers = Arc::new(Observers {
            listeners: Listeners::default(),
            metrics: self.metrics.queue(name),
            telemetry: self.telemetry.clone(),
        });
        let metrics = observers.metrics.clone();
        let slot = Slot::new(name, config.policy(), config.pinned, metrics);
        if let Some(version) = file {
            slot.put_file(version);
        }
        let member = Arc::new(Member::new(
            Arc::clone(&self.runtime),
            &queue,
            Arc::new(slot),
        ));
        let begun = begin(name, &member).await?;
        if member.slot().active().is_none() {
            info!(
                queue = name,
                "queue has no processor yet, its jobs wait for a deployment"
            );
        }
        let mut attached = self.attached();
        if attached.contains_key(name) {
            bail!("queue `{name}` is attached already");
        }
        let options = config.worker.clone();
        let worker = Worker::start(queue, options, Arc::clone(&member), Arc::clone(&observers));
        let following = begun.map(|revision| {
            let (identity, view) = (self.identity.clone(), worker.view().clone());
            tokio::spawn(Arc::clone(&member).follow(identity, view, revision)).abort_handle()
        });
        attached.insert(
            name.to_owned(),
            Attached {
                config: config.clone(),
                member,
                worker,
                observers,
                following,
            },
        );
        Ok(())
    }

    /// Stops working a queue, and waits until none of its jobs runs here.
    pub async fn detach(&self, name: &str, running: Detach) -> anyhow::Result<()> {
        let end = self.with(name, |attached| {
            match running {
                Detach::Wait => attached.worker.drain(),
                Detach::GiveBack => attached.worker.give_back(),
            }
            attached.worker.end()
        })?;
        // It stays on the list until then: a host that stops meanwhile waits for it, too.
        end.await;
        let removed = self.attached().remove(name);
        if let Some(attached) = removed {
            attached.leave(&self.identity).await;
        }
        info!(queue = name, "queue was detached");
        Ok(())
    }

    /// Takes no more jobs of a queue here; other workers go on.
    pub fn pause(&self, name: &str) -> Result<(), NotAttached> {
        self.with(name, |attached| attached.worker.pause())
    }

    /// Takes jobs of a queue again.
    pub fn resume(&self, name: &str) -> Result<(), NotAttached> {
        self.with(name, |attached| attached.worker.resume())
    }

    /// Changes how many jobs of a queue run at once; 0 counts as 1.
    pub fn set_concurrency(&self, name: &str, concurrency: usize) -> Result<(), NotAttached> {
        self.with(name, |attached| {
            attached.worker.set_concurrency(concurrency)
        })
    }

    /// Stops a running job, which fails for good. False: it does not run here.
    pub fn cancel(&self, name: &str, job_id: &str) -> Result<bool, NotAttached> {
        self.with(name, |attached| attached.worker.cancel(job_id))
    }

    /// The jobs of a queue that are held here.
    pub fn jobs(&self, name: &str) -> Result<Vec<RunningJob>, NotAttached> {
        self.with(name, |attached| attached.worker.view().jobs())
    }

    /// Listens to a queue's worker from now on.
    pub fn listen(&self, name: &str) -> Result<broadcast::Receiver<Arc<WorkerEvent>>, NotAttached> {
        self.with(name, |attached| attached.observers.listeners.subscribe())
    }

    /// What a queue's processors may use and do.
    pub fn policy(&self, name: &str) -> Result<Arc<Policy>, NotAttached> {
        self.with(name, |attached| attached.member.slot().policy())
    }

    /// What is deployed on a queue, attached here or not.
    pub fn deployments(&self, name: &str) -> Result<Deployments, QueueError> {
        let of_attached = self.with(name, |attached| attached.member.deployments().clone());
        if let Ok(deployments) = of_attached {
            return Ok(deployments);
        }
        let name = QueueName::new(name)?;
        let queue = Queue::new(self.redis.clone(), &self.prefix, &name);
        Ok(Deployments::of(&queue))
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&Attached) -> T) -> Result<T, NotAttached> {
        let attached = self.attached();
        let found = attached.get(name);
        found.map(act).ok_or_else(|| NotAttached(name.to_owned()))
    }

    /// What each queue is doing.
    pub fn status(&self) -> Vec<QueueStatus> {
        let attached = self.attached();
        attached
            .iter()
            .map(|(queue, attached)| status(queue, attached))
            .collect()
    }

    /// What one queue is doing.
    pub fn queue_status(&self, name: &str) -> Result<QueueStatus, NotAttached> {
        self.with(name, |attached| status(name, attached))
    }

    /// What is counted, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.metrics.text(&self.status())
    }

    /// Reads each queue's file again, and swaps the processors that changed.
    /// `again` tries those that were refused before, too.
    pub async fn reload(&self, again: bool) -> Vec<(String, Reloaded)> {
        let mut files = Vec::new();
        for (name, attached) in self.attached().iter() {
            if let Some(file) = attached.config.processor.clone() {
                files.push((name.clone(), Arc::clone(&attached.member), file));
            }
        }
        let mut results = Vec::new();
        for (name, member, file) in files {
            results.push((name, self.reload_one(member.slot(), &file, again).await));
        }
        results
    }

    async fn reload_one(&self, slot: &Slot, file: &Path, again: bool) -> Reloaded {
        let bytes = match read_file(file).await {
            Ok(bytes) => bytes,
            Err(error) => {
                slot.refuse(None, format!("{error:#}"));
                return Reloaded::Refused;
            }
        };
        let digest = Digest::of(&bytes);
        if slot.file().is_some_and(|file| *file.digest() == digest) {
            return Reloaded::Unchanged;
        }
        let refused_before = slot
            .refusal()
            .is_some_and(|refusal| refusal.digest.as_deref() == Some(&*digest));
        if refused_before && !again {
            return Reloaded::Unchanged;
        }
        match self.runtime.load(bytes, &slot.policy()).await {
            Ok(processor) => slot.put_file(Version::new(processor)),
            Err(error) => {
                slot.refuse(Some(&digest), format!("file `{}`: {error}", file.display()));
                return Reloaded::Refused;
            }
        }
        let serves = slot
            .active()
            .is_some_and(|active| *active.digest() == digest);
        if serves {
            Reloaded::Swapped
        } else {
            Reloaded::Hidden
        }
    }

    /// Brings an attached queue in line with a changed config. What cannot be changed while the worker runs
    /// makes it begin anew, after its running jobs ended.
    pub(crate) async fn reconfigure(&self, name: &str, config: &QueueConfig) -> anyhow::Result<()> {
        let changed = |old: &QueueConfig| {
            let mut same_worker = old.clone();
            same_worker.worker.concurrency = config.worker.concurrency;
            same_worker.limits.clone_from(&config.limits);
            same_worker.grants.clone_from(&config.grants);
            same_worker.reuse = config.reuse;
            (old != config, same_worker != *config)
        };
        self.runtime.check_limits(&config.limits)?;
        let (any, beyond_policy) = self.with(name, |attached| changed(&attached.config))?;
        if beyond_policy {
            self.detach(name, Detach::Wait).await?;
            return self.attach(name, config).await;
        }
        if any && let Some(attached) = self.attached().get_mut(name) {
            // In this order: what a new slot takes has the new policy.
            attached.member.slot().set_policy(config.policy());
            attached.worker.set_concurrency(config.worker.concurrency);
            attached.config = config.clone();
        }
        Ok(())
    }

    /// The configs of the attached queues.
    pub(crate) fn configs(&self) -> BTreeMap<String, QueueConfig> {
        let attached = self.attached();
        let configs = attached
            .iter()
            .map(|(name, attached)| (name.clone(), attached.config.clone()));
        configs.collect()
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

    /// Takes this host off the lists, after [`ended`](Host::ended).
    pub(crate) async fn leave(&self) {
        let attached = std::mem::take(&mut *self.attached());
        for attached in attached.into_values() {
            attached.leave(&self.identity).await;
        }
    }
}

async fn read_file(file: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(file)
        .await
        .with_context(|| format!("failed to read component `{}`", file.display()))
}

/// Loads the component of a file.
pub(crate) async fn load_file(
    runtime: &Arc<Engine>,
    file: &Path,
    config: &QueueConfig,
) -> anyhow::Result<Arc<Version>> {
    let processor = runtime
        .load(read_file(file).await?, &Arc::new(config.policy()))
        .await
        .with_context(|| format!("component `{}` was refused", file.display()))?;
    Ok(Version::new(processor))
}

/// Takes up what is deployed. None: Redis does not let us look, and a file serves.
async fn begin(name: &str, member: &Member) -> anyhow::Result<Option<u64>> {
    match member.begin().await {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if member.slot().active().is_some() => {
            warn!(
                queue = name,
                %error,
                "deployments are not followed, the queue's file serves; give this redis user the keys `toril:*`"
            );
            Ok(None)
        }
        Err(error) => Err(error).context("the queue has no file, and deployments cannot be read"),
    }
}

fn status(queue: &str, attached: &Attached) -> QueueStatus {
    let (slot, view) = (attached.member.slot(), attached.worker.view());
    let digest = |version: Arc<Version>| version.digest().to_string();
    QueueStatus {
        queue: queue.to_owned(),
        digest: slot.active().map(digest),
        candidate: slot
            .canary()
            .map(|canary| canary.version.digest().to_string()),
        versions: slot.report(),
        concurrency: view.concurrency(),
        running: view.running(),
        paused: view.is_paused(),
        refusal: slot.refusal().map(|refusal| (*refusal).clone()),
        grants: slot.policy().grants.describe(),
    }
}
