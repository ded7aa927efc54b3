//! `toril replay`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use toril::language::keep_tools;
use toril::sandbox::recording::{Recording, Rerun};
use toril::sandbox::regular_file::{self, LARGE_BYTES_MAX};
use toril::sandbox::{Digest, Engine};
use toril::watch::{ProcessorFiles, REST_OF_EDITORS, Watch};

use super::progress::during;
use super::queue_config::{self, built};
use super::recordings::Which;
use super::run::shown::{as_json, describe};
use super::{RedisArgs, json_argument};

/// Runs a recorded attempt again, on this machine alone.
///
/// The component gets the recorded answers: the command asks no server and no clock, and changes no job. It shows each call
/// and the outcome, and whether they are the recorded ones. The exit code is 0 if they are, and 1 if they are not.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril replay paint 17\n  toril replay paint 17 --with paint.ts --watch\n  \
                  toril replay --file 17.rec --with paint.wasm"
)]
pub(super) struct Replay {
    /// The queue.
    #[arg(required_unless_present = "file")]
    queue: Option<String>,
    /// The job's id.
    #[arg(required_unless_present = "file")]
    id: Option<String>,
    /// Which start of the job, as `toril recordings list` shows it [default: the newest that is recorded].
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Takes a recording that `toril recordings export` wrote.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["queue", "id", "attempt"])]
    file: Option<PathBuf>,
    /// Runs another component, a file that `toril build` takes, or a deployed version by its digest, and says where it
    /// differs.
    #[arg(long, value_name = "FILE|DIGEST")]
    with: Option<String>,
    /// After the first difference, continues as a dry run: calls change a queue in memory, and there is no server.
    #[arg(long)]
    go_on: bool,
    /// Runs the attempt again whenever the file changes.
    #[arg(long, requires = "with")]
    watch: bool,
    /// Data to use instead of the job's, JSON; `@FILE` reads a file.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Prints one JSON object: the calls, the outcome, and where it differs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Waits until what a processor is made of changes.
async fn change_of(file: &Path, watch: &mut Watch) {
    loop {
        let files = ProcessorFiles::of(file);
        watch.set(files.dirs().clone());
        if files.concern(&watch.changed().await) {
            return;
        }
    }
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let recording = self.recording().await?;
        let engine = Arc::new(Engine::new(&queue_config::one_component())?);
        if !self.watch {
            let component = self.component(&recording, &engine).await?;
            return self.once(&recording, &engine, component).await;
        }
        let file = PathBuf::from(self.with.as_deref().unwrap_or_default());
        ensure!(
            file.is_file(),
            "`--watch` needs a file in `--with`, and `{}` is not a file",
            file.display()
        );
        let mut watch = Watch::new(REST_OF_EDITORS)?;
        keep_tools();
        // Before it is read: what changes after that is noticed.
        watch.set(ProcessorFiles::of(&file).dirs().clone());
        loop {
            let again = async {
                let component = self.component(&recording, &engine).await?;
                self.once(&recording, &engine, component).await
            };
            if let Err(error) = again.await {
                super::fail(&error);
            }
            super::output::note(format_args!("waiting for changes of `{}`", file.display()));
            tokio::select! {
                () = change_of(&file, &mut watch) => {}
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            }
        }
    }

    async fn recording(&self) -> anyhow::Result<Recording> {
        let (what, bytes) = match (&self.file, &self.queue, &self.id) {
            (None, Some(queue), Some(id)) => {
                let which = Which {
                    queue: queue.clone(),
                    id: id.clone(),
                    attempt: self.attempt,
                    redis: self.redis.clone(),
                };
                let (attempt, bytes) = which.read().await?;
                (format!("attempt {attempt} of job `{id}`"), bytes)
            }
            (file, ..) => {
                let file = file.clone().unwrap_or_default();
                let name = format!("`{}`", file.display());
                let bytes = regular_file::read(&file, LARGE_BYTES_MAX)
                    .with_context(|| format!("failed to read {name}"))?;
                (name, bytes)
            }
        };
        let recording = Recording::decode(&bytes);
        let mut recording = recording.with_context(|| format!("{what} cannot be replayed"))?;
        if let Some(data) = &self.data {
            recording.job.data = json_argument::read("--data", data)?;
        }
        Ok(recording)
    }

    async fn component(
        &self,
        recording: &Recording,
        engine: &Arc<Engine>,
    ) -> anyhow::Result<Vec<u8>> {
        match &self.with {
            Some(with) if Path::new(with).exists() => built(Path::new(with), engine).await,
            Some(digest) => {
                let deployments = self.redis.deployments(&recording.job.queue).await?;
                let digest = deployments.resolve(digest).await?;
                let component = deployments.component(&digest).await?;
                component.with_context(|| format!("version {digest} is no longer in Redis"))
            }
            None => self.recorded_component(recording, engine).await,
        }
    }

    /// The component that ran: from Redis, or the one that the config names, if it is the same.
    async fn recorded_component(
        &self,
        recording: &Recording,
        engine: &Arc<Engine>,
    ) -> anyhow::Result<Vec<u8>> {
        let queue = &*recording.job.queue;
        if self.file.is_none() {
            let deployments = self.redis.deployments(queue).await?;
            if let Some(component) = deployments.component(&recording.component).await? {
                return Ok(component);
            }
        }
        let config = queue_config::of(self.redis.config.clone(), queue);
        if let Some(file) = config.ok().and_then(|config| config.spec.processor) {
            let component = built(&file, engine).await?;
            if *Digest::of(&component) == *recording.component {
                return Ok(component);
            }
        }
        anyhow::bail!(
            "component {} is not deployed, and the config does not name it for queue `{queue}`\nhint: name it, or another one, \
             with `--with`",
            recording.component
        )
    }

    async fn once(
        &self,
        recording: &Recording,
        engine: &Arc<Engine>,
        component: Vec<u8>,
    ) -> anyhow::Result<ExitCode> {
        let env = queue_config::env_of(self.redis.config.clone(), &recording.job.queue);
        let policy = recording.policy(&env);
        let processor = during("compiling", engine.load(component, &policy)).await;
        let processor =
            processor.map_err(|error| anyhow::anyhow!("component was refused: {error}"))?;
        let rerun = recording.clone();
        let rerun = rerun
            .rerun_and_go_on(engine, &processor, &policy, self.go_on)
            .await;
        match self.json {
            true => super::print_json(&rerun_json(recording, &rerun, self.go_on)),
            false => show(recording, &rerun, self.go_on),
        }
        Ok(ExitCode::from(u8::from(!rerun.is_same(recording))))
    }
}

fn show(recording: &Recording, rerun: &Rerun, goes_on: bool) {
    let (before, after) = rerun
        .calls
        .split_at(rerun.departed_after.unwrap_or(rerun.calls.len()));
    let print = |call: &String| super::print_line(format_args!("  {call}"));
    before.iter().for_each(print);
    if let Some(departure) = &rerun.departure {
        super::print_text(format_args!("differs: {departure}"));
        if goes_on {
            after.iter().for_each(print);
            super::print_text(describe(&rerun.outcome));
        }
        return;
    }
    super::print_text(describe(&rerun.outcome));
    if let Some(missing) = &rerun.missing {
        super::print_line(format_args!(
            "differs: it ends where the recorded attempt continued with {missing}"
        ));
    } else if rerun.outcome == recording.outcome {
        super::print_line("as recorded");
    } else {
        super::print_text(format_args!(
            "differs: the recorded attempt {}",
            describe(&recording.outcome)
        ));
    }
    for what in &recording.learned.unrecorded {
        super::output::note(format_args!("note: {what} is in no recording"));
    }
}

fn rerun_json(recording: &Recording, rerun: &Rerun, goes_on: bool) -> serde_json::Value {
    json!({
        "calls": rerun.calls,
        "outcome": (goes_on || rerun.departure.is_none()).then(|| as_json(&rerun.outcome)),
        "recordedOutcome": as_json(&recording.outcome),
        "departure": rerun.departure.as_ref().map(ToString::to_string),
        "missing": rerun.missing,
        "same": rerun.is_same(recording),
        "cpuMs": rerun.cpu.as_secs_f64() * 1000.0,
    })
}
