//! The task that owns one queue: brings what serves in line with what is wanted.
//!
//! Wanted are a [`QueueSpec`], from the config or the admin API, and a [`Deployment`]. All that can fail is prepared
//! first: reading the file, compiling, checking limits, asking Redis. Then it is exchanged, which cannot fail. What is
//! refused is reported and tried again; until then what serves goes on.

mod prepare;
mod refusals;
mod reload;

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::deployment::Deployment;
use super::loader::NotLoaded;
use super::{
    ApplyError, Context, Detach, Order, QueueSpec, Reloaded, Serving, Shared, Source, Stage, Wanted,
};
use crate::versions::{Canary, Version};
use crate::worker::{Worker, WorkerOptions};
use prepare::Prepared;
pub(crate) use prepare::{CheckedFile, check_file};
use refusals::{Part, Refusals, Retry};

/// How long leaving the list of hosts may take: Redis may be unreachable.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// What a queue's task is asked to do.
pub(super) enum Message {
    /// Serve like this.
    Apply(Box<Order>, oneshot::Sender<Result<(), ApplyError>>),
    /// Read the file again. True: also one that was refused before.
    Reload(bool, oneshot::Sender<Option<Reloaded>>),
    /// Follow this deployment.
    Deployed(Deployment),
    /// Stop.
    Detach(Detach, oneshot::Sender<()>),
}

pub(super) struct Reconciler {
    context: Arc<Context>,
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    /// What serves.
    spec: Option<QueueSpec>,
    /// What was refused, to be tried again.
    wanted: Option<Wanted>,
    /// The file was not read to its end, because something else was asked for: to be tried again.
    unfinished: bool,
    /// The deployment to follow.
    deployment: Deployment,
    /// Redis did not answer when the deployment was read.
    unread: bool,
    /// When it was last said that the queue waits for Redis.
    silence: Option<Instant>,
    refusals: Refusals,
    retry: Retry,
    /// Ends when the worker has ended, which was told to.
    draining: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What serves next, once the worker has ended. None: nothing.
    next: Option<Source>,
    /// Told when the queue is detached.
    leaving: Vec<oneshot::Sender<()>>,
}

/// Why something that takes long was not done to its end. It is tried again.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("something else was asked of the queue meanwhile")]
    Asked,
    #[error("the host is stopping")]
    Stopping,
}

enum Event {
    Message(Message),
    Retry,
    Drained,
    Closed,
}

impl Reconciler {
    pub(super) fn new(
        context: Arc<Context>,
        shared: Arc<Shared>,
        messages: mpsc::Receiver<Message>,
    ) -> Self {
        let refusals = Refusals::new(Arc::clone(&shared));
        Reconciler {
            context,
            shared,
            messages,
            spec: None,
            wanted: None,
            unfinished: false,
            deployment: Deployment::default(),
            unread: false,
            silence: None,
            refusals,
            retry: Retry::default(),
            draining: None,
            next: None,
            leaving: Vec::new(),
        }
    }

    /// Owns the queue until it is detached, or the host is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let went_on = match self.next_event().await {
                Event::Closed => return,
                Event::Message(message) => self.handle(message).await,
                Event::Retry => self.try_again().await,
                Event::Drained => self.drained().await,
            };
            if !went_on && self.end() {
                return;
            }
            if self.refusals.take_changed() {
                self.report_now();
            }
            let soon = self.unread || self.unfinished;
            let needed = soon || self.wanted.is_some() || !self.refusals.is_empty();
            self.retry.schedule(needed, soon);
        }
    }

    async fn next_event(&mut self) -> Event {
        let drained = async {
            match &mut self.draining {
                Some(draining) => draining.await,
                None => pending().await,
            }
        };
        tokio::select! {
            message = self.messages.recv() => message.map_or(Event::Closed, Event::Message),
            () = drained => Event::Drained,
            () = self.retry.due() => Event::Retry,
        }
    }

    /// Does some work that may take long, unless the queue is asked for something else meanwhile or the host stops.
    async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Result<T, GivenUp> {
        let shared = Arc::clone(&self.shared);
        let mut stage = self.context.stage.subscribe();
        let mut work = pin!(work);
        while self.messages.is_empty() {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = shared.asked.notified() => {}
                _ = stage.wait_for(|stage| *stage != Stage::Work) => return Err(GivenUp::Stopping),
            }
        }
        Err(GivenUp::Asked)
    }

    /// Does what is asked. False: there is nothing to serve.
    async fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Apply(order, reply) => return self.apply(*order, reply).await,
            Message::Reload(again, reply) => {
                self.retry.reset();
                self.refusals.repeat_next();
                // The caller may have left.
                let _ = reply.send(self.reload(again).await);
            }
            Message::Deployed(deployment) => {
                self.retry.reset();
                self.note_abort(&deployment);
                self.deployment = deployment;
                self.follow().await;
            }
            Message::Detach(running, reply) => return self.detach(running, reply),
        }
        true
    }

    /// Says that a canary was aborted, on every host: whichever log a person reads tells it.
    fn note_abort(&self, deployment: &Deployment) {
        if let Some(aborted) = &deployment.aborted
            && self.deployment.aborted.as_ref() != Some(aborted)
        {
            warn!(
                queue = self.shared.name.as_str(),
                candidate = aborted.digest,
                reason = aborted.reason,
                "canary was aborted: all jobs go to the active version"
            );
        }
    }

    async fn apply(
        &mut self,
        order: Order,
        reply: oneshot::Sender<Result<(), ApplyError>>,
    ) -> bool {
        self.retry.reset();
        let result = self.take_up(order.wanted, order.file).await;
        let refused = result.is_err();
        if refused && !order.keep && self.shared.serving.load().is_none() {
            self.wanted = None;
        }
        let queue = self.shared.name.to_string();
        let _ = reply.send(result.map_err(|error| match error.downcast_ref() {
            Some(GivenUp::Asked) => ApplyError::Busy(queue),
            Some(GivenUp::Stopping) => ApplyError::Stopping,
            None => ApplyError::Refused { queue, error },
        }));
        self.serves() || self.wanted.is_some()
    }

    fn serves(&self) -> bool {
        self.shared.serving.load().is_some()
    }

    /// Prepares a spec and exchanges what serves for it; or notes why not.
    async fn take_up(&mut self, wanted: Wanted, file: Option<Arc<Version>>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let result = match wanted.spec().await {
            Ok(spec) => self.prepare(&spec, file).await.map(|ready| (spec, ready)),
            Err(error) => Err(error),
        };
        self.retry.took += begun.elapsed();
        match result {
            Ok((spec, prepared)) => {
                self.wanted = None;
                self.refusals.accept(Part::Spec);
                self.refusals.accept(Part::File);
                let versions = Arc::clone(&prepared.source.versions);
                self.exchange(spec, prepared);
                if let Some(active) = versions.active() {
                    self.tell_serving(&active, begun);
                }
                Ok(())
            }
            Err(error) => {
                match error.is::<GivenUp>() {
                    true => self.unfinished = true,
                    false => self.refusals.refuse(Part::Spec, None, format!("{error:#}")),
                }
                self.wanted = Some(wanted);
                Err(error)
            }
        }
    }

    fn tell_serving(&self, version: &Version, begun: Instant) {
        let listeners = &self.shared.observers.listeners;
        listeners.serving(&version.digest().to_string(), begun.elapsed());
    }

    /// Serves with what was prepared: at once, or where the worker must be another one when its jobs have ended.
    fn exchange(&mut self, spec: QueueSpec, prepared: Prepared) {
        let Prepared {
            source,
            policy,
            file,
            refused,
        } = prepared;
        for version in &refused {
            let digest = version.digest();
            warn!(queue = self.shared.name.as_str(), %digest, "the new settings refuse this old version; its pinned jobs continue on the newest");
        }
        source.versions.forget_kept(&refused);
        // In this order: what is put in has the new policy.
        source.versions.set_policy(policy);
        source.versions.set_pinned(spec.pinned);
        source.versions.put_file(file);
        let old = self.spec.replace(spec);
        let (Some(spec), Some(serving)) = (&self.spec, self.shared.serving.load_full()) else {
            return self.start(source);
        };
        // Also where the worker ends: the next one goes on with the concurrency that was set last.
        serving.worker.set_concurrency(spec.worker.concurrency);
        let same = old.is_some_and(|old| old.same_worker(spec));
        if same && self.draining.is_none() {
            return;
        }
        self.next = Some(source);
        self.drain(&serving);
    }

    fn drain(&mut self, serving: &Serving) {
        serving.worker.drain();
        let end = serving.worker.end();
        self.draining.get_or_insert_with(|| Box::pin(end));
    }

    /// Starts a worker, unless the host stops.
    fn start(&mut self, source: Source) {
        let Some(spec) = &self.spec else { return };
        if *self.context.stage.borrow() != Stage::Work {
            return;
        }
        let before = self.shared.serving.load_full();
        let before = before.as_ref().map(|before| before.worker.view());
        let paused = before.is_some_and(|before| before.is_paused());
        let concurrency = before.map(|before| before.concurrency());
        let options = WorkerOptions {
            // A pause ends only by a resume.
            autorun: spec.worker.autorun && !paused,
            concurrency: concurrency.unwrap_or(spec.worker.concurrency),
            ..spec.worker.clone()
        };
        let worker = Worker::start(
            source.queue.clone(),
            options,
            Arc::clone(&source.versions),
            Arc::clone(&self.context.engine),
            Arc::clone(&self.shared.observers),
        );
        let revision = self.deployment.revision;
        let serving = Arc::new(Serving {
            source,
            worker,
            told: AtomicU64::new(revision),
            urgent: AtomicBool::new(true),
            last_busy: Mutex::default(),
            cancel_requests: Mutex::default(),
        });
        self.shared.revision.store(revision, Ordering::Relaxed);
        self.shared.is_leaving.store(false, Ordering::Relaxed);
        self.shared.serving.store(Some(Arc::clone(&serving)));
        // The host may have been told to stop before it could see the worker.
        serving.advance(*self.context.stage.borrow());
        self.context.report.notify_one();
    }

    fn detach(&mut self, running: Detach, reply: oneshot::Sender<()>) -> bool {
        (self.next, self.wanted, self.unfinished) = (None, None, false);
        let Some(serving) = self.shared.serving.load_full() else {
            let _ = reply.send(());
            return false;
        };
        self.leaving.push(reply);
        self.drain(&serving);
        if running == Detach::GiveBack {
            serving.worker.give_back();
        }
        true
    }

    /// The worker has ended: starts the next one, or leaves.
    async fn drained(&mut self) -> bool {
        self.draining = None;
        let old = self.shared.serving.load_full();
        let next = self.next.take();
        let gone = old.filter(|old| {
            let base = |source: &Source| source.queue.keys().base().to_owned();
            next.as_ref().map(base) != Some(base(&old.source))
        });
        if next.is_none() {
            self.shared.is_leaving.store(true, Ordering::Relaxed);
            // Before leaving: the task that follows deployments must not report it again.
            self.shared.serving.store(None);
        }
        if let Some(gone) = gone {
            let host = &self.context.identity.host;
            let leave = gone.deployments().leave(host);
            match tokio::time::timeout(LEAVE_MAX, leave).await {
                Ok(Ok(())) => {}
                _ => debug!("host could not be taken off the list"),
            }
        }
        let Some(source) = next else {
            let queue = self.shared.name.as_str();
            info!(queue, "queue was detached");
            return false;
        };
        self.tell_detached();
        self.start(source);
        true
    }

    fn tell_detached(&mut self) {
        for reply in self.leaving.drain(..) {
            // The caller may have left.
            let _ = reply.send(());
        }
    }

    /// Takes the queue off the host's list, where nobody wants anything of it. True: the task ends.
    fn end(&mut self) -> bool {
        let context = Arc::clone(&self.context);
        let mut queues = context.queues.lock();
        if !self.messages.is_empty() {
            // It was attached again: that goes on from nothing.
            (self.spec, self.wanted, self.unfinished) = (None, None, false);
            self.refusals.clear();
            drop(queues);
            self.tell_detached();
            return false;
        }
        queues.remove(self.shared.name.as_str());
        drop(queues);
        self.tell_detached();
        true
    }

    /// Acts on the deployment, and reports.
    async fn follow(&mut self) {
        let source = self.next.clone();
        let serving = self.shared.serving.load_full();
        let Some(serving) = serving else { return };
        let source = source.unwrap_or_else(|| serving.source.clone());
        self.adopt(&source).await;
        if self.unread {
            return;
        }
        let revision = self.deployment.revision;
        self.shared.revision.store(revision, Ordering::Relaxed);
        // `toril deploy` waits for this.
        self.report_now();
    }

    fn report_now(&self) {
        if let Some(serving) = &*self.shared.serving.load() {
            serving.urgent.store(true, Ordering::Relaxed);
            self.context.report.notify_one();
        }
    }

    /// Brings the versions in line with the deployment. What is refused is noted, and what serves goes on.
    async fn adopt(&mut self, source: &Source) {
        self.unread = false;
        let versions = &source.versions;
        match self.deployment.active.clone() {
            None => {
                versions.put_deployed(None);
                self.refusals.accept(Part::Deployed);
            }
            Some(digest) => {
                if let Some(version) = self.load(source, Part::Deployed, &digest).await {
                    versions.put_deployed(Some(version));
                }
            }
        }
        let running = versions.canary().map(|canary| canary.id);
        match self.deployment.canary.clone() {
            None => {
                if running.is_some() {
                    versions.put_canary(None);
                }
                self.refusals.accept(Part::Candidate);
            }
            Some(record) if running == Some(record.id) => self.refusals.accept(Part::Candidate),
            Some(record) => {
                let version = self.load(source, Part::Candidate, &record.digest).await;
                let canary = version.map(|version| Canary::new(record.id, version, record.rule));
                versions.put_canary(canary);
            }
        }
    }

    async fn load(&mut self, source: &Source, part: Part, digest: &str) -> Option<Arc<Version>> {
        let begun = Instant::now();
        let loaded = source.loader.load(&source.versions, digest).await;
        self.retry.took += begun.elapsed();
        match loaded {
            Ok(version) => {
                self.refusals.accept(part);
                Some(version)
            }
            Err(NotLoaded::Unreachable(error)) => {
                debug!(queue = self.shared.name.as_str(), %error, "deployment could not be read");
                self.unread = true;
                None
            }
            Err(NotLoaded::MachineIsShort(reason) | NotLoaded::Refused(reason)) => {
                self.refusals.refuse(part, Some(digest), reason);
                None
            }
        }
    }
}
