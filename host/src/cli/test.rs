//! `toril test`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use toril::cases::{Failure, Loaded, Report, Runner, Verdict};
use toril::config::{DEFAULT_FILE, Overrides, Source};

use super::output::{print_json, print_line};
use super::progress::during;

/// Runs the cases of a project: one attempt each, in the real sandbox, without Redis and network.
///
/// A case is a file `cases/NAME.toml` beside `toril.toml`. It names a job and what is expected: `[job]` (`queue`, `processor`,
/// `name`, `id`, `data`, `opts`, `progress`, `attempts_made`, `failed_reason`), `now`, `[env]`, `[config]`, `[[children]]`
/// with a `value` or a `failed_reason`, answers to requests as `[[http]]` (`method`, `url`; `status`, `headers`, `body` or
/// `json`, or `error`), and `[expect]` (`outcome`, `value`, `failed_reason`, `unrecoverable`, `state`, `delay_ms`,
/// `progress`, `data`, `logs`, `calls`, `[[expect.added]]`). Keys that `[expect]` does not mention are not compared. JSON
/// that TOML has no value for is text under `KEY_json`.
///
/// The limits and grants of the job's queue apply. Secrets are not read: each is `secret-NAME` unless `[env]` says otherwise.
/// The job's clock shows `now` (default: 2026-01-01T00:00:00Z) and stands still. The exit code is 0 if all cases pass.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril test\n  toril test --filter walls\n  toril test cases/walls.toml --update"
)]
pub(super) struct Test {
    /// The project, or one of its cases.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Runs the cases whose names contain this text. May be given several times.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Writes the actual results into the cases.
    #[arg(long)]
    update: bool,
    /// Prints one JSON object: the cases, and the processors that were compiled for them.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let start = Instant::now();
        let (dir, files) = self.cases()?;
        let overrides = Overrides {
            stand_in_secrets: true,
            ..Overrides::default()
        };
        let source = Source {
            file: Some(dir.join(DEFAULT_FILE)),
            overrides,
        };
        let config = source.load_queues()?;
        let runner = Runner::new(&dir, &config)?;
        let mut reports = Vec::new();
        for file in &files {
            let name = file.file_stem().unwrap_or_default().display();
            let ran = runner.run(file, self.update);
            let report = during(format_args!("running case `{name}`"), ran).await;
            if !self.json {
                show(&report);
            }
            reports.push(report);
        }
        let summary = Summary::of(&reports, start.elapsed());
        match self.json {
            true => print_json(&as_json(&reports, &runner.loaded(), &summary)),
            false => print_line(summary.line()),
        }
        Ok(match summary.passed + summary.updated == reports.len() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// The project's directory, and the cases to run.
    fn cases(&self) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
        if self.dir.is_file() {
            let file = std::path::absolute(&self.dir)?;
            let dir = file
                .ancestors()
                .nth(2)
                .context("a case must be in `cases/`")?;
            return Ok((dir.to_owned(), vec![file]));
        }
        // Without `./`, paths are shown as people write them.
        let dir = self.dir.strip_prefix(".").unwrap_or(&self.dir);
        let files = Runner::files(dir)?;
        let count = files.len();
        let fits = |file: &PathBuf| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            self.filter.is_empty() || self.filter.iter().any(|text| name.contains(text))
        };
        let files: Vec<PathBuf> = files.into_iter().filter(fits).collect();
        ensure!(
            count > 0,
            "there is no case in `{}`\nhint: a case is a file `cases/NAME.toml` beside `toril.toml`",
            dir.join("cases").display()
        );
        ensure!(
            !files.is_empty(),
            "no case in `{}` has a name that contains the text of `--filter`",
            dir.join("cases").display()
        );
        Ok((dir.to_owned(), files))
    }
}

/// How many cases ended in which way.
struct Summary {
    passed: usize,
    updated: usize,
    failed: usize,
    broken: usize,
    time: Duration,
}

impl Summary {
    fn of(reports: &[Report], time: Duration) -> Self {
        let count = |kind: &str| {
            let kinds = reports.iter().map(|report| word(&report.verdict));
            kinds.filter(|word| *word == kind).count()
        };
        Summary {
            passed: count("passed"),
            updated: count("updated"),
            failed: count("failed"),
            broken: count("broken"),
            time,
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{} passed", self.passed);
        for (count, what) in [
            (self.updated, "updated"),
            (self.failed, "failed"),
            (self.broken, "could not be run"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        format!("{line} in {:.1} s", self.time.as_secs_f64())
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Updated => "updated",
        Verdict::Failed(_) => "failed",
        Verdict::Broken(_) => "broken",
    }
}

fn show(report: &Report) {
    let (name, time) = (&report.name, millis(report.time));
    match &report.verdict {
        Verdict::Passed => print_line(format_args!("ok       {name} ({time} ms)")),
        Verdict::Updated => print_line(format_args!("updated  {name} ({time} ms)")),
        Verdict::Failed(failure) => {
            print_line(format_args!("FAILED   {name} ({time} ms)"));
            show_failure(failure, &report.file);
        }
        Verdict::Broken(error) => {
            print_line(format_args!("ERROR    {name}"));
            print_indented(&format!("{}: {error:#}", report.file.display()));
        }
    }
}

fn show_failure(failure: &Failure, file: &Path) {
    if !failure.diff.is_empty() {
        print_indented(&format!("- expected in {}\n+ seen", file.display()));
        print_indented("");
        print_indented(&failure.diff);
    }
    for problem in &failure.problems {
        print_indented(problem);
    }
    let stack = failure.stack.as_deref().unwrap_or_default();
    for (what, text) in [("stack", stack), ("log", &failure.log)] {
        if !text.is_empty() {
            print_indented(what);
            print_indented(&text.trim_end().replace('\n', "\n  ").replacen("", "  ", 1));
        }
    }
}

fn print_indented(text: &str) {
    for line in text.trim_end_matches('\n').split('\n') {
        print_line(format!("    {line}").trim_end());
    }
}

fn as_json(reports: &[Report], loaded: &[Loaded], summary: &Summary) -> Value {
    let case = |report: &Report| {
        let mut case = json!({
            "name": report.name, "file": report.file, "ms": millis(report.time),
            "result": word(&report.verdict),
        });
        match &report.verdict {
            Verdict::Failed(failure) => {
                case["diff"] = failure.diff.as_str().into();
                case["problems"] = failure.problems.clone().into();
                case["seen"] = failure.seen.to_json();
                case["stack"] = failure.stack.clone().into();
                case["log"] = failure.log.as_str().into();
            }
            Verdict::Broken(error) => case["error"] = format!("{error:#}").into(),
            Verdict::Passed | Verdict::Updated => {}
        }
        case
    };
    let cases: Vec<Value> = reports.iter().map(case).collect();
    let processor =
        |loaded: &Loaded| json!({ "file": loaded.file, "compileMs": millis(loaded.compile_time) });
    let processors: Vec<Value> = loaded.iter().map(processor).collect();
    json!({
        "cases": cases, "processors": processors, "passed": summary.passed, "updated": summary.updated,
        "failed": summary.failed, "broken": summary.broken, "ms": millis(summary.time),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
