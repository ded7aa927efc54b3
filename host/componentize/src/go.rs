//! Modules of Go. A job begins in a runtime that was initialised when the component was built, with `main` behind it.

mod preview1;

use anyhow::anyhow;
use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use wasmi::{
    CompilationMode, Config, Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder,
    TrapCode, Val,
};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::Error;

/// What initialises a module's runtime, in WASI.
const INITIALIZE: &str = "_initialize";
/// What the SDK exports for this: it calls `main`, and has no meaning afterwards.
const START: &str = "toril_start";
/// About 30 s on a slow machine; the runtime itself takes 70 million.
const INSTRUCTIONS_MAX: u64 = 30_000_000_000;
/// What a program may take while it starts.
const MEMORY_BYTES_MAX: usize = 512 << 20;

/// What a module does while its runtime starts.
struct Starting {
    /// What it printed, the beginning.
    printed: Vec<u8>,
    /// Why it was stopped.
    refused: Option<String>,
    /// What the runtime's generator and its hashes begin with, until it was asked for.
    seed: Option<[u8; 32]>,
    limits: StoreLimits,
}

/// Runs a module's initialisation and `main`, and returns the module as it is then: a core module again.
///
/// The same module becomes the same snapshot: no clock of this machine, and no environment of it, is in it. The module is
/// interpreted, because it runs for a tenth of a second and compiling it takes seconds.
pub(crate) fn start(core: &[u8]) -> Result<Vec<u8>, Error> {
    let mut wizer = Wizer::new();
    wizer.init_func(START);
    let (context, instrumented) = wizer
        .instrument(core)
        .map_err(|error| Error::Module(anyhow!("{error:#}")))?;
    let mut started = run(core, &instrumented)?;
    let snapshot = wizer.snapshot(&context, &mut started).now_or_never();
    snapshot
        .expect("nothing of it waits for anything")
        .map_err(|error| Error::Module(anyhow!("{error:#}")))
}

fn run(core: &[u8], instrumented: &[u8]) -> Result<Started, Error> {
    let mut config = Config::default();
    config.compilation_mode(CompilationMode::LazyTranslation);
    config.consume_fuel(true);
    let engine = Engine::new(&config);
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX);
    let starting = Starting {
        printed: Vec::new(),
        refused: None,
        // Nobody without the module can know how it hashes; each job and map add a seed of their own.
        seed: Some(Sha256::digest(core).into()),
        limits: limits.build(),
    };
    let mut store = Store::new(&engine, starting);
    store.limiter(|starting| &mut starting.limits);
    match call(&mut store, instrumented) {
        Ok(instance) => Ok(Started { store, instance }),
        Err(error) => Err(store.data().why(error)),
    }
}

fn call(store: &mut Store<Starting>, instrumented: &[u8]) -> Result<Instance, wasmi::Error> {
    store.set_fuel(INSTRUCTIONS_MAX)?;
    let module = Module::new(store.engine(), instrumented)?;
    let linker = preview1::linker(&module)?;
    let instance = linker.instantiate_and_start(&mut *store, &module)?;
    for name in [INITIALIZE, START] {
        let function = instance.get_typed_func::<(), ()>(&*store, name)?;
        function.call(&mut *store, ())?;
    }
    Ok(instance)
}

impl Starting {
    fn why(&self, error: wasmi::Error) -> Error {
        if let Some(reason) = &self.refused {
            return Error::Program(reason.clone());
        }
        let printed = String::from_utf8_lossy(&self.printed);
        match (error.as_trap_code(), error.i32_exit_status()) {
            (Some(TrapCode::OutOfFuel), _) => Error::Program(
                "`main` does not return\n\
                 hint: `main` runs when the component is built; `toril.Serve` returns at once"
                    .to_owned(),
            ),
            (Some(_), _) | (_, Some(_)) if !self.printed.is_empty() => {
                Error::Program(printed.trim_end().to_owned())
            }
            (_, Some(code)) => Error::Program(format!("`main` ended the program with code {code}")),
            _ => Error::Module(error.into()),
        }
    }
}

/// A module whose runtime has started.
struct Started {
    store: Store<Starting>,
    instance: Instance,
}

impl InstanceState for Started {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&self.store, name);
        let global = global.expect("the instrumentation exports what it reads");
        match global.get(&self.store) {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(value) => SnapshotVal::F32(value.to_bits()),
            Val::F64(value) => SnapshotVal::F64(value.to_bits()),
            _ => unreachable!("the instrumentation refuses globals of other types"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&self.store, name);
        let memory = memory.expect("the instrumentation exports what it reads");
        contents(memory.data(&self.store));
    }
}

#[cfg(test)]
mod tests;
