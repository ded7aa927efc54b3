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
use toril::sandbox::{Engine, EngineOptions, Grants, Outcome, Policy};

use super::queue_config::{self, QueueConfig};

/// The queue of the job, where none is named.
const QUEUE: &str = "dry-run";

/// Runs a processor on one job without Redis, and shows each call and the outcome.
///
/// With `--queue`, it runs with the grants, limits and config values that toril.toml gives that queue; HTTP requests and
/// directories are real then. The exit code is 0 where the job completed or moved itself, 1 where it failed.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril run paint.wasm --name walls --data '{\"price\":100}'\n  toril run --queue paint --data '{\"walls\":4}'"
)]
pub(super) struct Run {
    /// The component, or a file that `toril build` takes [default: the processor of `--queue`].
    #[arg(required_unless_present = "queue")]
    file: Option<PathBuf>,
    /// Runs it as a job of this queue, as the config has it.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The config file of `--queue` [default: toril.toml, if it is there].
    #[arg(long, env = "TORIL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The job's data, JSON.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// The job's name.
    #[arg(long, default_value = "job", value_name = "NAME")]
    name: String,
    /// How long the processor may take, in milliseconds [default: the queue's, or 300000].
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
    /// Prints one JSON object: the calls and the outcome.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let valid = serde_json::from_str::<serde::de::IgnoredAny>(&self.data);
        ensure!(valid.is_ok(), "`--data` is not JSON: {}", self.data);
        let Setting {
            engine,
            policy,
            file,
        } = self.setting()?;
        let engine = Arc::new(Engine::new(&engine)?);
        let bytes = read_processor(&file, engine.component_bytes_max()).await?;
        let queue = self.queue.as_deref().unwrap_or(QUEUE);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let mut dry_run = DryRun::new(engine);
        dry_run.show(self.recorder(&calls));
        dry_run
            .serve(queue, bytes, policy)
            .await
            .map_err(|error| queue_config::refused(&file, self.queue.as_deref(), &error))?;
        let options = r#"{"jobId":"dry-run"}"#;
        let added = dry_run.add(queue, &self.name, &self.data, options);
        let id = added.map_err(|error| anyhow!("job cannot be added: {error}"))?;
        let ended = dry_run.run_next().await;
        let Ended { outcome, cpu, .. } = ended.context("job was not run")?;
        let mut others = dry_run.jobs();
        others.retain(|job, _| job.id != id || job.queue.name() != queue);
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

    fn setting(&self) -> anyhow::Result<Setting> {
        let mut setting = match &self.queue {
            Some(queue) => self.setting_of(queue)?,
            None => Setting::without_config(self.file.clone().unwrap_or_default()),
        };
        let limits = &mut setting.policy.limits;
        limits.deadline_ms = self.deadline_ms.unwrap_or(limits.deadline_ms);
        Ok(setting)
    }

    fn setting_of(&self, queue: &str) -> anyhow::Result<Setting> {
        let QueueConfig { engine, spec } = queue_config::of(self.config.clone(), queue)?;
        let policy = spec.policy();
        let file = self.file.clone().or(spec.processor).with_context(|| {
            format!("queue `{queue}` has no processor in the config\nhint: name its file: `toril run FILE --queue {queue}`")
        })?;
        Ok(Setting {
            engine,
            policy,
            file,
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

/// What a job runs with.
struct Setting {
    engine: EngineOptions,
    policy: Policy,
    file: PathBuf,
}

impl Setting {
    /// Nothing is real, so all queues may be used.
    fn without_config(file: PathBuf) -> Self {
        let grants = Grants {
            queues: vec!["*".into()],
            ..Grants::default()
        };
        Setting {
            engine: EngineOptions {
                executions_max: 1,
                cache_dir: default_cache_dir(),
                ..EngineOptions::default()
            },
            policy: Policy {
                grants: Arc::new(grants),
                ..Policy::default()
            },
            file,
        }
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
