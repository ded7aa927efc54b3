//! `toril run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use serde_json::json;
use toril::config::default_cache_dir;
use toril::processor_file::read_processor;
use toril::queue::json;
use toril::sandbox::dry_run::{DryRun, Ended, StoredJob};
use toril::sandbox::names::JobRef;
use toril::sandbox::{Engine, EngineOptions, Grants, Limits, Outcome, Policy};

/// The queue of the job.
const QUEUE: &str = "dry-run";

/// Runs a processor on one job without Redis, and shows each call and the outcome.
///
/// The exit code is 0 where the job completed or moved itself, 1 where it failed.
#[derive(Args)]
#[command(after_help = "Example:\n  toril run paint.wasm --name walls --data '{\"price\":100}'")]
pub(super) struct Run {
    /// The component, or a file that `toril build` takes.
    file: PathBuf,
    /// The job's data, JSON.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// The job's name.
    #[arg(long, default_value = "job", value_name = "NAME")]
    name: String,
    /// How long the processor may take, in milliseconds.
    #[arg(long, default_value_t = Limits::default().deadline_ms, value_name = "MS")]
    deadline_ms: u64,
    /// Prints one JSON object: the calls and the outcome.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let valid = serde_json::from_str::<serde::de::IgnoredAny>(&self.data);
        ensure!(valid.is_ok(), "`--data` is not JSON: {}", self.data);
        let engine = Arc::new(Engine::new(&EngineOptions {
            executions_max: 1,
            cache_dir: default_cache_dir(),
            ..EngineOptions::default()
        })?);
        let bytes = read_processor(&self.file, engine.component_bytes_max()).await?;
        let limits = Limits {
            deadline_ms: self.deadline_ms,
            ..Limits::default()
        };
        // Nothing is real here, so all queues may be used.
        let grants = Grants {
            queues: vec!["*".into()],
            ..Grants::default()
        };
        let policy = Policy {
            limits,
            grants: Arc::new(grants),
            ..Policy::default()
        };
        let calls = Arc::new(Mutex::new(Vec::new()));
        let mut dry_run = DryRun::new(engine);
        dry_run.show(self.recorder(&calls));
        dry_run
            .serve(QUEUE, bytes, policy)
            .await
            .with_context(|| format!("component `{}` was refused", self.file.display()))?;
        let options = r#"{"jobId":"dry-run"}"#;
        let added = dry_run.add(QUEUE, &self.name, &self.data, options);
        let id = added.map_err(|error| anyhow!("job cannot be added: {error}"))?;
        let ended = dry_run.run_next().await;
        let Ended { outcome, cpu, .. } = ended.context("job was not run")?;
        let mut others = dry_run.jobs();
        others.retain(|job, _| job.id != id || job.queue.name() != QUEUE);
        if self.json {
            let calls = calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let added: Vec<_> = others
                .iter()
                .map(|(job, stored)| added_as_json(job, stored))
                .collect();
            super::print_json(
                &json!({ "calls": calls, "added": added, "outcome": as_json(&outcome), "cpuMs": cpu.as_secs_f64() * 1000.0 }),
            );
        } else {
            super::print_line(describe(&outcome));
            for (job, stored) in &others {
                let state = stored.state.name();
                super::print_line(format_args!("added {} [{state}] {job}", stored.name));
            }
        }
        let failed = matches!(outcome, Outcome::Failed { .. } | Outcome::HostFailed(_));
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Shows each call as it is made, or keeps it for the JSON.
    fn recorder(&self, calls: &Arc<Mutex<Vec<String>>>) -> Box<dyn FnMut(String) + Send> {
        if !self.json {
            return Box::new(|call| super::print_line(format_args!("  {call}")));
        }
        let calls = Arc::clone(calls);
        Box::new(move |call| {
            calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call)
        })
    }
}

fn added_as_json(job: &JobRef, stored: &StoredJob) -> serde_json::Value {
    let data: serde_json::Value = json::read(&stored.data).unwrap_or_default();
    json!({
        "id": job.id, "queue": job.queue.name(), "name": stored.name, "data": data,
        "state": stored.state.name(), "parent": stored.parent.as_ref().map(JobRef::to_string),
    })
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed(value) => format!("completed: {value}"),
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        } => {
            let kind = if *unrecoverable {
                "failed for good"
            } else {
                "failed"
            };
            format!("{kind}: {message}\n{stack}")
        }
        Outcome::Moved(to) => format!("moved to {}", to.state()),
        Outcome::Wait | Outcome::GivenBack => "given back".into(),
        Outcome::RateLimited(duration_ms) => {
            format!("given back, queue limited for {duration_ms} ms")
        }
        Outcome::Lost => "lock lost".into(),
        Outcome::HostFailed(reason) => format!("host failed: {reason}"),
    }
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Completed(value) => {
            let value: serde_json::Value = json::read(value).unwrap_or_default();
            json!({ "kind": "completed", "value": value })
        }
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        } => {
            json!({ "kind": "failed", "failedReason": message, "stack": stack, "unrecoverable": unrecoverable })
        }
        Outcome::Moved(to) => json!({ "kind": "moved", "to": to.state() }),
        Outcome::Wait | Outcome::GivenBack => json!({ "kind": "waiting" }),
        Outcome::RateLimited(duration_ms) => {
            json!({ "kind": "rate-limited", "durationMs": duration_ms })
        }
        Outcome::Lost => json!({ "kind": "lost" }),
        Outcome::HostFailed(reason) => json!({ "kind": "host-failed", "reason": reason }),
    }
}
