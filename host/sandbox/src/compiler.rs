//! Compiles components, beside jobs and one after the other, from what was compiled before where that is kept.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::cache::{Cache, Kept, deserialize};
use crate::digest::Digest;
use crate::function_cache::Functions;
use crate::memory_images::with_causes;
use crate::short_machine::{again_while_short, is_short_of};

/// Larger components take seconds to compile: small ones do not wait for them.
const SMALL_BYTES_MAX: usize = 4 << 20;

/// Compiles for one engine.
pub(crate) struct Compiler {
    /// What is compiled is for this engine.
    engine: Engine,
    /// The engine's own, but for what concerns running.
    config: Config,
    cache: Option<Cache>,
    /// Compiling takes every core that it gets: one small and one large component at a time leave the others to jobs.
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// One component is compiled once, whichever queues want it.
    in_work: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    time_max: Duration,
}

/// Why a component was not compiled.
pub(crate) enum NotCompiled {
    /// The compiler, or the engine's pool, refused it.
    Refused(String),
    /// The machine was short of something, for longer than a moment.
    MachineIsShort(String),
    /// It took longer than this.
    TookTooLong(Duration),
}

impl NotCompiled {
    fn of(error: &wasmtime::Error) -> Self {
        let reason = with_causes(error);
        match is_short_of(error) {
            true => NotCompiled::MachineIsShort(reason),
            false => NotCompiled::Refused(reason),
        }
    }
}

impl Compiler {
    pub(crate) fn new(
        engine: &Engine,
        config: Config,
        cache: Option<Cache>,
        time_max: Duration,
    ) -> Self {
        Compiler {
            engine: engine.clone(),
            config,
            cache,
            small: Arc::new(Semaphore::new(1)),
            large: Arc::new(Semaphore::new(1)),
            in_work: Mutex::default(),
            time_max,
        }
    }

    /// The compiled component, and how long compiling took: no time where it was kept.
    pub(crate) async fn compiled(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<(Component, Duration), NotCompiled> {
        let alone = self.one_at_a_time(&digest).lock_owned().await;
        let (this, of) = (Arc::clone(self), digest.clone());
        let kept = beside_jobs(move || this.kept(&of)).await;
        if let Some(component) = kept.map_err(NotCompiled::Refused)? {
            return Ok((component, Duration::ZERO));
        }
        let turn = Arc::clone(self.turns_of(&bytes)).acquire_owned().await;
        let this = Arc::clone(self);
        let compile = beside_jobs(move || {
            // A compiler that is given up on cannot be stopped: the next one waits for its end.
            let _until_the_end = (alone, turn);
            let start = Instant::now();
            let component = this.compile(&bytes, &digest);
            let component = component.map_err(|error| NotCompiled::of(&error))?;
            Ok((component, start.elapsed()))
        });
        let compiled = tokio::time::timeout(self.time_max, compile).await;
        let compiled = compiled.map_err(|_| NotCompiled::TookTooLong(self.time_max))?;
        compiled.unwrap_or_else(|panic| Err(NotCompiled::Refused(panic)))
    }

    fn one_at_a_time(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut in_work = self.in_work.lock();
        in_work.retain(|_, lock| lock.strong_count() > 0);
        let known = in_work.get(digest).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let lock = Arc::default();
            in_work.insert(digest.clone(), Arc::downgrade(&lock));
            lock
        })
    }

    fn turns_of(&self, component: &[u8]) -> &Arc<Semaphore> {
        if component.len() > SMALL_BYTES_MAX {
            &self.large
        } else {
            &self.small
        }
    }

    fn kept(&self, digest: &Digest) -> Option<Component> {
        self.cache.as_ref()?.component(&self.engine, digest)
    }

    fn compile(&self, bytes: &[u8], digest: &Digest) -> wasmtime::Result<Component> {
        let cache = self.cache.as_ref();
        let functions = cache.and_then(|cache| Functions::of(bytes, cache));
        let mut config = self.config.clone();
        if let Some(functions) = &functions {
            config.enable_incremental_compilation(functions.clone())?;
        }
        let compiler = Engine::new(&config)?;
        // Threads of its own: those that all share would first end what they began.
        let threads = again_while_short(|| Ok(rayon::ThreadPoolBuilder::new().build()?))?;
        let code = threads.install(|| compiler.precompile_component(bytes))?;
        let component = again_while_short(|| deserialize(&self.engine, &code))?;
        if let Some(cache) = cache {
            cache.write(Kept::Component, digest, &code);
            if let Some(functions) = functions {
                functions.keep(cache);
            }
        }
        Ok(component)
    }
}

/// Does what takes a processor a while where it holds up neither jobs nor Redis. The error is what it panicked with.
pub(crate) async fn beside_jobs<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| panic.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with this text among its data, and enough code of many kinds to be kept.
    fn component(text: &str) -> Vec<u8> {
        let function = |n: usize| {
            let step = format!(
                "(local.set 1 (i32.add (i32.load offset={n} (local.get 0)) (i32.const {n})))
                 (if (i32.gt_u (local.get 1) (i32.const {n})) (then (local.set 0 (call {} (local.get 1)))))
                 (loop $l (i64.store (local.get 1) (i64.extend_i32_u (local.tee 0 (global.get $g))))
                   (br_if $l (i32.lt_s (local.get 0) (i32.const {n}))))",
                (n * 7) % 500
            );
            let body = step.repeat(20 + n % 5);
            format!("(func (param i32) (result i32) (local i32) {body} local.get 0)")
        };
        let functions: String = (0..500).map(function).collect();
        let module = format!(
            r#"(memory 1) (global $g (mut i32) (i32.const 0)) (data (i32.const 8) "{text}") {functions}"#
        );
        let component =
            format!("(component (core module $m {module}) (core instance (instantiate $m)))");
        wat::parse_str(component).unwrap()
    }

    /// What is kept after these components were compiled one after the other, by the names of the files.
    async fn kept(components: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new();
        let engine = Engine::new(&config).unwrap();
        let cache = Cache::open(&dir.path().join("cache"), &engine);
        let time_max = Duration::from_secs(60);
        let compiler = Arc::new(Compiler::new(&engine, config, cache, time_max));
        for bytes in components {
            let compiled = compiler.compiled(bytes.to_vec(), Digest::of(bytes)).await;
            assert!(compiled.is_ok());
            let again = compiler.compiled(bytes.to_vec(), Digest::of(bytes)).await;
            assert!(again.is_ok_and(|(_, time)| time.is_zero()));
        }
        let files = std::fs::read_dir(dir.path().join("cache")).unwrap();
        let mut kept: Vec<_> = files
            .map(|file| {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                (name.to_owned(), std::fs::read(&path).unwrap())
            })
            .collect();
        kept.sort();
        kept
    }

    #[tokio::test]
    async fn code_is_the_same_whether_its_functions_were_known_or_not() {
        let (one, other) = (component("one"), component("other"));
        let of = |files: Vec<(String, Vec<u8>)>, ending: &str| {
            let files = files.into_iter();
            files
                .filter(|(name, _)| name.ends_with(ending))
                .collect::<Vec<_>>()
        };
        let both = of(kept(&[&one, &other]).await, ".cwasm");
        assert_eq!(both.len(), 2);
        let other_alone = kept(&[&other]).await;
        assert!(both.contains(&of(other_alone.clone(), ".cwasm")[0]));
        // All components with this code have one file.
        assert_eq!(of(other_alone, ".functions").len(), 1);
        assert_eq!(of(kept(&[&one, &other]).await, ".functions").len(), 1);
    }
}
