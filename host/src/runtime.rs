//! The wasm engine: compiles components into [`Processor`]s and instantiates them. Knows no Redis.

mod cache;
mod clock;
mod grants;
mod inspect;
mod limits;
mod reuse;
mod threads;
mod ticker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::{Component, Linker};
use wasmtime::{
    CallHook, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    UpdateDeadline,
};

use crate::imports::{JobState, Processor as Bindings, ProcessorPre};
pub use clock::metered;
pub use grants::{DirGrant, Grants, HttpGrant, Outbound, Reuse, Rights, Secret, Stub};
pub use inspect::{Inspection, WORLD, inspect};
pub use limits::{Cancel, Limits, Quota, Stop};
use reuse::IdleInstances;
pub use reuse::Reusable;
pub use threads::{GuestThreads, Run};
use ticker::Ticker;
pub use ticker::Ticking;

/// How often a running guest is asked whether it should stop.
pub const EPOCH: Duration = Duration::from_millis(10);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The largest table that any processor may have.
const TABLE_ELEMENTS: usize = 20_000;
/// What the host's functions may use of a guest's stack.
const HOST_STACK: usize = 3 * MIB / 2;

/// What the engine is built with.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
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

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions {
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

/// The engine, its linker, and the room for running jobs. One per host.
pub struct Runtime {
    engine: Engine,
    linker: Linker<JobState>,
    cache: Option<cache::Cache>,
    component_bytes_max: usize,
    memory_bytes_max: usize,
    /// As many as the pool has places: waiting here is cheaper than failing there.
    room: Semaphore,
    /// Compiling takes every core it gets; one at a time leaves the others to jobs.
    compiling: Arc<Semaphore>,
    compile_time_max: Duration,
    ticker: Ticker,
    guests: GuestThreads,
}

/// A component that is ready to run jobs.
pub struct Processor {
    /// `sha256:` and the digest of the component.
    pub digest: Arc<str>,
    /// What is known of it without running it.
    pub inspection: Inspection,
    /// How long compiling took; zero where the cache had it.
    pub compile_time: Duration,
    pre: ProcessorPre<JobState>,
    idle: IdleInstances,
}

/// Why a component was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is larger than allowed.
    #[error(
        "component has {bytes} bytes, more than the limit of {max}\nhint: raise `runtime.component_bytes_max`"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// It is not a component, or not a processor.
    #[error("{0}")]
    NotAProcessor(String),
    /// It imports what was not granted.
    #[error("{0}")]
    NotGranted(String),
    /// The compiler refused it.
    #[error("failed to compile component: {0}")]
    Compile(String),
    /// Compiling took too long.
    #[error("compiling took more than the limit of {0} ms\nhint: raise `runtime.compile_ms_max`")]
    CompileTime(u128),
    /// Its imports or exports do not fit the world.
    #[error("component does not fit world `{WORLD}`: {0}")]
    Mismatch(String),
    /// It trapped, or ran out of a limit, while it was instantiated.
    #[error("failed to instantiate component: {0}")]
    Instantiate(String),
}

impl Runtime {
    /// Builds the engine. Fails where the machine cannot give what the options ask for.
    pub fn new(options: &RuntimeOptions) -> anyhow::Result<Self> {
        let engine = Engine::new(&engine_config(options)).map_err(anyhow::Error::from)?;
        let mut linker = Linker::new(&engine);
        crate::imports::add_to_linker(&mut linker)?;
        Ok(Runtime {
            cache: options
                .cache_dir
                .as_ref()
                .and_then(|dir| cache::Cache::open(dir, &engine)),
            linker,
            component_bytes_max: options.component_bytes_max,
            memory_bytes_max: options.memory_bytes_max,
            room: Semaphore::new(options.executions_max as usize),
            compiling: Arc::new(Semaphore::new(1)),
            compile_time_max: Duration::from_millis(options.compile_ms_max),
            ticker: Ticker::start(&engine)?,
            engine,
            guests: GuestThreads::start()?,
        })
    }

    /// Checks, compiles and once instantiates a component. Nothing is trusted before all of it passed.
    pub async fn load(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        rights: &Arc<Rights>,
    ) -> Result<Processor, LoadError> {
        if bytes.len() > self.component_bytes_max {
            return Err(LoadError::TooLarge {
                bytes: bytes.len(),
                max: self.component_bytes_max,
            });
        }
        let (inspection, digest, bytes) = beside_jobs(move || {
            let inspection = inspect(&bytes)?;
            Ok((inspection, digest(&bytes), bytes))
        })
        .await?;
        rights
            .grants
            .check_imports(&inspection.imports)
            .map_err(LoadError::NotGranted)?;
        let (pre, compile_time) = self.compile_bounded(bytes, Arc::clone(&digest)).await?;
        let processor = Processor {
            digest,
            inspection,
            compile_time,
            pre,
            idle: IdleInstances::default(),
        };
        self.probe(&processor, rights).await?;
        Ok(processor)
    }

    /// Instantiates once, within the limits of an attempt.
    async fn probe(&self, processor: &Processor, rights: &Arc<Rights>) -> Result<(), LoadError> {
        let refuse = |error: String| LoadError::Instantiate(error);
        let state = JobState::probe(rights).map_err(|error| refuse(format!("{error:#}")))?;
        let _ticking = self.ticking();
        let mut store = self.store(state);
        let deadline = Duration::from_millis(rights.limits.deadline_ms);
        let instance = processor.instantiate(&mut store);
        match tokio::time::timeout(deadline, instance).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refuse(format!("{error:#}"))),
            Err(_) => Err(refuse(
                Stop::Deadline(rights.limits.deadline_ms).to_string(),
            )),
        }
    }

    /// Compiles beside the threads that run jobs, one component at a time, and checks it against the world.
    async fn compile_bounded(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        digest: Arc<str>,
    ) -> Result<(ProcessorPre<JobState>, Duration), LoadError> {
        let turn = Arc::clone(&self.compiling).acquire_owned().await;
        let runtime = Arc::clone(self);
        let compile = beside_jobs(move || {
            // A compiler that is given up on cannot be stopped: the next one waits for its end.
            let _turn = turn;
            let (component, compile_time) = runtime.compile(&bytes, &digest)?;
            let pre = runtime.linker.instantiate_pre(&component);
            let pre = pre
                .and_then(ProcessorPre::new)
                .map_err(|error| LoadError::Mismatch(format!("{error:#}")))?;
            Ok((pre, compile_time))
        });
        match tokio::time::timeout(self.compile_time_max, compile).await {
            Ok(compiled) => compiled,
            Err(_) => Err(LoadError::CompileTime(self.compile_time_max.as_millis())),
        }
    }

    fn compile(&self, bytes: &[u8], digest: &str) -> Result<(Component, Duration), LoadError> {
        if let Some(component) = self
            .cache
            .as_ref()
            .and_then(|cache| cache.get(&self.engine, digest))
        {
            return Ok((component, Duration::ZERO));
        }
        let start = Instant::now();
        let component = Component::new(&self.engine, bytes)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let compile_time = start.elapsed();
        if let Some(cache) = &self.cache {
            cache.put(&component, digest);
        }
        Ok((component, compile_time))
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
    pub fn store(&self, state: JobState) -> Store<JobState> {
        let mut store = Store::new(&self.engine, state);
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

impl Processor {
    /// Makes a fresh instance.
    pub async fn instantiate(&self, store: &mut Store<JobState>) -> wasmtime::Result<Bindings> {
        self.pre.instantiate_async(store).await
    }

    /// Takes an instance that rests, if there is one with these rights that may run another job.
    pub fn take_idle(&self, rights: &Arc<Rights>) -> Option<Reusable> {
        self.idle.take(rights)
    }

    /// Lets an instance rest until the next job, unless its time is over.
    pub fn put_idle(&self, instance: Reusable) {
        self.idle.put(instance);
    }

    /// Lets instances rest again: this version serves.
    pub fn keep_instances(&self) {
        self.idle.open();
    }

    /// Drops the instances that rest, and keeps none from now on: this version was replaced.
    pub fn keep_no_instances(&self) {
        self.idle.close();
    }
}

fn engine_config(options: &RuntimeOptions) -> Config {
    let mut config = Config::new();
    // A guest that loops is asked to stop at each epoch.
    config.epoch_interruption(true);
    // What no processor needs is off: each is code that an attacker could reach. Threads, garbage collection
    // and their kin are not even compiled in, nor is any compiler but cranelift.
    config.wasm_memory64(false).shared_memory(false);
    // One guest never waits for two things at once.
    config.concurrency_support(false);
    // Enough to see where a trap came from, little enough to be stored with each failed attempt.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    // A guest that recurses for ever traps here, well before it reaches the end of the stack that it shares
    // with the host's functions.
    config.max_wasm_stack(options.stack_bytes_max);
    config.async_stack_size(options.stack_bytes_max + HOST_STACK);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    config
}

/// Places for as many components as may run at once. The numbers per component admit guests of
/// JavaScript, Python and Go toolchains, which are made of many core modules.
fn pool(options: &RuntimeOptions) -> PoolingAllocationConfig {
    const CORE_INSTANCES: u32 = 20;
    const MEMORIES: u32 = 2;
    const TABLES: u32 = 20;
    let places = options.executions_max.saturating_add(options.idle_max);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(CORE_INSTANCES))
        .total_memories(places.saturating_mul(MEMORIES))
        .total_tables(places.saturating_mul(TABLES))
        .total_stacks(places)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .max_core_instance_size(MIB)
        .max_component_instance_size(MIB)
        .max_memory_size(options.memory_bytes_max)
        .table_elements(TABLE_ELEMENTS)
        // Measured: with the page scan, resetting a place costs what the guest touched and no more.
        .linear_memory_keep_resident(2 * MIB)
        .table_keep_resident(64 * KIB)
        .async_stack_keep_resident(64 * KIB)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Does what takes a processor a while where it holds up neither jobs nor Redis.
async fn beside_jobs<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(LoadError::Compile(panic.to_string())))
}

/// The name of a component: `sha256:` and its digest.
pub fn digest(bytes: &[u8]) -> Arc<str> {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}").into()
}
