//! Works one queue: takes jobs, runs them, settles what comes back.
//!
//! A [`Worker`] is the handle. `schedule` decides and `io` carries out; `renewal` runs beside them and keeps the
//! locks. What is held is in one table (`jobs`).

mod attempt;
mod failures;
mod inline;
mod io;
mod jobs;
pub(crate) mod options;
mod outbox;
mod recording;
mod renewal;
mod schedule;
mod settlement;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use utoipa::ToSchema;

pub use crate::listeners::{EventReader, Listeners, WorkerEvent};
use crate::metrics::QueueMetrics;
use crate::redis_backend::StepNotes;
use crate::telemetry::Telemetry;
use crate::versions::Versions;
use io::Io;
pub use options::WorkerOptions;
use schedule::Schedule;
use toril_queue::{Job, Queue};
use toril_sandbox::{Engine, Stop};

/// What the worker holds and what it does next. Locked for moments only.
type State = Arc<Mutex<Schedule>>;

/// What a worker is asked to do. Written by its handle, read by its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Control {
    stage: Stage,
    paused: bool,
    /// There is a processor to run jobs on.
    ready: bool,
    concurrency: usize,
}

/// What watches a queue. It outlives the queue's workers.
pub struct Observers {
    /// Those who hear of each event.
    pub listeners: Listeners,
    /// What is counted.
    pub metrics: QueueMetrics,
    /// Spans of attempts and metrics of jobs, if a collector is configured.
    pub telemetry: Option<Arc<Telemetry>>,
    /// Steps that were kept of jobs that go on.
    pub(crate) step_notes: Arc<StepNotes>,
}

/// Looks at a worker, and does not hold it.
#[derive(Clone)]
pub struct View {
    control: watch::Sender<Control>,
    state: State,
}

/// A job that the host holds.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningJob {
    /// The job's id.
    pub id: String,
    /// The job's name.
    pub name: String,
    /// When it was started, in ms since the epoch.
    pub processed_on: u64,
    /// How often it was started, including this time.
    pub attempts_started: u32,
    /// The digest of the version that it runs on; null until it runs.
    pub version: Option<String>,
}

impl View {
    /// How many jobs may run at once.
    pub fn concurrency(&self) -> usize {
        self.control.borrow().concurrency
    }

    /// How many jobs it holds: running, or about to be settled.
    pub fn running(&self) -> usize {
        self.state.lock().jobs().len()
    }

    /// The jobs that it holds.
    pub fn jobs(&self) -> Vec<RunningJob> {
        let state = self.state.lock();
        let held = state.jobs().all().map(|held| RunningJob {
            id: held.job.id.to_string(),
            name: held.job.name.clone(),
            processed_on: held.job.processed_on,
            attempts_started: held.job.attempts_started,
            version: held.version.get().map(|version| version.to_string()),
        });
        held.collect()
    }

    /// True while it is paused.
    pub fn is_paused(&self) -> bool {
        self.control.borrow().paused
    }
}

/// How far a worker is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Take jobs.
    Work,
    /// Take no more; let the running ones end.
    Drain,
    /// Stop the running ones and return them to the queue.
    GiveBack,
}

/// A running worker of one queue. Dropped, it gives its jobs back.
pub struct Worker {
    view: View,
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts a worker of a queue.
    pub fn start(
        queue: Queue,
        options: WorkerOptions,
        versions: Arc<Versions>,
        engine: Arc<Engine>,
        observers: Arc<Observers>,
    ) -> Self {
        let control = Control {
            stage: Stage::Work,
            paused: !options.autorun,
            ready: *versions.available().borrow(),
            concurrency: options.concurrency,
        };
        let (control, controlled) = watch::channel(control);
        let schedule = Schedule::new(options.clone(), *control.borrow());
        let state = Arc::new(Mutex::new(schedule));
        let io = Io::new(
            // A large job of this queue must not hold up other queues, nor the renewal of its own locks.
            queue.on_own_connection(),
            options.clone(),
            Arc::clone(&versions),
            engine,
            Arc::clone(&observers),
            controlled,
            Arc::clone(&state),
        );
        let view = View { control, state };
        let task = tokio::spawn(work(queue, options, view.clone(), versions, observers, io));
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

    /// Asks the starts to stop for which there is a reason. False: there is none.
    pub(crate) fn cancel(&self, mut reason: impl FnMut(&Job) -> Option<Arc<str>>) -> bool {
        let state = self.view.state.lock();
        let mut any = false;
        for held in state.jobs().executing() {
            if let Some(said) = reason(&held.job) {
                held.cancel.stop(Stop::Cancelled(said));
                any = true;
            }
        }
        any
    }

    /// Takes no more jobs for good, and lets the running ones end.
    pub fn drain(&self) {
        self.advance(Stage::Drain);
    }

    /// Stops the running jobs and returns them to the queue.
    pub fn give_back(&self) {
        self.advance(Stage::GiveBack);
    }

    /// Only ever forward: what was given up does not come back.
    fn advance(&self, stage: Stage) {
        self.view
            .control
            .send_modify(|control| control.stage = control.stage.max(stage));
    }

    /// A future that ends when nothing is left running. It does not hold the worker.
    pub(crate) fn end(&self) -> impl Future<Output = ()> + use<> {
        // The loop has the only receiver, and drops it when it ends.
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
    versions: Arc<Versions>,
    observers: Arc<Observers>,
    io: Io,
) {
    let mut companions = JoinSet::new();
    let View { control, state } = view;
    let swapped = Arc::clone(&state);
    let mut swaps = versions.swaps_of_pinned();
    companions.spawn(async move {
        while swaps.changed().await.is_ok() {
            let state = swapped.lock();
            let executing = state.jobs().executing();
            executing.for_each(|held| held.cancel.give_back_at_step());
        }
    });
    companions.spawn(async move {
        let mut available = versions.available();
        loop {
            let ready = *available.borrow_and_update();
            control.send_modify(|control| control.ready = ready);
            if available.changed().await.is_err() {
                return;
            }
        }
    });
    if !options.skip_lock_renewal {
        let renewal = renewal::renew(
            queue.clone(),
            state,
            options.lock_duration_ms,
            Duration::from_millis(options.lock_renew_time_ms()),
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
        companions.spawn(renewal::recover_stalled(
            queue,
            stalled_interval_ms,
            max_stalled_count,
            observers,
        ));
    }
    io.run().await;
    companions.shutdown().await;
}
