//! `toril run`.

mod job;
mod setting;
pub(super) mod shown;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use parking_lot::Mutex;
use serde_json::json;
use toril::processor_file::read_processor;
use toril::sandbox::dry_run::{DryRun, DryRunAttempt};
use toril::sandbox::{Engine, Outcome};

use self::job::Start;
use self::setting::Setting;
use self::shown::{added_as_json, as_json, describe};
use super::progress::during;
use super::{RedisArgs, json_argument, queue_config};

/// The queue of the job, where none is named.
const QUEUE: &str = "dry-run";

/// Runs a processor on one job without Redis, and shows each call and the outcome.
///
/// With `--queue`, it runs with the grants, limits and config values that toril.toml gives that queue; HTTP requests and
/// directories are real then. With `--job`, it runs on a copy of a job in Redis; the job itself does not change. The exit code
/// is 0 if the job completed or moved itself, and 1 if it failed.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril run paint.wasm --name walls --data '{\"price\":100}'\n  toril run --queue paint --data '{\"walls\":4}'\n  toril run paint.ts --job paint/17 --attempt 2"
)]
pub(super) struct Run {
    /// The component, or a file that `toril build` takes [default: the processor of `--queue`].
    ///
    /// If neither is given, the command runs the only queue of the config, or else the only processor in the directory.
    file: Option<PathBuf>,
    /// Runs it as a job of this queue, with the queue's settings in the config.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The job's data, JSON; `@FILE` reads a file, and `-` standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// The job's name.
    #[arg(long, default_value = "job", value_name = "NAME")]
    name: String,
    /// The number of the attempt; the first one is 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// The job's children: a JSON array of objects with `queue`, `name`, `id`, `data`, and `value` or `failedReason` where a
    /// child has ended.
    #[arg(long, value_name = "FILE")]
    children: Option<PathBuf>,
    /// Runs it on a copy of this job: name, data, options, attempts and progress. Its children are not copied.
    #[arg(long, value_name = "QUEUE/ID", conflicts_with_all = ["data", "name"])]
    job: Option<String>,
    /// How long the processor may take, in milliseconds [default: the queue's, or 300000].
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
    /// Prints one JSON object: the calls and the outcome.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Run {
    pub(super) async fn run(mut self) -> anyhow::Result<ExitCode> {
        if self.file.is_none() && self.queue.is_none() {
            (self.queue, self.file) = match self.copied()? {
                Some((queue, _)) => (Some(queue.to_owned()), None),
                None => queue_config::only(self.redis.config.as_deref())?,
            };
        }
        let start = self.start().await?;
        let Setting {
            engine,
            policy,
            file,
        } = self.setting()?;
        let engine = Arc::new(Engine::new(&engine)?);
        let name = file.display();
        let built = read_processor(&file, engine.component_bytes_max());
        let bytes = during(format_args!("building `{name}`"), built).await?;
        let queue = self.queue.as_deref().unwrap_or(QUEUE);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let mut dry_run = DryRun::new(engine);
        dry_run.show(self.recorder(&calls));
        let served = dry_run.serve(queue, bytes, policy);
        let served = during(format_args!("compiling `{name}`"), served).await;
        served.map_err(|error| queue_config::refused(&file, self.queue.as_deref(), &error))?;
        let id = start.add(&dry_run, queue, self.children.as_deref())?;
        let before = dry_run.jobs();
        let ended = dry_run.run_job(queue, &id).await;
        let DryRunAttempt { outcome, cpu, .. } = ended.context("job was not run")?;
        let mut added = dry_run.jobs();
        added.retain(|job, _| !before.contains_key(job));
        if self.json {
            let calls = calls.lock().clone();
            let added: Vec<_> = added
                .iter()
                .map(|(job, stored)| added_as_json(job, stored))
                .collect();
            super::print_json(
                &json!({ "calls": calls, "added": added, "outcome": as_json(&outcome), "cpuMs": cpu.as_secs_f64() * 1000.0 }),
            );
        } else {
            super::print_text(describe(&outcome));
            for (job, stored) in &added {
                let state = stored.state.name();
                super::print_line(format_args!("added {} [{state}] {job}", stored.name));
            }
        }
        let failed = matches!(outcome, Outcome::Failed { .. } | Outcome::HostFailed(_));
        Ok(ExitCode::from(u8::from(failed)))
    }

    /// The queue and the id of the job that is copied, if one is.
    fn copied(&self) -> anyhow::Result<Option<(&str, &str)>> {
        let Some(job) = &self.job else {
            return Ok(None);
        };
        let (queue, id) = job.split_once('/').unwrap_or_default();
        ensure!(
            !id.is_empty(),
            "`--job` is QUEUE/ID, such as `paint/17`, and not `{job}`"
        );
        Ok(Some((queue, id)))
    }

    /// The job as it is before its attempt.
    async fn start(&self) -> anyhow::Result<Start> {
        let mut start = match self.copied()? {
            None => Start::new(&self.name, json_argument::read("--data", &self.data)?),
            Some((queue, id)) => Start::copied(&self.redis.queue(queue).await?, id).await?,
        };
        if let Some(attempt) = self.attempt {
            start.attempts_made = attempt - 1;
        }
        Ok(start)
    }

    fn setting(&self) -> anyhow::Result<Setting> {
        let file = self.file.clone();
        let mut setting = match &self.queue {
            Some(queue) => Setting::of_queue(queue, self.redis.config.clone(), file)?,
            None => Setting::without_config(file.unwrap_or_default()),
        };
        let limits = &mut setting.policy.limits;
        limits.deadline_ms = self.deadline_ms.unwrap_or(limits.deadline_ms);
        Ok(setting)
    }

    /// Shows each call as it is made, or keeps it for the JSON.
    fn recorder(&self, calls: &Arc<Mutex<Vec<String>>>) -> Box<dyn FnMut(String) + Send> {
        if !self.json {
            return Box::new(|call| super::print_line(format_args!("  {call}")));
        }
        let calls = Arc::clone(calls);
        Box::new(move |call| calls.lock().push(call))
    }
}
