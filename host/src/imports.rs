//! What a guest can call: the WIT bindings, the data of a job's store, and the linker.

mod job;
mod logging;
mod output;
mod producer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::queue::{Job, Queue};
use crate::runtime::{Cancel, Grants, Limits, Quota, Stop};
use crate::worker::Listeners;

pub use bindings::toril::processor::jobs::{Failure, FailureDetail};
pub use bindings::{Processor, ProcessorPre};
pub use job::{InvalidData, JobHandle};
pub(crate) use output::LogBudget;

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

/// The data of a store: one job, and all that its guest may use.
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
    pub(crate) limits: Limits,
    pub(crate) quota: Quota,
    pub(crate) grants: Arc<Grants>,
    /// Those who hear of its progress.
    pub(crate) listeners: Option<Listeners>,
    /// What the jobs that the guest adds carry, to belong to the same trace.
    pub(crate) trace: Option<String>,
    log_budget: LogBudget,
    cancel: Arc<Cancel>,
    deadline: Instant,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl JobState {
    /// The state in which `job` runs on `queue`, from now on.
    pub fn new(
        job: Arc<Job>,
        queue: &Queue,
        backing: Backing,
        limits: &Limits,
        cancel: Arc<Cancel>,
    ) -> Self {
        let keys = queue.keys();
        Self::named(
            job,
            keys.name().into(),
            keys.base().into(),
            backing,
            limits,
            cancel,
        )
    }

    /// Gives the guest rights beyond its job.
    pub fn with_grants(mut self, grants: Arc<Grants>) -> Self {
        self.grants = grants;
        self
    }

    /// Tells of the guest's progress.
    pub fn with_listeners(mut self, listeners: Listeners) -> Self {
        self.listeners = Some(listeners);
        self
    }

    /// Lets the jobs that the guest adds belong to a trace.
    pub fn with_trace(mut self, trace: Option<String>) -> Self {
        self.trace = trace;
        self
    }

    /// The state in which a component is instantiated once to see that it can be.
    pub(crate) fn probe(limits: &Limits) -> Self {
        let job = Job::rehearsal("probe", "{}");
        Self::rehearsal(job, Box::new(|_| {}), limits, Arc::default())
    }

    /// The state in which a job runs without a queue.
    pub fn rehearsal(
        job: Job,
        show: Box<dyn FnMut(String) + Send>,
        limits: &Limits,
        cancel: Arc<Cancel>,
    ) -> Self {
        let backing = Backing::Rehearsal(show);
        Self::named(
            Arc::new(job),
            "rehearsal".into(),
            "bull:rehearsal".into(),
            backing,
            limits,
            cancel,
        )
    }

    fn named(
        job: Arc<Job>,
        queue_name: Arc<str>,
        queue_qualified_name: Arc<str>,
        backing: Backing,
        limits: &Limits,
        cancel: Arc<Cancel>,
    ) -> Self {
        let log_budget = LogBudget::new(
            Arc::clone(&queue_name),
            Arc::clone(&job.id),
            limits.log_lines_max,
        );
        // Nothing is granted: no environment, no arguments, no directories, no network.
        let wasi = WasiCtxBuilder::new()
            .stdout(output::GuestOutput::new("stdout", log_budget.clone()))
            .stderr(output::GuestOutput::new("stderr", log_budget.clone()))
            .build();
        JobState {
            job,
            queue_name,
            queue_qualified_name,
            backing,
            data: None,
            progress: None,
            moved: None,
            last_words: None,
            quota: Quota::new(limits),
            grants: Arc::default(),
            listeners: None,
            trace: None,
            log_budget,
            cancel,
            deadline: Instant::now() + Duration::from_millis(limits.deadline_ms),
            limits: limits.clone(),
            wasi,
            table: ResourceTable::new(),
        }
    }

    /// Why the guest must stop now, if it must. Asked at every epoch.
    pub(crate) fn must_stop(&self) -> Option<Stop> {
        self.cancel.reason().or_else(|| {
            (Instant::now() >= self.deadline).then_some(Stop::Deadline(self.limits.deadline_ms))
        })
    }

    /// The token to write with: none once the job was moved and the lock is gone.
    pub(crate) fn token(&self) -> Option<&str> {
        self.moved.is_none().then_some(&*self.job.token)
    }
}

impl WasiView for JobState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Offers a guest everything that it may import.
pub fn add_to_linker(linker: &mut Linker<JobState>) -> anyhow::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker).map_err(anyhow::Error::from)?;
    Processor::add_to_linker::<JobState, HasSelf<JobState>>(linker, |state| state)
        .map_err(anyhow::Error::from)
}
