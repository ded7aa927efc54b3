//! `toril recordings`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use toril::queue::{Queue, RecordingEntry};

use super::RedisArgs;
use super::output::quoted;

/// All recordings of a queue, when one of them is looked for.
const ALL: usize = 100_000;

/// Lists, exports and deletes the recordings of attempts.
///
/// A host records the attempts that `record` of `[queues.QUEUE]` names. A recording holds the job's data and every
/// answer that its processor got from outside. `toril replay` runs it again.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril recordings list paint\n  toril recordings export paint 17 --out 17.rec\n  \
                  toril recordings delete paint 17\n  toril recordings delete paint --all"
)]
pub(super) struct Recordings {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
    Export(Export),
    Delete(Delete),
}

/// Lists the recordings of a queue, newest first.
#[derive(Args)]
struct List {
    /// The queue.
    queue: String,
    /// Lists at most N.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Writes a recording to a file, for `toril replay --file`.
#[derive(Args)]
struct Export {
    #[command(flatten)]
    which: Which,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Deletes recordings: those of a job, one of them, or all of the queue.
#[derive(Args)]
struct Delete {
    /// The queue.
    queue: String,
    /// The job's id.
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// Only this attempt of it.
    #[arg(long, value_name = "N", requires = "id")]
    attempt: Option<u32>,
    /// All recordings of the queue.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

/// A recording.
#[derive(Args)]
pub(super) struct Which {
    /// The queue.
    pub(super) queue: String,
    /// The job's id.
    pub(super) id: String,
    /// Which start of the job, as `toril recordings list` shows it [default: the newest that is recorded].
    #[arg(long, value_name = "N")]
    pub(super) attempt: Option<u32>,
    #[command(flatten)]
    pub(super) redis: RedisArgs,
}

impl Recordings {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::List(list) => list.run().await?,
            Verb::Export(export) => export.run().await?,
            Verb::Delete(delete) => return delete.run().await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let queue = self.redis.queue(&self.queue).await?;
        let entries = queue.recordings(self.limit).await?;
        if self.json {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| {
                    json!({ "id": entry.id, "attempt": entry.attempt, "atMs": entry.at_ms, "bytes": entry.bytes,
                            "about": entry.about })
                })
                .collect();
            super::print_json(&entries);
            return Ok(());
        }
        for RecordingEntry {
            id,
            attempt,
            bytes,
            about,
            ..
        } in &entries
        {
            super::print_line(format_args!(
                "job {id}, attempt {attempt}, {bytes} bytes: {about}"
            ));
        }
        if entries.is_empty() {
            super::output::note(format_args!(
                "there are no recordings of queue `{}`",
                self.queue
            ));
            super::output::note(
                "hint: `record = \"failed\"` in the queue's section records the attempts that fail",
            );
        }
        Ok(())
    }
}

impl Which {
    /// Reads it: which attempt, and the recording.
    pub(super) async fn read(&self) -> anyhow::Result<(u32, Vec<u8>)> {
        let queue = self.redis.queue(&self.queue).await?;
        let attempt = match self.attempt {
            Some(attempt) => attempt,
            None => newest(&queue, &self.id).await?,
        };
        let recording = queue.recording(&self.id, attempt).await?;
        let recording = recording.with_context(|| {
            format!(
                "attempt {attempt} of job `{}` is not recorded\nhint: `toril recordings list {}` shows those that are",
                self.id,
                quoted(&self.queue)
            )
        })?;
        Ok((attempt, recording))
    }
}

/// The newest recorded attempt of a job.
async fn newest(queue: &Queue, id: &str) -> anyhow::Result<u32> {
    let entries = queue.recordings(ALL).await?;
    let newest = entries.iter().find(|entry| entry.id == id);
    let Some(newest) = newest else {
        let name = queue.keys().name();
        bail!(
            "no attempt of job `{id}` of queue `{name}` is recorded\nhint: `record = \"failed\"` in the queue's section \
             records the attempts that fail"
        );
    };
    Ok(newest.attempt)
}

impl Export {
    async fn run(self) -> anyhow::Result<()> {
        let (attempt, recording) = self.which.read().await?;
        let file = self.out.display();
        std::fs::write(&self.out, &recording)
            .with_context(|| format!("failed to write `{file}`"))?;
        super::output::note(format_args!(
            "attempt {attempt} of job {} is in {file}",
            self.which.id
        ));
        Ok(())
    }
}

impl Delete {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.redis.queue(&self.queue).await?;
        let mut entries = queue.recordings(ALL).await?;
        entries.retain(|entry| {
            let is_job = self.id.as_ref().is_none_or(|id| entry.id == *id);
            is_job && self.attempt.is_none_or(|attempt| entry.attempt == attempt)
        });
        let deleted = queue.drop_recordings(&entries).await?;
        ensure!(
            deleted > 0 || self.all,
            "there is no such recording\nhint: `toril recordings list {}` shows what there is",
            quoted(&self.queue)
        );
        super::print_line(format_args!("recordings deleted: {deleted}"));
        Ok(ExitCode::SUCCESS)
    }
}
