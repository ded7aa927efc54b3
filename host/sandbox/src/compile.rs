//! From bytes to a processor: inspected, judged by the policy, compiled, and once instantiated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::Retryable as _;
use tracing::info;
use wasmtime::Store;

use crate::cancel::Stop;
use crate::compiler::{NotCompiled, beside_jobs};
use crate::component_sizes;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::guest::AttemptState;
use crate::inspect::{Inspection, NotAProcessor, inspect};
use crate::memory_images::{make_memory_images, with_causes};
use crate::policy::Policy;
use crate::prepared::{Instance, Prepared};
use crate::reuse::{IdleOfProcessor, Reusable};
use crate::short_machine::{is_short_of, short_pauses};
use crate::slow;
use crate::world::World;

/// A component that is ready to run jobs.
pub struct Processor {
    /// `sha256:` and the digest of the component.
    pub digest: Digest,
    /// What is known of it without running it.
    pub inspection: Inspection,
    /// How long compiling took; zero where the cache had it.
    pub compile_time: Duration,
    prepared: Prepared,
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
    #[error("component does not fit world `{world}`: {differs}")]
    Mismatch {
        /// The world that its `process` is of.
        world: World,
        /// What differs.
        differs: String,
    },
    /// It trapped, or ran out of a limit, while it was instantiated.
    #[error("failed to instantiate component: {0}")]
    Instantiate(String),
    /// The machine was short of something that is needed to load it, for longer than a moment.
    #[error("the machine is short of something: {0}")]
    MachineIsShort(String),
}

/// A component that may be compiled: all that can be known of it before is as it should be.
pub struct Checked {
    bytes: Vec<u8>,
    digest: Digest,
    inspection: Inspection,
}

impl Engine {
    /// Checks, compiles and once instantiates a component. Nothing is trusted before all of it passed.
    pub async fn load(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        policy: &Arc<Policy>,
    ) -> Result<Processor, LoadError> {
        let checked = self.check(bytes, policy).await?;
        self.load_checked(checked, policy).await
    }

    /// Looks at a component, which takes little time. What is wrong with it shows here, but for what the compiler finds.
    pub async fn check(&self, bytes: Vec<u8>, policy: &Policy) -> Result<Checked, LoadError> {
        if bytes.len() > self.component_bytes_max() {
            return Err(LoadError::TooLarge {
                bytes: bytes.len(),
                max: self.component_bytes_max(),
            });
        }
        let checked = beside_jobs(move || {
            Ok::<_, NotAProcessor>(Checked {
                inspection: inspect(&bytes)?,
                digest: Digest::of(&bytes),
                bytes,
            })
        });
        let checked = checked.await.map_err(LoadError::Compile)??;
        checked.inspection.judge(policy)?;
        Ok(checked)
    }

    /// Refuses a processor that was loaded under another policy and that this one would not let in.
    pub async fn judge(
        &self,
        processor: &Processor,
        policy: &Arc<Policy>,
    ) -> Result<(), LoadError> {
        processor.inspection.judge(policy)?;
        self.probe(processor, policy).await?;
        Ok(())
    }

    /// Compiles a component and once instantiates it. The policy is the one that it was checked with.
    pub async fn load_checked(
        self: &Arc<Self>,
        checked: Checked,
        policy: &Arc<Policy>,
    ) -> Result<Processor, LoadError> {
        let Checked {
            bytes,
            digest,
            inspection,
        } = checked;
        let world = inspection.world;
        let (prepared, compile_time) = self.prepare(bytes, digest.clone(), world).await?;
        let mut processor = Processor {
            digest,
            inspection,
            compile_time,
            prepared,
            bytes_at_start: 0,
            bytes_expected: AtomicUsize::new(0),
            idle: IdleOfProcessor::new(&self.budget, &self.idle),
        };
        processor.bytes_at_start = self.probe(&processor, policy).await?;
        Ok(processor)
    }

    /// Instantiates once, within the limits of an attempt; again, while the machine is short. Returns the memory that it took,
    /// in bytes.
    async fn probe(&self, processor: &Processor, policy: &Arc<Policy>) -> Result<usize, LoadError> {
        let once = || self.probe_once(processor, policy);
        let again = once.retry(short_pauses());
        again
            .when(|error| matches!(error, LoadError::MachineIsShort(_)))
            .await
    }

    async fn probe_once(
        &self,
        processor: &Processor,
        policy: &Arc<Policy>,
    ) -> Result<usize, LoadError> {
        let refuse = |error: String| LoadError::Instantiate(error);
        let state = AttemptState::probe(policy).map_err(|error| refuse(format!("{error:#}")))?;
        let _ticking = self.ticking();
        let mut run = Reusable::fresh(self.store(state), policy);
        let deadline = policy.limits.deadline();
        let instance = processor.instantiate(&mut run.store);
        match tokio::time::timeout(deadline.duration(), instance).await {
            Ok(Ok(_)) => Ok(run.store.data().quota.memory_bytes()),
            Ok(Err(error)) if is_short_of(&error) => Err(short(&error)),
            Ok(Err(error)) => Err(refuse(run.store.data().quota.explain(&error))),
            Err(_) => Err(refuse(Stop::Deadline(deadline).to_string())),
        }
    }

    /// Compiles a component, and compares it with the world.
    async fn prepare(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        digest: Digest,
        world: World,
    ) -> Result<(Prepared, Duration), LoadError> {
        let (of, size) = (digest.clone(), bytes.len());
        let compiled = self.compiler.compiled(bytes, digest);
        let what = format!("compiling {}, {} KiB", of.short(), size / 1024);
        let compiled = slow::reporting(what, compiled, |time| {
            info!(target: slow::TARGET, digest = %of, bytes = size, time = %slow::shown(time), "compiling a component");
        });
        let (component, compile_time) = compiled.await.map_err(|error| match error {
            NotCompiled::Refused(reason) => LoadError::Compile(with_hint(reason)),
            NotCompiled::MachineIsShort(reason) => LoadError::MachineIsShort(reason),
            NotCompiled::TookTooLong(max) => LoadError::CompileTime(max.as_millis()),
        })?;
        let engine = Arc::clone(self);
        let prepared = beside_jobs(move || {
            make_memory_images(&component).map_err(|error| match is_short_of(&error) {
                true => short(&error),
                false => LoadError::Instantiate(with_causes(&error)),
            })?;
            let pre = engine.linker.instantiate_pre(&component);
            let prepared = pre.and_then(|pre| Prepared::new(world, pre));
            prepared.map_err(|error| LoadError::Mismatch {
                world,
                differs: format!("{error:#}"),
            })
        });
        let prepared = prepared.await.map_err(LoadError::Compile)??;
        Ok((prepared, compile_time))
    }
}

impl Inspection {
    /// Refuses what a policy does not allow, as far as it shows before the first instance.
    fn judge(&self, policy: &Policy) -> Result<(), LoadError> {
        let granted = policy.grants.check_imports(self.used_imports());
        granted.map_err(LoadError::NotGranted)?;
        let (count, max) = (self.core_instances, policy.limits.instances_max);
        if count > max {
            return Err(LoadError::CoreInstances { count, max });
        }
        Ok(())
    }
}

impl Processor {
    /// Makes a fresh instance, once there is room for it.
    pub async fn instantiate(&self, store: &mut Store<AttemptState>) -> wasmtime::Result<Instance> {
        let room = &mut store.data_mut().quota;
        let room = room.start(self.bytes_at_start, self.bytes_expected()).await;
        room.map_err(wasmtime::Error::new)?;
        self.prepared.instantiate(store).await
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

    /// Lets instances of this policy rest: this version serves. Drops those of another one, and keeps none of them that
    /// come back.
    pub fn keep_instances(&self, policy: &Arc<Policy>) {
        self.idle.keep(policy);
    }

    /// Drops the instances that rest, and keeps none from now on: this version was replaced.
    pub fn keep_no_instances(&self) {
        self.idle.close();
    }
}

fn short(error: &wasmtime::Error) -> LoadError {
    LoadError::MachineIsShort(with_causes(error))
}

fn with_hint(error: String) -> String {
    match component_sizes::hint(&error) {
        Some(hint) => format!("{error}\n{hint}"),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_options::EngineOptions;

    const CASES: &str = r#"(case "unrecoverable" $detail) (case "delayed") (case "waiting-children") (case "waiting")
        (case "rate-limited" u64)"#;

    /// A component of the plain world that asks for nothing, not even for its job.
    fn plain(cases: &str) -> Vec<u8> {
        let component = format!(
            r#"(component
              (import "toril:processor/jobs@1.1.0" (instance $jobs
                (type $detail' (record (field "message" string) (field "stack" (option string))))
                (export "failure-detail" (type $detail (eq $detail')))
                (type $failure' (variant (case "failed" $detail) {cases}))
                (export "failure" (type (eq $failure')))))
              (alias export $jobs "failure" (type $failure))
              (core module $core
                (memory (export "memory") 1)
                (func (export "process") (result i32) i32.const 0)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
              (core instance $core (instantiate $core))
              (func (export "process") (result (result string (error $failure)))
                (canon lift (core func $core "process") (memory (core memory $core "memory"))
                  (realloc (core func $core "realloc")))))"#
        );
        wat::parse_str(component).unwrap()
    }

    #[tokio::test]
    async fn world_is_known_without_imports_and_its_types_are_compared() {
        let options = EngineOptions::for_one_component();
        let engine = Arc::new(Engine::new(&options).unwrap());
        let load = async |cases: &str| engine.load(plain(cases), &Arc::default()).await;
        let processor = load(CASES).await.unwrap();
        assert_eq!(processor.inspection.world, World::PlainProcessor);
        assert_eq!(processor.inspection.world_version.as_deref(), Some("1.1.0"));
        let error = load("").await.err().unwrap().to_string();
        assert!(
            error.starts_with("component does not fit world `toril:processor/plain-processor`: "),
            "{error}"
        );
        assert!(error.contains("variant"), "{error}");
    }
}
