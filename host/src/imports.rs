//! What a guest can call: the WIT bindings, the data of a job's store, and the linker.

mod job;
mod logging;
mod output;
mod producer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::runtime::{Cancel, Grants, Outbound, Quota, Rights, Stop};
use crate::worker::Listeners;
use toril_queue::{Job, Queue};

pub use bindings::toril::processor::jobs::{Failure, FailureDetail};
pub use bindings::{Processor, ProcessorPre};
pub use job::{InvalidData, JobHandle};
pub(crate) use output::{GuestOutput, LogBudget};

/// Generated from `wit/`. Only what waits for Redis is async.
pub(crate) mod bindings {
    #![allow(missing_docs, reason = "generated; documented in wit/")]

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "processor",
        imports: {
            "toril:processor/jobs.[method]job.update-data": async | trappable,
            "toril:processor/jobs.[method]job.update-progress": async | trappable,
            "toril:processor/jobs.[method]job.log": async | trappable,
            "toril:processor/jobs.[method]job.move-to-delayed": async | trappable,
            "toril:processor/jobs.[method]job.move-to-waiting-children": async | trappable,
            "toril:processor/jobs.[method]job.move-to-wait": async | trappable,
            "toril:processor/jobs.[method]job.children-values": async | trappable,
            "toril:processor/jobs.[method]job.failed-children-values": async | trappable,
            "toril:processor/jobs.[method]job.dependencies": async | trappable,
            "toril:processor/jobs.[method]job.dependencies-count": async | trappable,
            "toril:processor/jobs.[method]job.remove-unprocessed-children": async | trappable,
            "toril:processor/jobs.[method]job.remove-child-dependency": async | trappable,
            "toril:processor/producer.add": async | trappable,
            "toril:processor/producer.add-bulk": async | trappable,
            "toril:processor/producer.add-flows": async | trappable,
            "toril:processor/producer.get-flow": async | trappable,
            "toril:processor/producer.state": async | trappable,
            "toril:processor/producer.remove": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "toril:processor/jobs.job": crate::imports::JobHandle },
    });
}

/// Where a job's changes go.
pub enum Backing {
    /// To the job's queue.
    Queue(Queue),
    /// Nowhere: each call is shown, and answered as a healthy queue would.
    Rehearsal(Box<dyn FnMut(String) + Send>),
}

/// Where a guest moved its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovedTo {
    /// To `delayed`.
    Delayed,
    /// To `waiting-children`.
    WaitingChildren,
    /// Back to wait.
    Wait,
}

impl MovedTo {
    /// The state's name in BullMQ's words.
    pub fn state(self) -> &'static str {
        match self {
            MovedTo::Delayed => "delayed",
            MovedTo::WaitingChildren => "waiting-children",
            MovedTo::Wait => "waiting",
        }
    }
}

/// One attempt of a job, and all that belongs to it.
pub struct Task {
    /// The job.
    pub job: Arc<Job>,
    /// Where its changes go.
    pub backing: Backing,
    /// Asks it to stop.
    pub cancel: Arc<Cancel>,
    /// Those who hear of its progress.
    pub listeners: Option<Listeners>,
    /// What the jobs that it adds carry, to belong to the same trace.
    pub trace: Option<String>,
}

impl Task {
    /// A job that runs without a queue; each call is shown.
    pub fn rehearsal(job: Job, show: Box<dyn FnMut(String) + Send>, cancel: Arc<Cancel>) -> Self {
        Task {
            job: Arc::new(job),
            backing: Backing::Rehearsal(show),
            cancel,
            listeners: None,
            trace: None,
        }
    }
}

/// The data of a store: one job at a time, and all that its guest may use.
pub struct JobState {
    pub(crate) job: Arc<Job>,
    pub(crate) queue_name: Arc<str>,
    pub(crate) queue_qualified_name: Arc<str>,
    pub(crate) backing: Backing,
    /// Data and progress as the guest last wrote them.
    pub(crate) data: Option<String>,
    pub(crate) progress: Option<String>,
    pub(crate) moved: Option<MovedTo>,
    /// What the guest said before it trapped.
    pub(crate) last_words: Option<String>,
    pub(crate) quota: Quota,
    pub(crate) rights: Arc<Rights>,
    pub(crate) listeners: Option<Listeners>,
    pub(crate) trace: Option<String>,
    pub(crate) log_budget: LogBudget,
    cancel: Arc<Cancel>,
    deadline: Instant,
    /// None until the guest first asks for anything of it: many never do, and the random generators in it take
    /// as long to make as a small job computes. Here from the start where directories are granted.
    wasi: Option<Box<WasiCtx>>,
    table: ResourceTable,
    config: WasiConfigVariables,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl JobState {
    /// The state in which a task runs, from now on. Fails where a granted directory cannot be opened.
    pub fn new(task: Task, rights: &Arc<Rights>) -> anyhow::Result<Self> {
        let (queue_name, queue_qualified_name): (Arc<str>, Arc<str>) = match &task.backing {
            Backing::Queue(queue) => queue.keys().names(),
            Backing::Rehearsal(_) => ("rehearsal".into(), "bull:rehearsal".into()),
        };
        let Rights { limits, grants, .. } = &**rights;
        let log_budget = LogBudget::new(Arc::clone(&queue_name), &task.job.id, rights);
        let wasi = grants.wasi_with_dirs(&log_budget)?.map(Box::new);
        Ok(JobState {
            job: task.job,
            queue_name,
            queue_qualified_name,
            backing: task.backing,
            data: None,
            progress: None,
            moved: None,
            last_words: None,
            quota: Quota::new(limits),
            rights: Arc::clone(rights),
            listeners: task.listeners,
            trace: task.trace,
            log_budget,
            cancel: task.cancel,
            deadline: Instant::now() + Duration::from_millis(limits.deadline_ms),
            wasi,
            table: Grants::handles(),
            config: grants.config_variables(),
            http: WasiHttpCtx::new(),
            outbound: Outbound::new(grants.http.as_ref()),
        })
    }

    /// Begins the next task of the same queue in the same instance.
    pub(crate) fn renew(&mut self, task: Task) {
        self.log_budget.renew(&task.job.id, &self.rights.limits);
        self.job = task.job;
        self.backing = task.backing;
        self.cancel = task.cancel;
        self.listeners = task.listeners;
        self.trace = task.trace;
        (self.data, self.progress) = (None, None);
        (self.moved, self.last_words) = (None, None);
        self.quota.renew();
        self.outbound.renew();
        self.deadline = Instant::now() + Duration::from_millis(self.rights.limits.deadline_ms);
    }

    /// The state in which a component is instantiated once to see that it can be.
    pub(crate) fn probe(rights: &Arc<Rights>) -> anyhow::Result<Self> {
        let job = Job::rehearsal("probe", "{}");
        Self::new(
            Task::rehearsal(job, Box::new(|_| {}), Arc::default()),
            rights,
        )
    }

    fn cancel_grace(&self) -> Duration {
        Duration::from_millis(self.rights.limits.cancel_grace_ms)
    }

    /// Why the guest must stop now, if it must. Asked at every epoch.
    pub(crate) fn must_stop(&self) -> Option<Stop> {
        let deadline_ms = self.rights.limits.deadline_ms;
        self.cancel
            .overdue(self.cancel_grace())
            .or_else(|| (Instant::now() >= self.deadline).then_some(Stop::Deadline(deadline_ms)))
    }

    /// True once the guest should come to an end by itself: it was asked to, or little of its time is left.
    pub(crate) fn should_stop(&self) -> bool {
        let tenth = Duration::from_millis(self.rights.limits.deadline_ms / 10);
        let near = Instant::now() + tenth.min(self.cancel_grace()) >= self.deadline;
        near || self.cancel.reason().is_some()
    }

    /// The token to write with: none once the job was moved and the lock is gone.
    pub(crate) fn token(&self) -> Option<&str> {
        self.moved.is_none().then_some(&*self.job.token)
    }
}

impl WasiHttpView for JobState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outbound,
        }
    }
}

impl WasiView for JobState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let make = || Box::new(self.rights.grants.wasi(&self.log_budget).build());
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(make),
            table: &mut self.table,
        }
    }
}

/// Offers a guest everything that it may import. What needs a grant gives nothing without; a component that
/// imports it was refused before.
pub fn add_to_linker(linker: &mut Linker<JobState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    wasmtime_wasi_config::add_to_linker(linker, |state| WasiConfig::new(&state.config))?;
    Processor::add_to_linker::<JobState, HasSelf<JobState>>(linker, |state| state)
}
