//! From bytes to a processor: inspected, judged by the policy, compiled, and once instantiated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::Component;

use crate::bindings::{Processor as Bindings, ProcessorPre};
use crate::cancel::Stop;
use crate::component_sizes;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::guest::AttemptState;
use crate::inspect::{Inspection, NotAProcessor, WORLD, inspect};
use crate::policy::Policy;
use crate::reuse::{IdleOfProcessor, Reusable};

/// A component that is ready to run jobs.
pub struct Processor {
    /// `sha256:` and the digest of the component.
    pub digest: Digest,
    /// What is known of it without running it.
    pub inspection: Inspection,
    /// How long compiling took; zero where the cache had it.
    pub compile_time: Duration,
    pre: ProcessorPre<AttemptState>,
    /// What an instance holds when it is made, in bytes.
    bytes_at_start: usize,
    /// What is expected of its instances at most, by those before, in bytes.
    bytes_expected: AtomicUsize,
    idle: IdleOfProcessor,
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
    #[error(transparent)]
    NotAProcessor(#[from] NotAProcessor),
    /// It imports what was not granted.
    #[error("{0}")]
    NotGranted(String),
    /// It is made of more core instances than an attempt may have.
    #[error(
        "component has {count} core instances, more than the limit of {max}\nhint: set `instances_max = {count}` in `[queues.NAME.limits]`"
    )]
    CoreInstances {
        /// What it is made of.
        count: usize,
        /// The limit.
        max: usize,
    },
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

impl Engine {
    /// Checks, compiles and once instantiates a component. Nothing is trusted before all of it passed.
    pub async fn load(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        policy: &Arc<Policy>,
    ) -> Result<Processor, LoadError> {
        if bytes.len() > self.component_bytes_max() {
            return Err(LoadError::TooLarge {
                bytes: bytes.len(),
                max: self.component_bytes_max(),
            });
        }
        let (inspection, digest, bytes) = beside_jobs(move || {
            let inspection = inspect(&bytes)?;
            Ok((inspection, Digest::of(&bytes), bytes))
        })
        .await?;
        policy
            .grants
            .check_imports(&inspection.imports)
            .map_err(LoadError::NotGranted)?;
        let (count, max) = (inspection.core_instances, policy.limits.instances_max);
        if count > max {
            return Err(LoadError::CoreInstances { count, max });
        }
        let (pre, compile_time) = self.compile_bounded(bytes, digest.clone()).await?;
        let mut processor = Processor {
            digest,
            inspection,
            compile_time,
            pre,
            bytes_at_start: 0,
            bytes_expected: AtomicUsize::new(0),
            idle: IdleOfProcessor::new(&self.budget, &self.idle),
        };
        processor.bytes_at_start = self.probe(&processor, policy).await?;
        Ok(processor)
    }

    /// Instantiates once, within the limits of an attempt. Returns the memory that it took, in bytes.
    async fn probe(&self, processor: &Processor, policy: &Arc<Policy>) -> Result<usize, LoadError> {
        let refuse = |error: String| LoadError::Instantiate(error);
        let state = AttemptState::probe(policy).map_err(|error| refuse(format!("{error:#}")))?;
        let _ticking = self.ticking();
        let mut run = Reusable::fresh(self.store(state), policy);
        let deadline = policy.limits.deadline();
        let instance = processor.instantiate(&mut run.store);
        match tokio::time::timeout(deadline.duration(), instance).await {
            Ok(Ok(_)) => Ok(run.store.data().quota.memory_bytes()),
            Ok(Err(error)) => Err(refuse(run.store.data().quota.explain(&error))),
            Err(_) => Err(refuse(Stop::Deadline(deadline).to_string())),
        }
    }

    /// Compiles beside the threads that run jobs, one component at a time, and checks it against the world.
    async fn compile_bounded(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<(ProcessorPre<AttemptState>, Duration), LoadError> {
        let turn = Arc::clone(&self.compiling).acquire_owned().await;
        let engine = Arc::clone(self);
        let compile = beside_jobs(move || {
            // A compiler that is given up on cannot be stopped: the next one waits for its end.
            let _turn = turn;
            let (component, compile_time) = engine.compile(&bytes, &digest)?;
            let pre = engine.linker.instantiate_pre(&component);
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
            .and_then(|cache| cache.get(&self.wasm, digest))
        {
            return Ok((component, Duration::ZERO));
        }
        let start = Instant::now();
        let component = Component::new(&self.wasm, bytes)
            .map_err(|error| LoadError::Compile(with_hint(format!("{error:#}"))))?;
        let compile_time = start.elapsed();
        if let Some(cache) = &self.cache {
            cache.put(&component, digest);
        }
        Ok((component, compile_time))
    }
}

impl Processor {
    /// Makes a fresh instance, once there is room for it.
    pub async fn instantiate(&self, store: &mut Store<AttemptState>) -> wasmtime::Result<Bindings> {
        let room = &mut store.data_mut().quota;
        let room = room.start(self.bytes_at_start, self.bytes_expected()).await;
        room.map_err(wasmtime::Error::new)?;
        self.pre.instantiate_async(store).await
    }

    /// Takes an instance that rests, if there is one with these policy that may run another job.
    pub fn take_idle(&self, policy: &Arc<Policy>) -> Option<Reusable> {
        self.idle.take(policy, self.bytes_expected())
    }

    /// Notes how much memory an attempt had, or asked for.
    pub(crate) fn note_memory(&self, bytes: usize) {
        // Others may have a little more.
        let expected = bytes.saturating_add(bytes / 4);
        if expected > self.bytes_expected.load(Ordering::Relaxed) {
            self.bytes_expected.fetch_max(expected, Ordering::Relaxed);
        }
    }

    /// Of the first attempt nothing is known but its limit.
    fn bytes_expected(&self) -> usize {
        match self.bytes_expected.load(Ordering::Relaxed) {
            0 => usize::MAX,
            expected => expected,
        }
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

fn with_hint(error: String) -> String {
    match component_sizes::hint(&error) {
        Some(hint) => format!("{error}\n{hint}"),
        None => error,
    }
}

/// Does what takes a processor a while where it holds up neither jobs nor Redis.
async fn beside_jobs<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(LoadError::Compile(panic.to_string())))
}
