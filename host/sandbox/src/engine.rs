//! The wasm engine: its linker, the room for running attempts, and the threads that they run on. One per host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::Linker;
use wasmtime::{CallHook, Store, UpdateDeadline};

use crate::cache::Cache;
use crate::guest::{self, AttemptState};
use crate::guest_threads::GuestThreads;
use crate::limits::Limits;
use crate::pool::{KIB, MIB, Room, TABLE_ELEMENTS, engine_config};
use crate::ticker::{Ticker, Ticking};

/// What the engine is built with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How many jobs may run at once, over all queues.
    pub executions_max: u32,
    /// The largest memory that any processor may have, in bytes.
    pub memory_bytes_max: usize,
    /// The largest component that is accepted, in bytes.
    pub component_bytes_max: usize,
    /// How long compiling a component may take, in ms.
    pub compile_ms_max: u64,
    /// How deep the stack of a guest may be, in bytes.
    pub stack_bytes_max: usize,
    /// Instances that may rest between jobs, over all queues that reuse them.
    pub idle_max: u32,
    /// Where compiled code is kept; none compiles at each start.
    pub cache_dir: Option<PathBuf>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            executions_max: 1000,
            memory_bytes_max: Limits::default().memory_bytes_max,
            component_bytes_max: 64 * MIB,
            compile_ms_max: 60_000,
            stack_bytes_max: 512 * KIB,
            idle_max: 0,
            cache_dir: None,
        }
    }
}

impl EngineOptions {
    fn room(&self) -> Room {
        Room {
            places: self.executions_max.saturating_add(self.idle_max),
            memory_bytes_max: self.memory_bytes_max,
            stack_bytes_max: self.stack_bytes_max,
        }
    }
}

/// The engine, its linker, and the room for running jobs. One per host.
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: Linker<AttemptState>,
    pub(crate) cache: Option<Cache>,
    component_bytes_max: usize,
    memory_bytes_max: usize,
    /// As many as the pool has places: waiting here is cheaper than failing there.
    room: Semaphore,
    /// Compiling takes every core it gets; one at a time leaves the others to jobs.
    pub(crate) compiling: Arc<Semaphore>,
    pub(crate) compile_time_max: Duration,
    ticker: Ticker,
    guests: GuestThreads,
}

impl Engine {
    /// Builds the engine. Fails where the machine cannot give what the options ask for.
    pub fn new(options: &EngineOptions) -> anyhow::Result<Self> {
        let wasm =
            wasmtime::Engine::new(&engine_config(&options.room())).map_err(anyhow::Error::from)?;
        let mut linker = Linker::new(&wasm);
        guest::add_to_linker(&mut linker)?;
        Ok(Engine {
            cache: options
                .cache_dir
                .as_ref()
                .and_then(|dir| Cache::open(dir, &wasm)),
            linker,
            component_bytes_max: options.component_bytes_max,
            memory_bytes_max: options.memory_bytes_max,
            room: Semaphore::new(options.executions_max as usize),
            compiling: Arc::new(Semaphore::new(1)),
            compile_time_max: Duration::from_millis(options.compile_ms_max),
            ticker: Ticker::start(&wasm)?,
            wasm,
            guests: GuestThreads::start()?,
        })
    }

    /// The largest component that is accepted, in bytes.
    pub fn component_bytes_max(&self) -> usize {
        self.component_bytes_max
    }

    /// Refuses limits that the engine, as it was started, has no room for.
    pub fn check_limits(&self, limits: &Limits) -> anyhow::Result<()> {
        for (name, wanted, room) in [
            (
                "memory_bytes_max",
                limits.memory_bytes_max,
                self.memory_bytes_max,
            ),
            (
                "table_elements_max",
                limits.table_elements_max,
                TABLE_ELEMENTS,
            ),
        ] {
            anyhow::ensure!(
                wanted <= room,
                "`limits.{name}` is {wanted}, and this host was started with room for {room}\n\
                 hint: restart it with the larger limit in its config"
            );
        }
        Ok(())
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
    pub fn store(&self, state: AttemptState) -> Store<AttemptState> {
        let mut store = Store::new(&self.wasm, state);
        store.limiter(|state| &mut state.quota);
        store.set_epoch_deadline(1);
        store.call_hook(|mut context, call| match call {
            CallHook::CallingHost => {
                let counted = context.data_mut().quota.host_call();
                counted.map_err(wasmtime::Error::new)
            }
            _ => Ok(()),
        });
        store.epoch_deadline_callback(|context| match context.data().must_stop() {
            Some(stop) => Err(wasmtime::Error::new(stop)),
            None => Ok(UpdateDeadline::Yield(1)),
        });
        store
    }
}
