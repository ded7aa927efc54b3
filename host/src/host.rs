//! A running host: a map of queues, each owned by its task in [`served_queue`](crate::served_queue).
//!
//! Called by the daemon, the admin API, and programs that embed the host. Whatever is asked for here is finished by the
//! queue's task, whether or not the caller waits for it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::debug;

use crate::listeners::EventRoom;
use crate::metrics::{GuestMemory, Metrics};
use crate::served_queue::cancel::{Cancelled, cancel};
use crate::served_queue::deployment::{CancelRequest, Deployments, announce, withdraw_host};
use crate::served_queue::{Answer, Context, Order, ServedQueue, Serving, Stage, follow};
pub use crate::served_queue::{
    ApplyError, Detach, Identity, OnQueue, QueueSpec, QueueStatus, Refusal, Reloaded,
};
pub(crate) use crate::served_queue::{CheckedFile, Section, Wanted, check_file};
use crate::telemetry::Telemetry;
use crate::versions::Version;
use crate::worker::{EventReader, RunningJob};
use toril_queue::{Queue, QueueError, QueueName, Redis};
use toril_sandbox::{Engine, Policy};

/// The queues that one process works. Dropped, it gives their jobs back.
pub struct Host {
    context: Arc<Context>,
    /// Follows the deployments of all queues; started with the first one.
    following: Mutex<Option<AbortHandle>>,
    /// Reports where the admin API listens. Started once it does.
    announcing: OnceLock<AbortHandle>,
}

/// How often a host reports where its admin API listens: it counts as gone after 5 s.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// Asked for a queue that this host does not work.
#[derive(Debug, thiserror::Error)]
#[error("queue `{0}` is not attached")]
pub struct NotAttached(pub String);

impl Host {
    /// A host that serves no queue yet.
    pub fn new(engine: Arc<Engine>, redis: Redis, prefix: &str) -> Self {
        Self::with_telemetry(engine, redis, prefix, None)
    }

    /// A host that records a span for each attempt, and metrics of what came of the jobs.
    pub fn with_telemetry(
        engine: Arc<Engine>,
        redis: Redis,
        prefix: &str,
        telemetry: Option<Arc<Telemetry>>,
    ) -> Self {
        Self::watched(engine, redis, prefix, telemetry, None)
    }

    /// A host that a person watches closely.
    pub(crate) fn watched(
        engine: Arc<Engine>,
        redis: Redis,
        prefix: &str,
        telemetry: Option<Arc<Telemetry>>,
        on_queue: Option<OnQueue>,
    ) -> Self {
        let context = Context {
            engine,
            control: redis.own_connection(),
            redis,
            prefix: prefix.to_owned(),
            identity: Identity::new(),
            metrics: Metrics::new(),
            telemetry,
            event_room: EventRoom::default(),
            on_queue,
            queues: Mutex::default(),
            stage: watch::Sender::new(Stage::Work),
            report: tokio::sync::Notify::new(),
        };
        Host {
            context: Arc::new(context),
            following: Mutex::default(),
            announcing: OnceLock::new(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.context.engine
    }

    /// The connection.
    pub fn redis(&self) -> &Redis {
        &self.context.redis
    }

    /// Who this host is to others.
    pub fn identity(&self) -> &Identity {
        &self.context.identity
    }

    /// Tells the fleet where the admin API of this host listens.
    pub(crate) fn admin_listens(&self, address: SocketAddr) {
        // A host has one admin API at most.
        if self.context.identity.admin.set(address).is_ok() {
            let task = tokio::spawn(announce_until_aborted(Arc::clone(&self.context)));
            let _ = self.announcing.set(task.abort_handle());
        }
    }

    /// Serves a queue from now on. Fails if the host serves it already, or if it refuses the spec.
    pub async fn attach(&self, name: &str, spec: QueueSpec) -> Result<(), ApplyError> {
        let order = Order {
            wanted: spec.into(),
            file: None,
            must_be_new: true,
            keep: false,
        };
        applied(self.order(name, order)?).await
    }

    /// Serves a queue from now on, or changes how it is served. For a change that needs a new worker, the old one ends its running
    /// jobs first; this does not wait for them. A refused spec leaves the queue as it is, and is tried again until another one
    /// is applied.
    ///
    /// Ordered by the calls, not by when their futures are polled.
    pub fn apply(
        &self,
        name: &str,
        spec: QueueSpec,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send + use<> {
        self.apply_wanted(name, spec.into(), None)
    }

    /// As [`apply`](Host::apply), of a section of the config that refers to what cannot be used now. It is tried again.
    pub(crate) fn apply_section(
        &self,
        name: &str,
        section: Arc<Section>,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send + use<> {
        self.apply_wanted(name, Wanted::Section(section), None)
    }

    /// As [`apply`](Host::apply), of a queue whose file is loaded.
    pub(crate) fn apply_loaded(
        &self,
        name: &str,
        spec: QueueSpec,
        file: Option<Arc<Version>>,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send + use<> {
        self.apply_wanted(name, spec.into(), file)
    }

    fn apply_wanted(
        &self,
        name: &str,
        wanted: Wanted,
        file: Option<Arc<Version>>,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send + use<> {
        let order = Order {
            wanted,
            file,
            must_be_new: false,
            keep: true,
        };
        let sent = self.order(name, order);
        async move { applied(sent?).await }
    }

    fn order(
        &self,
        name: &str,
        order: Order,
    ) -> Result<Answer<Result<(), ApplyError>>, ApplyError> {
        let name = QueueName::new(name).map_err(|error| ApplyError::Refused {
            queue: name.to_owned(),
            error: error.into(),
        })?;
        let answer = self.context.apply(&name, order)?;
        let mut following = self.following.lock();
        if following.is_none() {
            let task = tokio::spawn(follow(Arc::clone(&self.context)));
            *following = Some(task.abort_handle());
        }
        Ok(answer)
    }

    /// Stops working a queue, and waits until none of its jobs runs here.
    pub fn detach(
        &self,
        name: &str,
        running: Detach,
    ) -> impl Future<Output = Result<(), NotAttached>> + Send + use<> {
        let sent = self.served(name).map(|served| served.detach(running));
        let name = name.to_owned();
        async move {
            let Some(Ok(answer)) = sent else {
                return Err(NotAttached(name));
            };
            answer.get().await.ok_or(NotAttached(name))
        }
    }

    /// Takes no more jobs of a queue here; other workers go on.
    pub fn pause(&self, name: &str) -> Result<(), NotAttached> {
        self.with(name, |serving| serving.worker.pause())
    }

    /// Takes jobs of a queue again.
    pub fn resume(&self, name: &str) -> Result<(), NotAttached> {
        self.with(name, |serving| serving.worker.resume())
    }

    /// Changes how many jobs of a queue run at once; 0 counts as 1.
    pub fn set_concurrency(&self, name: &str, concurrency: usize) -> Result<(), NotAttached> {
        self.with(name, |serving| serving.worker.set_concurrency(concurrency))
    }

    /// Cancels a job of a queue, attached here or not, whatever it waits for and wherever it runs; and with it, if
    /// asked, the children that it waits for, and theirs. `said` is why, for people, or empty.
    ///
    /// A job that waits has failed when this returns. One that runs is asked to stop: what it returns within its grace
    /// time counts as ever, and after that it fails for good.
    pub async fn cancel(
        &self,
        name: &str,
        job_id: &str,
        said: &str,
        with_children: bool,
    ) -> Result<Vec<Cancelled>, QueueError> {
        let queue = self.queue(name)?;
        let runs_here = |name: &QueueName, request: &CancelRequest| {
            let serving = self.context.serving(name.as_str());
            serving.is_some_and(|serving| serving.cancel(name, request))
        };
        cancel(&queue, job_id, said, with_children, runs_here, |_| ()).await
    }

    /// The jobs of a queue that are held here.
    pub fn jobs(&self, name: &str) -> Result<Vec<RunningJob>, NotAttached> {
        self.with(name, |serving| serving.worker.view().jobs())
    }

    /// Listens to a queue's worker from now on.
    pub fn listen(&self, name: &str) -> Result<EventReader, NotAttached> {
        let served = self.served(name);
        let served = served.ok_or_else(|| NotAttached(name.to_owned()))?;
        Ok(served.observers().listeners.subscribe())
    }

    /// What a queue's processors may use and do.
    pub fn policy(&self, name: &str) -> Result<Arc<Policy>, NotAttached> {
        self.with(name, |serving| serving.versions().policy())
    }

    /// What is deployed on a queue, attached here or not.
    pub fn deployments(&self, name: &str) -> Result<Deployments, QueueError> {
        Ok(Deployments::of(&self.queue(name)?))
    }

    /// A queue, attached here or not.
    pub(crate) fn queue(&self, name: &str) -> Result<Queue, QueueError> {
        if let Some(serving) = self.context.serving(name) {
            return Ok(serving.queue().clone());
        }
        self.queue_of(&self.context.prefix, name)
    }

    /// A queue of any prefix, attached here or not.
    pub(crate) fn queue_of(&self, prefix: &str, name: &str) -> Result<Queue, QueueError> {
        let (name, redis) = (QueueName::new(name)?, &self.context.redis);
        if prefix.is_empty() {
            return Err(QueueError::Invalid("`prefix` must not be empty".to_owned()));
        }
        redis.check_prefix(prefix)?;
        Ok(Queue::new(redis.clone(), prefix, &name))
    }

    fn served(&self, name: &str) -> Option<Arc<ServedQueue>> {
        self.context.queues.lock().get(name).cloned()
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&Serving) -> T) -> Result<T, NotAttached> {
        let serving = self.context.serving(name);
        serving
            .map(|serving| act(&serving))
            .ok_or_else(|| NotAttached(name.to_owned()))
    }

    /// What each queue is doing.
    pub fn status(&self) -> Vec<QueueStatus> {
        let identity = self.identity();
        let all = self.context.all();
        all.iter()
            .filter_map(|served| served.status(identity))
            .collect()
    }

    /// What one queue is doing.
    pub fn queue_status(&self, name: &str) -> Result<QueueStatus, NotAttached> {
        let status = self
            .served(name)
            .and_then(|served| served.status(self.identity()));
        status.ok_or_else(|| NotAttached(name.to_owned()))
    }

    /// What is counted, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let status = self.status();
        let memory = GuestMemory {
            held: self.engine().memory_bytes(),
            max: self.engine().memory_bytes_max(),
        };
        self.context
            .metrics
            .text(status.iter().map(QueueStatus::gauges), &memory)
    }

    /// Reads each queue's file again, and swaps the processors that changed.
    /// `again` tries those that were refused before, too.
    pub async fn reload(&self, again: bool) -> Vec<(String, Reloaded)> {
        let mut results = Vec::new();
        for (name, answer) in self.start_reload(again, |_| true) {
            if let Some(Some(reloaded)) = answer.get().await {
                results.push((name, reloaded));
            }
        }
        results
    }

    /// Tells the queues to read their files again, each by itself.
    pub(crate) fn start_reload(
        &self,
        again: bool,
        mut which: impl FnMut(&str) -> bool,
    ) -> Vec<(String, Answer<Option<Reloaded>>)> {
        let mut all = self.context.all();
        all.retain(|served| which(served.name()));
        let asked = all.iter().filter_map(|served| {
            let answer = served.reload(again).ok()?;
            Some((served.name().to_string(), answer))
        });
        asked.collect()
    }

    /// The names of all queues, those included that do not serve yet.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.context.all();
        all.iter().map(|served| served.name().to_string()).collect()
    }

    /// Takes no more jobs of any queue, for good.
    pub(crate) fn drain_all(&self) {
        self.context.advance(Stage::Drain);
    }

    /// Stops all running jobs and gives them back.
    pub(crate) fn give_back_all(&self) {
        self.context.advance(Stage::GiveBack);
    }

    /// Waits until nothing runs, after [`drain_all`](Host::drain_all).
    pub(crate) async fn ended(&self) {
        let all = self.context.all();
        let ends: Vec<_> = all
            .iter()
            .filter_map(|served| Some(served.serving()?.worker.end()))
            .collect();
        for end in ends {
            end.await;
        }
    }

    /// Takes this host off the lists, after [`ended`](Host::ended).
    pub(crate) async fn leave(&self) {
        self.stop_following();
        if self.announcing.get().is_some() {
            let _ = withdraw_host(&self.context.control, &self.identity().host).await;
        }
        for served in self.context.all() {
            if let Some(serving) = served.serving() {
                // Redis may be unreachable: other hosts see that this one is silent.
                let _ = serving.deployments().leave(&self.identity().host).await;
            }
        }
    }

    fn stop_following(&self) {
        let following = self.following.lock();
        for task in following.iter().chain(self.announcing.get()) {
            task.abort();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop_following();
        self.context.advance(Stage::GiveBack);
        // The tasks end with their mailboxes.
        self.context.queues.lock().clear();
    }
}

async fn announce_until_aborted(context: Arc<Context>) {
    loop {
        if let Err(error) = announce(&context.control, &context.identity).await {
            debug!(%error, "the address of the admin API could not be reported");
        }
        tokio::time::sleep(ANNOUNCE_INTERVAL).await;
    }
}

async fn applied(answer: Answer<Result<(), ApplyError>>) -> Result<(), ApplyError> {
    answer.get().await.unwrap_or(Err(ApplyError::Stopping))
}
