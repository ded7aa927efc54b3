//! The data of a guest's store: one attempt at a time, and all that its guest may use.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::held::Held;
use super::http::Outbound;
use super::last_lines::LastLines;
use super::notes::Notes;
use super::output::LogBudget;
use super::postgres::Sessions;
use super::sockets::Sockets;
use super::wasi;
use crate::backend::JobBackend;
use crate::cancel::{Cancel, Stop};
use crate::deadline::Deadline;
use crate::limits::Quota;
use crate::lone_job::LoneJob;
use crate::open_files::{OpenFiles, Ticket};
use crate::outcome::MovedTo;
use crate::policy::Policy;
use crate::recording::Tape;
use crate::steps::Steps;

/// One attempt of a job, and all that belongs to it.
pub struct AttemptInput {
    /// The job, and where its changes go.
    pub backend: Box<dyn JobBackend>,
    /// Asks it to stop.
    pub cancel: Arc<Cancel>,
    /// What the jobs that it adds carry, to belong to the same trace.
    pub trace: Option<String>,
    /// Records what it learns, or answers as was recorded.
    pub tape: Tape,
}

impl AttemptInput {
    /// One that nobody stops, traces or records.
    pub fn new(backend: Box<dyn JobBackend>) -> Self {
        AttemptInput {
            backend,
            cancel: Arc::default(),
            trace: None,
            tape: Tape::None,
        }
    }
}

/// The data of a store.
pub struct AttemptState {
    pub(crate) backend: Box<dyn JobBackend>,
    /// Data and progress as the guest last wrote them.
    pub(super) data: Option<String>,
    pub(super) progress: Option<String>,
    pub(crate) moved: Option<MovedTo>,
    /// Unknown until the guest begins one.
    pub(super) steps: Option<Box<Steps>>,
    /// What the guest said before it trapped.
    pub(crate) last_words: Option<String>,
    pub(crate) quota: Quota,
    pub(crate) policy: Arc<Policy>,
    pub(super) trace: Option<String>,
    pub(super) tape: Tape,
    pub(super) log_budget: LogBudget,
    pub(super) cancel: Arc<Cancel>,
    deadline: Deadline,
    ends: Instant,
    /// None until the guest first asks for anything of it: many never do, and the random generators in it take
    /// as long to make as a small job computes. Here from the start where directories are granted.
    wasi: Option<Box<WasiCtx>>,
    pub(super) table: ResourceTable,
    /// By handles of `wasi:keyvalue` that hold a value.
    pub(super) cas_bytes_held: usize,
    pub(super) held: Held,
    pub(crate) open_files: OpenFiles,
    /// For the granted directories.
    _dirs: Vec<Ticket>,
    config: WasiConfigVariables,
    http: WasiHttpCtx,
    outbound: Outbound,
    pub(crate) sockets: Sockets,
    /// Made for the first line: most guests are never refused anything.
    notes: OnceLock<Notes>,
    pub(super) sessions: Sessions,
}

impl AttemptState {
    /// The state in which an attempt runs, from now on. Fails where a granted directory cannot be opened.
    pub(crate) fn new(input: AttemptInput, policy: &Arc<Policy>) -> anyhow::Result<Self> {
        let Policy { limits, grants, .. } = &**policy;
        let job = input.backend.job();
        let log_budget = LogBudget::new(&job, input.backend.shows_lines(), policy);
        let deadline = limits.deadline_of(job.name, job.timeout_ms);
        let dirs = wasi::take_dirs(grants)?;
        let wasi = wasi::context_with_dirs(policy, &log_budget, &*input.backend, &input.tape)?;
        let outbound = Outbound::new(policy, &*input.backend, &input.tape);
        Ok(AttemptState {
            backend: input.backend,
            data: None,
            progress: None,
            moved: None,
            steps: None,
            last_words: None,
            quota: Quota::new(limits),
            policy: Arc::clone(policy),
            trace: input.trace,
            tape: input.tape,
            log_budget,
            cancel: input.cancel,
            ends: Instant::now() + deadline.duration(),
            deadline,
            wasi: wasi.map(Box::new),
            table: wasi::handles(),
            cas_bytes_held: 0,
            held: Held::default(),
            open_files: OpenFiles::default(),
            _dirs: dirs,
            config: wasi::config_variables(grants),
            http: WasiHttpCtx::new(),
            outbound,
            sockets: Sockets::default(),
            notes: OnceLock::new(),
            sessions: Sessions::default(),
        })
    }

    /// Begins the next attempt of the same queue in the same instance.
    pub(crate) fn renew(&mut self, input: AttemptInput) {
        let (job, limits) = (input.backend.job(), &self.policy.limits);
        let shown = input.backend.shows_lines();
        self.log_budget.renew(job.id, shown, limits);
        self.deadline = limits.deadline_of(job.name, job.timeout_ms);
        self.ends = Instant::now() + self.deadline.duration();
        self.backend = input.backend;
        self.cancel = input.cancel;
        self.trace = input.trace;
        (self.data, self.progress) = (None, None);
        (self.moved, self.steps, self.last_words) = (None, None, None);
        self.notes = OnceLock::new();
        self.quota.renew();
        // Instances that are used again are not recorded.
        self.tape = Tape::None;
        self.outbound.renew(&self.policy, &*self.backend);
        self.sockets = Sockets::default();
    }

    /// The state in which a component is instantiated once to see that it can be.
    pub(crate) fn probe(policy: &Arc<Policy>) -> anyhow::Result<Self> {
        let input = AttemptInput::new(Box::new(LoneJob::new("probe", "{}")));
        Self::new(input, policy)
    }

    /// What the guest wrote to stderr last. It is over, and with it the streams in which part of a line may be left.
    pub(crate) fn last_lines(&mut self) -> LastLines {
        self.table = wasi::handles();
        (self.cas_bytes_held, self.held) = (0, Held::default());
        self.log_budget.take_last_lines()
    }

    fn cancel_grace(&self) -> Duration {
        Duration::from_millis(self.policy.limits.cancel_grace_ms)
    }

    /// Why the guest must stop now, if it must. Asked at every epoch.
    pub(crate) fn must_stop(&self) -> Option<Stop> {
        let late = || Instant::now() >= self.ends;
        self.cancel
            .overdue(self.cancel_grace())
            .cloned()
            .or_else(|| late().then(|| Stop::Deadline(self.deadline.clone())))
    }

    /// When the attempt ends.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// How long the attempt may take.
    pub(crate) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// True once the guest should come to an end by itself: it was asked to, or little of its time is left.
    pub(super) fn should_stop(&self) -> bool {
        let tenth = self.deadline.duration() / 10;
        let near = Instant::now() + tenth.min(self.cancel_grace()) >= self.ends;
        near || self.cancel.reason().is_some()
    }

    /// The reason for which the guest was asked to stop, if it was.
    pub(super) fn cancel_reason(&self) -> Option<String> {
        match self.cancel.reason()? {
            Stop::Cancelled(said) if !said.is_empty() => Some(said.to_string()),
            stop => Some(stop.to_string()),
        }
    }

    /// Says something in the log, which a guest had a part in.
    pub(super) fn note(&self, what: impl FnOnce(&str) -> String) {
        let notes = self.notes();
        notes.write(|| what(notes.queue()));
    }

    pub(super) fn notes(&self) -> &Notes {
        let make = || Notes::of(&*self.backend, &self.policy);
        self.notes.get_or_init(make)
    }

    pub(super) fn wasi_config(&self) -> WasiConfig<'_> {
        WasiConfig::new(&self.config)
    }
}

impl WasiHttpView for AttemptState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outbound,
        }
    }
}

impl WasiView for AttemptState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let make = || {
            let (log, backend) = (&self.log_budget, &*self.backend);
            let mut context = wasi::context(&self.policy, log, backend, &self.tape);
            Box::new(context.build())
        };
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(make),
            table: &mut self.table,
        }
    }
}
