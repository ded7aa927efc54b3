//! The wasm engine: its linker, the room for running attempts, and the threads that they run on. One per host.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::Linker;
use wasmtime::{CallHook, Store, UpdateDeadline};

use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::engine_options::EngineOptions;
use crate::guest::{self, AttemptState};
use crate::guest_threads::GuestThreads;
use crate::limits::{GUEST_MEMORY_BYTES_MAX, Limits, check_at_most};
use crate::machine_memory;
use crate::memory_budget::{Kept, MemoryBudget, Share};
use crate::outcome::Outcome;
use crate::pool;
use crate::reuse::IdleInstances;
use crate::ticker::{Ticker, Ticking};

/// An outcome of fewer bytes is not counted as memory of guests: its instance took more.
const KEPT_BYTES_MIN: usize = 64 << 10;

/// The engine, its linker, and the room for running jobs. One per host.
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: Linker<AttemptState>,
    pub(crate) compiler: Arc<Compiler>,
    component_bytes_max: usize,
    guest_memory_bytes_max: usize,
    table_elements_max: usize,
    core_instances_max: u32,
    /// As many as the pool has places: waiting here is cheaper than failing there.
    room: Semaphore,
    pub(crate) budget: Arc<MemoryBudget>,
    /// Its instances have shares of the budget, which knows it: emptied when the engine is dropped.
    pub(crate) idle: Arc<IdleInstances>,
    ticker: Ticker,
    guests: GuestThreads,
}

impl Engine {
    /// Builds the engine, with less room than the options ask for where the process may have less address space. Fails
    /// where it cannot have any.
    pub fn new(options: &EngineOptions) -> anyhow::Result<Self> {
        let guest = ("guest_memory_bytes_max", options.guest_memory_bytes_max);
        let checked = check_at_most(guest.0, guest.1, GUEST_MEMORY_BYTES_MAX);
        checked.map_err(anyhow::Error::msg)?;
        let memory_bytes_max = options
            .memory_bytes_max
            .unwrap_or_else(machine_memory::for_guests);
        let (wasm, config, room) = pool::build(options, memory_bytes_max)?;
        let mut linker = Linker::new(&wasm);
        guest::add_to_linker(&mut linker)?;
        let idle = Arc::<IdleInstances>::default();
        let budget = MemoryBudget::new(memory_bytes_max, room.places() as usize, idle.clone());
        let guests = GuestThreads::start()?;
        let aging = Arc::clone(&idle);
        guests.spawn(async move { aging.drop_each_at_its_age().await });
        let cache = options.cache_dir.as_ref();
        let cache = cache.and_then(|dir| Cache::open(dir, &wasm));
        let compile_time_max = Duration::from_millis(options.compile_ms_max);
        Ok(Engine {
            compiler: Arc::new(Compiler::new(&wasm, config, cache, compile_time_max)),
            linker,
            component_bytes_max: options.component_bytes_max,
            guest_memory_bytes_max: options.guest_memory_bytes_max,
            table_elements_max: options.table_elements_max,
            core_instances_max: options.core_instances_max,
            room: Semaphore::new(room.executions_max as usize),
            budget,
            idle,
            ticker: Ticker::start(&wasm)?,
            wasm,
            guests,
        })
    }

    /// The largest component that is accepted, in bytes.
    pub fn component_bytes_max(&self) -> usize {
        self.component_bytes_max
    }

    /// Refuses limits that the engine, as it was started, has no room for.
    pub fn check_limits(&self, limits: &Limits) -> anyhow::Result<()> {
        let sizes = [
            (
                ("memory_bytes_max", limits.memory_bytes_max),
                ("guest_memory_bytes_max", self.guest_memory_bytes_max),
            ),
            (
                ("table_elements_max", limits.table_elements_max),
                ("table_elements_max", self.table_elements_max),
            ),
            (
                ("instances_max", limits.instances_max),
                ("core_instances_max", self.core_instances_max as usize),
            ),
        ];
        for ((limit, wanted), (key, room)) in sizes {
            anyhow::ensure!(
                wanted <= room,
                "`limits.{limit}` is {wanted}, and this host was started with room for {room}\n\
                 hint: set `{key} = {wanted}` in `[runtime]` and restart the host"
            );
        }
        Ok(())
    }

    /// What guests hold of the memory that all of them share, idle instances included, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.budget.bytes_held()
    }

    /// Counts what a guest leaves behind, where that is much.
    pub(crate) fn keep(&self, outcome: &Outcome) -> Option<Kept> {
        let bytes = outcome.bytes();
        (bytes >= KEPT_BYTES_MIN).then(|| self.budget.keep(bytes))
    }

    /// The memory that all guests may have together, in bytes.
    pub fn memory_bytes_max(&self) -> usize {
        self.budget.bytes_max()
    }

    /// The threads to run jobs on.
    pub fn guest_threads(&self) -> &GuestThreads {
        &self.guests
    }

    /// Notes that a guest runs, which may have to be stopped.
    pub fn ticking(&self) -> Ticking<'_> {
        self.ticker.guest()
    }

    /// Waits for a place among the running jobs.
    pub async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.room.acquire().await.ok()
    }

    /// Makes the store of one job: its limits hold from here on, instantiation included.
    pub fn store(&self, mut state: AttemptState) -> Store<AttemptState> {
        state.quota.share = Some(Share::new(&self.budget));
        let memory_bytes_max = state.policy.limits.memory_bytes_max;
        let mut store = Store::new(&self.wasm, state);
        // A list may have one text in it many times: without this, it would be much more here than in the guest.
        store.set_hostcall_fuel(memory_bytes_max.min(store.hostcall_fuel()));
        store.limiter_async(|state| &mut state.quota);
        store.set_epoch_deadline(1);
        store.call_hook(|mut context, call| match call {
            CallHook::CallingHost => {
                let counted = context.data_mut().quota.host_call();
                counted.map_err(wasmtime::Error::new)
            }
            _ => Ok(()),
        });
        store.epoch_deadline_callback(|context| match context.data().current.must_stop() {
            Some(stop) => Err(wasmtime::Error::new(stop)),
            None => Ok(UpdateDeadline::Yield(1)),
        });
        store
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Idle instances hold the budget, and the budget holds them.
        self.idle.clear();
    }
}
