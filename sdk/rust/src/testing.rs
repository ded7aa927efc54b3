//! Running the crate's processor on one job in a unit test.
//!
//! A [`Job`](crate::Job) exists only in the sandbox, so a test does not make one: it describes a job, and `toril run` builds
//! the processor and runs it on that job, in the real sandbox over a dry run. No Redis is needed. The program `toril` must be
//! in the `PATH`, or named by the environment variable `TORIL`.
//!
//! ```no_run
//! use serde_json::json;
//! use toril_sdk::testing::TestJob;
//!
//! let ran = TestJob::new("hall").data(json!({ "walls": 4 })).run().unwrap();
//! assert_eq!(ran.value(), Some(&json!({ "cost": 400 })));
//! ```

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};

/// Names another program than the `toril` of the `PATH`.
const PROGRAM: &str = "TORIL";

/// The job that a test runs the processor on.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `run` is called"]
pub struct TestJob {
    name: String,
    data: Value,
    queue: Option<String>,
    attempt: u32,
    children: Vec<Value>,
    processor: Option<PathBuf>,
}

/// What a processor did with a job.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Ran {
    /// The calls to the host, in order, such as `log("painting 4 walls")`.
    pub calls: Vec<String>,
    /// The jobs that were added: objects with `id`, `queue`, `name`, `data`, `state` and `parent`.
    pub added: Vec<Value>,
    /// The outcome: an object whose `kind` is `completed` (with `value`), `failed` (with `failedReason`, `stack` and
    /// `unrecoverable`), `moved` (with `to`), `waiting` or `rate-limited` (with `durationMs`).
    pub outcome: Value,
}

impl TestJob {
    /// A job with this name. Its data is `{}`, and this is its first attempt.
    pub fn new(name: &str) -> Self {
        TestJob {
            name: name.to_owned(),
            data: json!({}),
            queue: None,
            attempt: 1,
            children: Vec::new(),
            processor: None,
        }
    }

    /// The job's data.
    pub fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// Runs the job with the limits, grants and config of this queue in the `toril.toml` of the crate. Requests over HTTP and
    /// directories are real then. Without a queue, the job may use all queues, and nothing else is granted.
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.to_owned());
        self
    }

    /// The number of the attempt; the first one is 1.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Adds a child that completed with this value.
    pub fn completed_child(mut self, queue: &str, value: Value) -> Self {
        self.children
            .push(json!({ "queue": queue, "value": value }));
        self
    }

    /// Adds a child that failed for this reason.
    pub fn failed_child(mut self, queue: &str, reason: &str) -> Self {
        self.children
            .push(json!({ "queue": queue, "failedReason": reason }));
        self
    }

    /// The processor to run: a source file or a component. The default is the crate of the test (`src/lib.rs`).
    pub fn processor(mut self, file: impl Into<PathBuf>) -> Self {
        self.processor = Some(file.into());
        self
    }

    /// Builds the processor and runs it on the job. If the job fails, this still succeeds: [`Ran`] has the failure.
    ///
    /// # Errors
    ///
    /// If `toril` cannot be run, or if it refuses the job or the processor.
    pub fn run(&self) -> anyhow::Result<Ran> {
        self.run_by(&std::env::var_os(PROGRAM).unwrap_or_else(|| "toril".into()))
    }

    fn run_by(&self, program: &OsStr) -> anyhow::Result<Ran> {
        // Cargo sets it for tests.
        let dir = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
        let children = self.write_children()?;
        let mut command = self.command(program, &dir, children.as_deref());
        let output = command.stdin(Stdio::null()).output();
        if let Some(file) = children {
            // A file in the directory for temporary files, which others clear.
            let _ = std::fs::remove_file(file);
        }
        let output = output.with_context(|| {
            let program = program.to_string_lossy();
            format!("failed to run `{program}`\nhint: install `toril`, or name it with {PROGRAM}")
        })?;
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).map_err(|_| {
            anyhow!(
                "`toril run` failed: {}",
                said.trim_start_matches("error: ").trim()
            )
        })
    }

    fn command(&self, program: &OsStr, dir: &Path, children: Option<&Path>) -> Command {
        let mut command = Command::new(program);
        command.args(["run", "--json", "--quiet", "--name", &self.name]);
        command.arg("--data").arg(self.data.to_string());
        command.arg("--attempt").arg(self.attempt.to_string());
        // The config names the processor of a queue.
        let own = || self.queue.is_none().then(|| dir.join("src/lib.rs"));
        command.args(self.processor.clone().or_else(own));
        if let Some(queue) = &self.queue {
            command.args(["--queue", queue]);
            command.arg("--config").arg(dir.join("toril.toml"));
        }
        if let Some(file) = children {
            command.arg("--children").arg(file);
        }
        command
    }

    /// Writes the children to a new file, where there are any.
    fn write_children(&self) -> anyhow::Result<Option<PathBuf>> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if self.children.is_empty() {
            return Ok(None);
        }
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("toril-children-{}-{next}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = std::fs::File::create_new(&path);
        let written = file.and_then(|mut file| write!(file, "{}", json!(self.children)));
        written.with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(Some(path))
    }
}

impl Ran {
    /// The value that the processor returned; `None` unless the job completed.
    pub fn value(&self) -> Option<&Value> {
        self.outcome.get("value")
    }

    /// Why the job failed; `None` unless it failed.
    pub fn failed_reason(&self) -> Option<&str> {
        self.outcome.get("failedReason")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_and_a_refusal_are_explained() {
        let error = TestJob::new("hall").run_by("toril-no-such-program".as_ref());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("hint: install `toril`"), "{error}");
        let error = TestJob::new("hall").run_by("false".as_ref()).unwrap_err();
        assert_eq!(error.to_string(), "`toril run` failed: ");
    }

    #[test]
    fn job_is_told_to_the_program_as_it_was_described() {
        let job = TestJob::new("hall").data(json!({ "walls": 4 })).attempt(2);
        let arguments = |job: &TestJob| {
            let command = job.command(
                "toril".as_ref(),
                Path::new("dir"),
                Some(Path::new("children")),
            );
            let all = command
                .get_args()
                .map(|one| one.to_string_lossy().into_owned());
            all.collect::<Vec<_>>().join(" ")
        };
        let common = "run --json --quiet --name hall --data {\"walls\":4} --attempt 2";
        let lone = format!("{common} dir/src/lib.rs --children children");
        assert_eq!(arguments(&job), lone);
        let queued = format!("{common} --queue paint --config dir/toril.toml --children children");
        assert_eq!(arguments(&job.queue("paint")), queued);
    }

    #[test]
    fn children_are_written_and_removed() {
        let job = TestJob::new("hall")
            .completed_child("walls", json!(4))
            .failed_child("doors", "no paint");
        let file = job.write_children().unwrap().unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::remove_file(file).unwrap();
        let expected = json!([
            { "queue": "walls", "value": 4 },
            { "queue": "doors", "failedReason": "no paint" },
        ]);
        assert_eq!(written, expected);
    }
}
