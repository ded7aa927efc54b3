//! A script, made into a processor, which runs jobs in the sandbox of the host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tempfile::TempDir;
use toril_sandbox::attempt::{self, AttemptInput};
use toril_sandbox::backend::Shown;
use toril_sandbox::{
    Engine, EngineOptions, Grants, LoadError, LoneJob, Outcome, Policy, Processor, Reuse, Stub,
};
use toril_snapshot::{Error, Script, ScriptEngine, Snapshot, Snapshots};

/// The script's part that the SDK makes elsewhere: `main` is the processor.
const RUNTIME: &str = r#"
const toril = globalThis.__toril;
toril.process = async () => {
  try {
    return { ok: JSON.stringify((await main()) ?? null) };
  } catch (error) {
    const stack = error?.stack === undefined ? undefined : `${error}\n${error.stack}`;
    return { failure: { kind: "failed", message: error?.message ?? String(error), stack } };
  }
};
"#;

static CACHE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
static ENGINE: LazyLock<ScriptEngine> = LazyLock::new(|| {
    // Cargo runs a test in its package. It may have been built in another clone with the same target directory.
    let path = Path::new("../../sdk/js/engine.wasm");
    let bytes = std::fs::read(path);
    ScriptEngine::new(
        bytes.unwrap_or_else(|error| panic!("{}: {error}\nhint: make engine", path.display())),
    )
});
static SNAPSHOTS: LazyLock<Snapshots<'static>> =
    LazyLock::new(|| Snapshots::new(&ENGINE, Some(CACHE.path())).unwrap());
static HOST: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let options = EngineOptions {
        executions_max: 20,
        idle_max: 20,
        // All snapshots have the same code: its functions are compiled once.
        cache_dir: Some(cache_dir()),
        ..EngineOptions::default()
    };
    Arc::new(Engine::new(&options).unwrap())
});

pub(crate) fn script_engine() -> &'static ScriptEngine {
    &ENGINE
}

pub(crate) fn cache_dir() -> PathBuf {
    CACHE.path().to_owned()
}

/// Adds the runtime behind a script that defines `main`: the script's lines keep their numbers.
pub(crate) fn with_runtime(script: &str) -> String {
    format!("{script}\n{RUNTIME}")
}

/// What components of these tests say of themselves: no script here uses a store.
pub(crate) const SDK: &str = r#"{ "unused": ["wasi:keyvalue"] }"#;

pub(crate) fn snapshot(source: &str, source_map: &str) -> Result<Vec<u8>, Error> {
    let snapshot = snapshot_with_warnings(source, source_map);
    snapshot.map(|snapshot| snapshot.component)
}

pub(crate) fn snapshot_with_warnings(source: &str, source_map: &str) -> Result<Snapshot, Error> {
    SNAPSHOTS.snapshot(&Script {
        source,
        source_map,
        sdk: SDK,
    })
}

/// Why a script that defines `main` cannot be loaded.
pub(crate) fn refusal_of(script: &str) -> String {
    snapshot(&with_runtime(script), "").unwrap_err().to_string()
}

pub(crate) async fn load(component: Vec<u8>, policy: Policy) -> Result<Processor, LoadError> {
    HOST.load(component, &Arc::new(policy)).await
}

/// A policy that grants nothing, and links what the engine imports.
pub(crate) fn policy() -> Policy {
    let grants = Grants {
        stub: vec![Stub::Http],
        ..Grants::default()
    };
    Policy {
        grants: Arc::new(grants),
        ..Policy::default()
    }
}

/// The same, and one instance for all jobs.
pub(crate) fn reused() -> Policy {
    let reuse = Some(Reuse {
        jobs: u32::MAX,
        age_ms: 600_000,
    });
    Policy { reuse, ..policy() }
}

pub(crate) struct Jobs {
    processor: Processor,
    policy: Arc<Policy>,
    pub(crate) shown: Arc<Mutex<Vec<String>>>,
}

impl Jobs {
    /// Of a script that defines `main`.
    pub(crate) async fn of(script: &str) -> Self {
        Self::under(policy(), script).await
    }

    pub(crate) async fn under(policy: Policy, script: &str) -> Self {
        let component = snapshot(&with_runtime(script), "").unwrap();
        Self::of_component(policy, component).await
    }

    pub(crate) async fn of_component(policy: Policy, component: Vec<u8>) -> Self {
        Jobs {
            processor: load(component, policy.clone()).await.unwrap(),
            policy: Arc::new(policy),
            shown: Arc::default(),
        }
    }

    pub(crate) async fn run(&self) -> Outcome {
        self.run_with("{}").await
    }

    pub(crate) async fn run_with(&self, data: &str) -> Outcome {
        let shown = Arc::clone(&self.shown);
        let show = Arc::new(move |call: &str| shown.lock().push(call.to_owned()));
        let job = Box::new(LoneJob::new("paint", data));
        let input = AttemptInput::new(Box::new(Shown::calls(job, show)));
        let result = attempt::run(&HOST, &self.processor, &self.policy, input).await;
        result.outcome
    }

    /// What the next job returns.
    pub(crate) async fn value(&self) -> String {
        match self.run().await {
            Outcome::Completed(value) => value,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Reason and stack of the next job, which fails.
    pub(crate) async fn failure(&self) -> (String, String) {
        match self.run().await {
            Outcome::Failed { message, stack, .. } => (message, stack),
            outcome => panic!("{outcome:?}"),
        }
    }
}

/// What a job returns of a script that defines `main`.
pub(crate) async fn value_of(script: &str) -> String {
    Jobs::of(script).await.value().await
}

pub(crate) async fn failure_of(script: &str) -> (String, String) {
    Jobs::of(script).await.failure().await
}
