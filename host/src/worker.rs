//! Works one queue: takes jobs, runs them, settles what comes back.
//!
//! A [`Worker`] is the handle; its pump does the work, and tasks beside that one keep what it holds.

mod attempt;
mod listeners;
mod locks;
mod outbox;
mod outcome;
mod pump;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::fleet::Member;
use crate::metrics::QueueMetrics;
use crate::runtime::Stop;
use crate::telemetry::Telemetry;
pub use listeners::{Listeners, WorkerEvent};
use locks::Running;
pub use locks::RunningJob;
use pump::Pump;
use toril_queue::{KeepJobs, Limiter, Queue};

/// How a queue is worked. The names and defaults are those of BullMQ's `WorkerOptions`.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerOptions {
    /// Jobs that run at once.
    pub concurrency: usize,
    /// How long a lock holds without renewal, in ms. It is renewed at half of it.
    pub lock_duration_ms: u64,
    /// How often to look for jobs of dead workers, in ms.
    pub stalled_interval_ms: u64,
    /// How often a job may be given back because its worker died.
    pub max_stalled_count: u32,
    /// How often a job may be picked up, whatever becomes of it.
    pub max_started_attempts: Option<u32>,
    /// How long to wait on an empty queue before looking again, in ms.
    pub drain_delay_ms: u64,
    /// Becomes `processedBy` and part of the name under which `getWorkers` lists the worker.
    pub name: Option<String>,
    /// At most so many jobs in a time.
    pub limiter: Option<Limiter>,
    /// Which completed jobs to keep, where the job does not say.
    pub remove_on_complete: KeepJobs,
    /// Which failed jobs to keep, where the job does not say.
    pub remove_on_fail: KeepJobs,
    /// Minutes of metrics to keep; none collects none.
    pub metrics_points: Option<u32>,
    /// Backoff strategies of the user's own, by name: the delay before each next attempt, in ms; the last
    /// one holds for all that follow.
    pub backoff: BTreeMap<String, Vec<u64>>,
    /// Leaves looking for jobs of dead workers to other workers.
    pub skip_stalled_check: bool,
    /// Leaves locks to run out: only for jobs that are shorter than a lock holds.
    pub skip_lock_renewal: bool,
    /// Starts at once; otherwise it rests until it is resumed.
    pub autorun: bool,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        WorkerOptions {
            concurrency: 1,
            lock_duration_ms: 30_000,
            stalled_interval_ms: 30_000,
            max_stalled_count: 1,
            max_started_attempts: None,
            drain_delay_ms: 5_000,
            name: None,
            limiter: None,
            remove_on_complete: KeepJobs::ALL,
            remove_on_fail: KeepJobs::ALL,
            metrics_points: None,
            backoff: BTreeMap::new(),
            skip_stalled_check: false,
            skip_lock_renewal: false,
            autorun: true,
        }
    }
}

/// What a worker is asked to do. Written by its handle, read by its pump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Control {
    phase: Phase,
    paused: bool,
    /// There is a processor to run jobs on.
    ready: bool,
    concurrency: usize,
}

/// What watches a queue, whoever works it.
pub struct Observers {
    /// Those who hear of each event.
    pub listeners: Listeners,
    /// What is counted.
    pub metrics: QueueMetrics,
    /// Spans of attempts, where they are recorded.
    pub telemetry: Option<Arc<Telemetry>>,
}

/// Looks at a worker, and does not hold it.
#[derive(Clone)]
pub struct View {
    control: watch::Sender<Control>,
    running: Arc<Running>,
}

impl View {
    /// How many jobs may run at once.
    pub fn concurrency(&self) -> usize {
        self.control.borrow().concurrency
    }

    /// How many jobs it holds: running, or about to be settled.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// The jobs that it holds.
    pub fn jobs(&self) -> Vec<RunningJob> {
        self.running.list()
    }

    /// True while it is paused.
    pub fn is_paused(&self) -> bool {
        self.control.borrow().paused
    }
}

/// How far a worker is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Take jobs.
    Work,
    /// Take no more; let the running ones end.
    Drain,
    /// Stop the running ones and give them back.
    GiveBack,
}

/// A running worker of one queue. Dropped, it gives its jobs back.
pub struct Worker {
    view: View,
    task: JoinHandle<()>,
}

impl Worker {
    /// Begins to work a queue.
    pub fn start(
        queue: Queue,
        options: WorkerOptions,
        member: Arc<Member>,
        observers: Arc<Observers>,
    ) -> Self {
        let control = Control {
            phase: Phase::Work,
            paused: !options.autorun,
            ready: member.slot().active().is_some(),
            concurrency: options.concurrency,
        };
        let (control, controlled) = watch::channel(control);
        let running = Arc::new(Running::default());
        let pump = Pump::new(
            queue.clone(),
            options.clone(),
            Arc::clone(&member),
            Arc::clone(&observers),
            Arc::clone(&running),
            controlled,
        );
        let view = View { control, running };
        let task = tokio::spawn(work(queue, options, view.clone(), member, observers, pump));
        Worker { view, task }
    }

    /// Looks at it.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Takes no more jobs; those that run go on.
    pub fn pause(&self) {
        self.view
            .control
            .send_modify(|control| control.paused = true);
    }

    /// Takes jobs again.
    pub fn resume(&self) {
        self.view
            .control
            .send_modify(|control| control.paused = false);
    }

    /// Changes how many jobs run at once; more than that end as they are.
    pub fn set_concurrency(&self, concurrency: usize) {
        self.view
            .control
            .send_modify(|control| control.concurrency = concurrency.max(1));
    }

    /// Stops a running job, which fails for good. False: it does not run here.
    pub fn cancel(&self, job_id: &str) -> bool {
        self.view.running.stop(job_id, Stop::Cancelled)
    }

    /// Takes no more jobs for good, and lets the running ones end.
    pub fn drain(&self) {
        self.advance(Phase::Drain);
    }

    /// Stops the running jobs and gives them back.
    pub fn give_back(&self) {
        self.advance(Phase::GiveBack);
    }

    /// Only ever forward: what was given up does not come back.
    fn advance(&self, phase: Phase) {
        self.view
            .control
            .send_modify(|control| control.phase = control.phase.max(phase));
    }

    /// A future that ends when nothing is left running. It does not hold the worker.
    pub(crate) fn end(&self) -> impl Future<Output = ()> + use<> {
        // The pump has the only receiver, and drops it when it ends.
        let control = self.view.control.clone();
        async move { control.closed().await }
    }

    /// Waits until nothing is left running, after [`drain`](Worker::drain) or [`give_back`](Worker::give_back).
    pub async fn ended(&mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "worker panicked: this is a bug of toril");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.give_back();
    }
}

async fn work(
    queue: Queue,
    options: WorkerOptions,
    view: View,
    member: Arc<Member>,
    observers: Arc<Observers>,
    pump: Pump,
) {
    let mut companions = JoinSet::new();
    let View { control, running } = view;
    companions.spawn(async move {
        member.slot().ready().await;
        control.send_modify(|control| control.ready = true);
    });
    if !options.skip_lock_renewal {
        let renewal = locks::renew(
            queue.clone(),
            running,
            options.lock_duration_ms,
            Arc::clone(&observers),
        );
        companions.spawn(renewal);
    }
    if !options.skip_stalled_check {
        let WorkerOptions {
            stalled_interval_ms,
            max_stalled_count,
            ..
        } = options;
        companions.spawn(locks::recover(
            queue,
            stalled_interval_ms,
            max_stalled_count,
            observers,
        ));
    }
    pump.run().await;
    companions.shutdown().await;
}
