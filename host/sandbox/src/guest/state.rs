//! The data of a guest's store: one attempt at a time, and all that its guest may use.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::current_attempt::{AttemptInput, CurrentAttempt};
use super::held::Held;
use super::http::Outbound;
use super::last_lines::LastLines;
use super::notes::Notes;
use super::output::LogBudget;
use super::postgres::Sessions;
use super::wasi;
use crate::limits::Quota;
use crate::lone_job::LoneJob;
use crate::open_files::{OpenFiles, Ticket};
use crate::policy::Policy;
use crate::recording::Tape;

/// The data of a store.
pub struct AttemptState {
    pub(crate) current: CurrentAttempt,
    pub(crate) quota: Quota,
    pub(crate) policy: Arc<Policy>,
    pub(super) log_budget: LogBudget,
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
    pub(super) sessions: Sessions,
}

impl AttemptState {
    /// The state in which an attempt runs, from now on. Fails where a granted directory cannot be opened.
    pub(crate) fn new(input: AttemptInput, policy: &Arc<Policy>) -> anyhow::Result<Self> {
        let Policy { limits, grants, .. } = &**policy;
        let current = CurrentAttempt::begin(input, limits);
        let CurrentAttempt { backend, tape, .. } = &current;
        let log_budget = LogBudget::new(&backend.job(), backend.shows_lines(), policy);
        let dirs = wasi::take_dirs(grants)?;
        let wasi = wasi::context_with_dirs(policy, &log_budget, &**backend, tape)?;
        let outbound = Outbound::new(policy, &**backend, tape);
        Ok(AttemptState {
            current,
            quota: Quota::new(limits),
            policy: Arc::clone(policy),
            log_budget,
            wasi: wasi.map(Box::new),
            table: wasi::handles(),
            cas_bytes_held: 0,
            held: Held::default(),
            open_files: OpenFiles::default(),
            _dirs: dirs,
            config: wasi::config_variables(grants),
            http: WasiHttpCtx::new(),
            outbound,
            sessions: Sessions::default(),
        })
    }

    /// Begins the next attempt of the same queue in the same instance.
    pub(crate) fn renew(&mut self, input: AttemptInput) {
        let limits = &self.policy.limits;
        // Instances that are used again are not recorded.
        let tape = Tape::None;
        self.current = CurrentAttempt::begin(AttemptInput { tape, ..input }, limits);
        let backend = &*self.current.backend;
        self.log_budget
            .renew(backend.job().id, backend.shows_lines(), limits);
        self.quota.renew();
        self.outbound.renew(&self.policy, backend);
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

    /// Says something in the log, which a guest had a part in.
    pub(super) fn note(&self, what: impl FnOnce(&str) -> String) {
        let notes = self.notes();
        notes.write(|| what(notes.queue()));
    }

    pub(super) fn notes(&self) -> &Notes {
        let make = || Notes::of(&*self.current.backend, &self.policy);
        self.current.notes.get_or_init(make)
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
            let CurrentAttempt { backend, tape, .. } = &self.current;
            let mut context = wasi::context(&self.policy, &self.log_budget, &**backend, tape);
            Box::new(context.build())
        };
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(make),
            table: &mut self.table,
        }
    }
}
