//! Makes a component of a script: instantiates the JavaScript engine, lets it evaluate the script, and writes its memory back
//! into it. What comes out is a processor like any other, which no host needs this crate for.

mod shim;
mod stubs;
mod watchdog;

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use toril_sandbox::short_machine::again_while_short;
use toril_sandbox::{Cache, Digest, make_memory_images};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder, Trap};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

use stubs::Building;
use watchdog::Watchdog;

/// The instance that the engine exports for loading, which snapshots have no more.
const BOOT: &str = "boot";
/// The custom section that hosts read.
const SDK_SECTION: &str = "toril:sdk";
/// What a script may take while it is loaded.
const MEMORY_BYTES_MAX: usize = 512 << 20;
/// How deep a script may call while it is loaded, in bytes of stack: the parser, too, which goes deep in large expressions.
const STACK_BYTES: usize = 8 << 20;
/// What the host's functions may use of the same stack.
const HOST_STACK_BYTES: usize = 4 << 20;
/// How long loading a script may take.
const LOAD_TIME_MAX: Duration = Duration::from_secs(30);

/// A script and what it was made of.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// A classic script, without imports.
    pub source: &'a str,
    /// Its source map, of version 3; empty where there is none.
    pub source_map: &'a str,
    /// What the SDK says of the component; JSON. Hosts read it when they inspect the component.
    pub sdk: &'a str,
}

/// What a script became.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The component.
    pub component: Vec<u8>,
    /// What its author should know: values that were taken once for all jobs, and what the script itself warned of.
    pub warnings: Vec<String>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The script threw when it was loaded, or did what it cannot do there: its message and stack.
    #[error("{0}")]
    Script(String),
    /// It took too long.
    #[error("loading the processor took more than {} s", .0.as_secs_f64())]
    Time(Duration),
    /// The file that was given as the engine is none.
    #[error("failed to prepare the JavaScript engine: {0:#}")]
    Engine(wasmtime::Error),
    /// The engine failed.
    #[error("the JavaScript engine failed: {0:#}")]
    Failed(wasmtime::Error),
}

/// The JavaScript engine, in the shape that is instantiated in the least time.
pub struct ScriptEngine {
    wasm: Vec<u8>,
}

impl ScriptEngine {
    /// Takes the engine as it was built.
    pub fn new(wasm: Vec<u8>) -> Self {
        let wasm = shim::removed(&wasm).unwrap_or(wasm);
        ScriptEngine { wasm }
    }
}

/// Makes snapshots of one engine.
pub struct Snapshots<'a> {
    wizer: Wizer,
    context: ComponentContext<'a>,
    component: Component,
    linker: Linker<State>,
    load_time_max: Duration,
}

struct State {
    building: Building,
    limits: StoreLimits,
}

/// Appends a custom section, which may stand anywhere.
fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    let section = CustomSection {
        name: name.into(),
        data: data.into(),
    };
    section.append_to_component(component);
}

impl<'a> Snapshots<'a> {
    /// Prepares the engine. Its compiled code is kept in the directory, if there is one: compiling takes a second.
    pub fn new(engine: &'a ScriptEngine, cache_dir: Option<&Path>) -> Result<Self, Error> {
        Self::prepare(&engine.wasm, cache_dir).map_err(Error::Engine)
    }

    fn prepare(engine_wasm: &'a [u8], cache_dir: Option<&Path>) -> wasmtime::Result<Self> {
        let mut wizer = Wizer::new();
        wizer.init_func(BOOT);
        let (context, instrumented) = wizer.instrument_component(engine_wasm)?;
        let engine = Engine::new(&config())?;
        let component = compile(&engine, &instrumented, cache_dir)?;
        make_memory_images(&component)?;
        let linker = stubs::linker(&engine, &component)?;
        Ok(Snapshots {
            wizer,
            context,
            component,
            linker,
            load_time_max: LOAD_TIME_MAX,
        })
    }

    /// Sets how long loading a script may take; 30 s where nothing is said.
    pub fn set_load_time_max(&mut self, max: Duration) {
        self.load_time_max = max;
    }

    /// Loads a script, and returns what it became.
    pub fn snapshot(&self, script: &Script<'_>) -> Result<Snapshot, Error> {
        std::thread::scope(|scope| {
            let snapshot = again_while_short(|| {
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES + HOST_STACK_BYTES);
                Ok(thread.spawn_scoped(scope, || self.make(script))?)
            });
            let failed = |reason: &str| Error::Failed(wasmtime::Error::msg(reason.to_owned()));
            let snapshot =
                snapshot.map_err(|error| failed(&format!("failed to start a thread: {error}")))?;
            snapshot
                .join()
                .unwrap_or_else(|_| Err(failed("it panicked")))
        })
    }

    fn make(&self, script: &Script<'_>) -> Result<Snapshot, Error> {
        let mut loaded = self.load(script)?;
        let warnings = loaded.store.data_mut().building.take_warnings();
        let snapshot = self.wizer.snapshot_component(&self.context, &mut loaded);
        // Nothing of it waits for anything.
        let snapshot = snapshot.now_or_never();
        let mut component = snapshot
            .unwrap_or_else(|| Err(wasmtime::Error::msg("the snapshot waits for something")))
            .map_err(Error::Failed)?;
        append_section(&mut component, SDK_SECTION, script.sdk.as_bytes());
        Ok(Snapshot {
            component,
            warnings,
        })
    }

    fn load(&self, script: &Script<'_>) -> Result<Loaded, Error> {
        let engine = self.linker.engine();
        let mut store = Store::new(engine, State::default());
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        let watchdog = Watchdog::start(engine, self.load_time_max);
        let _watchdog = watchdog.map_err(Error::Failed)?;
        let instance = self.linker.instantiate(&mut store, &self.component);
        let instance = instance.map_err(Error::Failed)?;
        let result = call_load(&mut store, &instance, script);
        match result {
            Ok(Ok(())) => {
                // What is left are a few reads.
                store.set_epoch_deadline(u64::MAX / 2);
                Ok(Loaded { store, instance })
            }
            Ok(Err(reason)) => Err(Error::Script(reason)),
            Err(error) if is_late(&error) => Err(Error::Time(self.load_time_max)),
            Err(error) => match store.data().building.last_words() {
                Some(reason) => Err(Error::Script(reason)),
                None => Err(Error::Failed(error)),
            },
        }
    }
}

impl Default for State {
    fn default() -> Self {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX);
        State {
            building: Building::default(),
            limits: limits.build(),
        }
    }
}

/// As the host's, as far as it says what a component may use: nothing that needs a garbage collector, threads or 64 bits.
fn config() -> Config {
    let mut config = Config::new();
    config.wasm_memory64(false).shared_memory(false);
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.async_stack_size(STACK_BYTES + HOST_STACK_BYTES);
    config.max_wasm_stack(STACK_BYTES);
    config
}

fn compile(
    engine: &Engine,
    instrumented: &[u8],
    cache_dir: Option<&Path>,
) -> wasmtime::Result<Component> {
    let cache = cache_dir.and_then(|dir| Cache::open(dir, engine));
    let digest = Digest::of(instrumented);
    if let Some(component) = cache
        .as_ref()
        .and_then(|cache| cache.component(engine, &digest))
    {
        return Ok(component);
    }
    let component = Component::new(engine, instrumented)?;
    if let Some(cache) = cache {
        cache.keep(&component, &digest);
    }
    Ok(component)
}

fn call_load(
    store: &mut Store<State>,
    instance: &Instance,
    script: &Script<'_>,
) -> wasmtime::Result<Result<(), String>> {
    let boot = instance.get_export_index(&mut *store, None, BOOT);
    let load = instance.get_export_index(&mut *store, boot.as_ref(), "load");
    let load = load.ok_or_else(|| wasmtime::Error::msg("it has no function `boot.load`"))?;
    let load = instance.get_typed_func::<(&str, &str), (Result<(), String>,)>(&mut *store, load)?;
    let (result,) = load.call(&mut *store, (script.source, script.source_map))?;
    Ok(result)
}

fn is_late(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(Trap::Interrupt))
}

/// An engine that holds a script.
struct Loaded {
    store: Store<State>,
    instance: Instance,
}

impl Loaded {
    /// Calls one of the functions that the instrumentation added.
    fn read<T: Lift + 'static>(&mut self, instance: &str, function: &str) -> T {
        let interface = self
            .instance
            .get_export_index(&mut self.store, None, instance);
        let index = self
            .instance
            .get_export_index(&mut self.store, interface.as_ref(), function)
            .expect("the instrumentation exports what it reads");
        let function = self
            .instance
            .get_typed_func::<(), (T,)>(&mut self.store, index)
            .expect("the instrumentation's functions have these types");
        let (value,) = function
            .call(&mut self.store, ())
            .expect("reading memory and globals does not trap");
        value
    }
}

impl ComponentInstanceState for Loaded {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let list: WasmList<u8> = self.read(instance, func);
        contents(list.as_le_slice(&self.store));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.read(instance, func)
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.read(instance, func)
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.read::<f32>(instance, func).to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.read::<f64>(instance, func).to_bits()
    }
}
