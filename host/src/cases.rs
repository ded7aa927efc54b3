//! Cases: tests of processors as files. A case names a job and what surrounds it (its children, the time, answers to its
//! requests) and what should come of one attempt. It runs in the real sandbox, with the limits and grants of its queue, over
//! the dry run: no Redis, no network.
//!
//! `cli/test.rs` reads a directory of them, runs them with [`Runner`], and shows the [`Report`]s.

mod answers;
mod example;
mod expectation;
mod file;
mod processors;
mod staging;
mod update;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use tracing::instrument::WithSubscriber as _;

pub use self::example::ExampleJob;
pub use self::expectation::Fields;
pub use self::file::Case;
pub use self::processors::Loaded;
use self::processors::Processors;
use self::staging::{Ran, Stage};
use crate::config::QueuesConfig;
use crate::language::project;
use crate::served_queue::spec::QueueSpec;
use toril_sandbox::regular_file::{self, LARGE_BYTES_MAX};
use toril_sandbox::{Engine, EngineOptions, Policy};

/// The directory of a project that its cases are in.
const CASES_DIR: &str = "cases";

/// Runs the cases of one project.
pub struct Runner {
    dir: PathBuf,
    queues: BTreeMap<String, QueueSpec>,
    engine: Arc<Engine>,
    processors: Processors,
}

/// What came of a case.
pub struct Report {
    /// The case's name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// How long it took, without building and compiling the processor.
    pub time: Duration,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a case ended.
pub enum Verdict {
    /// All is as expected.
    Passed,
    /// The file was changed: this is what was seen.
    Updated,
    /// Something is not as expected.
    Failed(Failure),
    /// It could not be run.
    Broken(anyhow::Error),
}

/// How what was seen differs from what is expected.
#[derive(Default)]
pub struct Failure {
    /// The difference, line by line; empty where there is none.
    pub diff: String,
    /// What is wrong besides: requests without an answer, answers that nobody asked for.
    pub problems: Vec<String>,
    /// What was seen.
    pub seen: Fields,
    /// The stack of a failure that is not expected.
    pub stack: Option<String>,
    /// What the processor and the host logged.
    pub log: String,
}

impl Runner {
    /// The project in a directory, by its config.
    pub fn new(dir: &Path, config: &QueuesConfig) -> anyhow::Result<Self> {
        let engine = Engine::new(&EngineOptions {
            executions_max: 1,
            idle_max: 0,
            ..config.runtime.clone()
        })?;
        Ok(Runner {
            dir: dir.to_owned(),
            queues: config.queues.clone(),
            engine: Arc::new(engine),
            processors: Processors::default(),
        })
    }

    /// The files of the cases in a project, in the order of their names.
    pub fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let cases = dir.join(CASES_DIR);
        let list = || -> std::io::Result<Vec<PathBuf>> {
            let entries = std::fs::read_dir(&cases)?;
            entries.map(|entry| Ok(entry?.path())).collect()
        };
        let files = list().with_context(|| {
            let hint = format!("a case is a file `{CASES_DIR}/NAME.toml` beside `toril.toml`");
            format!(
                "failed to list the cases in `{}`\nhint: {}",
                cases.display(),
                project::hint_or(dir, &hint)
            )
        })?;
        let is_case = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "toml");
        let mut files: Vec<PathBuf> = files.into_iter().filter(is_case).collect();
        files.sort();
        Ok(files)
    }

    /// Runs the case of a file; `update` writes what is seen into it.
    pub async fn run(&self, file: &Path, update: bool) -> Report {
        let name = file.file_stem().unwrap_or(file.as_os_str());
        let mut time = Duration::ZERO;
        let verdict = self.verdict(file, update, &mut time).await;
        Report {
            name: name.to_string_lossy().into_owned(),
            file: file.to_owned(),
            time,
            verdict: verdict.unwrap_or_else(Verdict::Broken),
        }
    }

    async fn verdict(
        &self,
        file: &Path,
        update: bool,
        time: &mut Duration,
    ) -> anyhow::Result<Verdict> {
        let text = regular_file::read_text(file, LARGE_BYTES_MAX)?;
        let case = Case::parse(&text)?;
        anyhow::ensure!(
            update || !case.expect.is_empty(),
            "the case expects nothing\nhint: fill in `[expect]`, or run the case with `--update`, which writes what happens into the file"
        );
        let (ran, log) = self.ran(&case, time).await?;
        if update {
            let changed = update::updated(&text, &case.expect, &ran.seen)?;
            anyhow::ensure!(ran.problems.is_empty(), "{}", ran.problems.join("\n"));
            if changed == text {
                return Ok(Verdict::Passed);
            }
            std::fs::write(file, changed)?;
            return Ok(Verdict::Updated);
        }
        let diff = case.expect.diff(&ran.seen);
        if diff.is_empty() && ran.problems.is_empty() {
            return Ok(Verdict::Passed);
        }
        Ok(Verdict::Failed(Failure {
            diff,
            problems: ran.problems,
            stack: ran.stack.filter(|_| !case.expect.is_a_failure()),
            seen: ran.seen,
            log,
        }))
    }

    /// Runs the job of a case, and returns what was logged meanwhile.
    async fn ran(&self, case: &Case, time: &mut Duration) -> anyhow::Result<(Ran, String)> {
        let (queue, spec) = self.queue_of(case)?;
        let policy = Arc::new(policy_of(case, &queue, &spec)?);
        let file = case.job.processor.as_ref().map(|file| self.dir.join(file));
        let file = file.or(spec.processor).with_context(|| {
            format!("the case names no processor\nhint: add `processor = \"FILE\"` to `[{}]` in toril.toml, or to `[job]`", QueueSpec::section(&queue))
        })?;
        let loaded = self.processors.load(&self.engine, &file, &policy).await;
        // The sandbox knows no queues.
        let processor = loaded.map_err(|error| {
            anyhow::Error::msg(QueueSpec::with_section_of(&queue, &format!("{error:#}")))
        })?;
        let stage = Stage {
            queue: &queue,
            engine: Arc::clone(&self.engine),
            processor,
            policy,
        };
        let log = Log::default();
        let start = Instant::now();
        let ran = stage.run(case).with_subscriber(log.subscriber()).await;
        *time = start.elapsed();
        Ok((ran?, log.text()))
    }

    /// The queue of the case's job, and what the config says of it.
    fn queue_of(&self, case: &Case) -> anyhow::Result<(String, QueueSpec)> {
        let known = || self.queues.keys().map(String::as_str);
        let Some(name) = case.job.queue.as_deref() else {
            let only = self.queues.iter().next().filter(|_| self.queues.len() == 1);
            let (name, spec) = only.with_context(|| {
                let known: Vec<&str> = known().collect();
                format!("the case does not say which queue its job is in\nhint: add `queue = \"NAME\"` to `[job]`; toril.toml has: {}", known.join(", "))
            })?;
            return Ok((name.clone(), spec.clone()));
        };
        match self.queues.get(name) {
            Some(spec) => Ok((name.to_owned(), spec.clone())),
            None => {
                let hint = crate::unknown_key::nearest(name, known());
                let hint = hint
                    .unwrap_or_else(|| format!("hint: add `[{}]` to it", QueueSpec::section(name)));
                anyhow::bail!("queue `{name}` is not in toril.toml\n{hint}")
            }
        }
    }

    /// The processors that were loaded.
    pub fn loaded(&self) -> Vec<Loaded> {
        self.processors.loaded()
    }
}

/// What the queue's processors may use and do, with the environment of the case. A case grants nothing.
fn policy_of(case: &Case, queue: &str, spec: &QueueSpec) -> anyhow::Result<Policy> {
    let mut policy = spec.policy();
    // Each case begins with a fresh instance.
    policy.reuse = None;
    let grants = Arc::make_mut(&mut policy.grants);
    for (name, value) in &case.env {
        if grants.secrets.names().contains(name) {
            let secret = toril_sandbox::Secret::new(value.clone());
            let secret = secret.with_context(|| format!("secret `env.{name}`"))?;
            grants.secrets.insert(name.clone(), secret);
            continue;
        }
        let granted = grants.env.get_mut(name);
        *granted.with_context(|| not_granted("env", name, queue))? = value.clone();
    }
    for (name, value) in &case.config {
        let granted = grants.config.get_mut(name);
        *granted.with_context(|| not_granted("config", name, queue))? = value.clone();
    }
    Ok(policy)
}

fn not_granted(kind: &str, name: &str, queue: &str) -> String {
    format!(
        "`{kind}.{name}` is not granted to queue `{queue}`\nhint: add `{kind}.{name} = \"VALUE\"` to `[{}.grants]`",
        QueueSpec::section(queue)
    )
}

/// Keeps what is logged, to show it where the case fails.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let kept = self.clone();
        tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || kept.clone())
            .finish()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
