//! `toril job`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use toril::queue::{JobRecord, JobState, Queue, QueueName, json};
use toril::served_queue::cancel::{Cancellation, Cancelled, cancel};
use toril::served_queue::deployment::CancelRequest;

/// How many lines of a job's log are shown.
const LOG_LINES: usize = 100;
/// A host is to stop a job within a second, and gives it its grace time.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Shows a job, or changes where it stands.
///
/// `toril job QUEUE ID` shows its state, fields and log.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Job {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The queue.
    #[arg(required = true)]
    queue: Option<String>,
    /// The job's id.
    #[arg(required = true)]
    id: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: super::RedisArgs,
}

#[derive(Subcommand)]
enum Verb {
    Show(Show),
    /// Prints the state of a job.
    State(Which),
    /// Puts a failed job back in line.
    Retry(Retry),
    /// Makes a delayed job wait no longer.
    Promote(Which),
    Cancel(Cancel),
    /// Removes a job and its children. When one of them is being worked on, nothing is removed.
    Remove(Remove),
}

/// Shows a job: its state, fields and log.
#[derive(Args)]
struct Show {
    #[command(flatten)]
    which: Which,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Retry {
    #[command(flatten)]
    which: Which,
    /// Retries a completed job instead.
    #[arg(long)]
    completed: bool,
}

/// Keeps a job from running, or from running on, on whichever host it is.
///
/// A job that waits fails. One that runs is asked to stop: what its processor returns within its grace time counts as
/// ever, so a failure of its own may be tried again; after that it fails for good. Exits with 1 where there is nothing
/// to cancel, or where no host stopped it.
#[derive(Args)]
struct Cancel {
    #[command(flatten)]
    which: Which,
    /// Why, for people: part of `failedReason`, and what the processor can read.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Cancels the children that it waits for, and theirs, too.
    #[arg(long)]
    children: bool,
}

#[derive(Args)]
struct Remove {
    #[command(flatten)]
    which: Which,
    /// Keeps its children.
    #[arg(long)]
    keep_children: bool,
}

#[derive(Args)]
struct Which {
    /// The queue.
    queue: String,
    /// The job's id.
    id: String,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Job {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Job {
            verb,
            queue,
            id,
            json,
            redis,
        } = self;
        match (verb, queue, id) {
            (Some(verb), ..) => return verb.run().await,
            (None, Some(queue), Some(id)) => {
                Show {
                    which: Which { queue, id, redis },
                    json,
                }
                .run()
                .await?;
            }
            // The parser has asked for both.
            (None, ..) => bail!("which job?\nhint: `toril job QUEUE ID`"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Verb {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Show(show) => show.run().await?,
            Verb::Cancel(cancel) => return cancel.run().await,
            Verb::State(which) => super::print_line(which.queue().await?.state(&which.id).await?),
            Verb::Retry(Retry { which, completed }) => {
                which.queue().await?.retry(&which.id, completed).await?
            }
            Verb::Promote(which) => which.queue().await?.promote(&which.id).await?,
            Verb::Remove(Remove {
                which,
                keep_children,
            }) => {
                which
                    .queue()
                    .await?
                    .remove(&which.id, !keep_children)
                    .await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Cancel {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.which.queue().await?;
        let nowhere = |_: &QueueName, _: &CancelRequest| false;
        let (id, reason) = (&self.which.id, &self.reason);
        let cancelled = cancel(&queue, id, reason, self.children, nowhere).await?;
        let mut all = true;
        for (at, job) in cancelled.iter().enumerate() {
            let queue = queue.sibling(&QueueName::new(&job.queue)?);
            let line = match outcome(&queue, job).await? {
                Ok(line) => line,
                Err(line) => {
                    // A child that has ended meanwhile is none to cancel.
                    all &= at > 0 && job.outcome == Cancellation::Ended;
                    line
                }
            };
            super::print_line(format_args!("{}:{}: {line}", job.queue, job.id));
        }
        Ok(ExitCode::from(u8::from(!all)))
    }
}

/// What became of a job, once its host has stopped it. The error says why it was not cancelled.
async fn outcome(queue: &Queue, job: &Cancelled) -> anyhow::Result<Result<String, String>> {
    let state = match job.outcome {
        Cancellation::Failed => return Ok(Ok(format!("was {}, has failed", job.state))),
        Cancellation::Ended if job.state == JobState::Unknown => {
            return Ok(Err("there is no such job".to_owned()));
        }
        Cancellation::Ended => return Ok(Err(format!("is {} already", job.state))),
        Cancellation::Asked => stopped(queue, job).await?,
    };
    Ok(match state {
        Some(state) => Ok(format!("was running, is {state}")),
        None => {
            Err("still runs: its worker is not Toril's, or its grace time is longer".to_owned())
        }
    })
}

/// Waits until a running job is stopped, and returns the state that it is in then.
async fn stopped(queue: &Queue, job: &Cancelled) -> anyhow::Result<Option<JobState>> {
    let token = job.token.as_deref().unwrap_or_default();
    let end = Instant::now() + STOPPED_WITHIN;
    while queue.is_locked_by(&job.id, token).await? {
        if Instant::now() >= end {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(Some(queue.state(&job.id).await?))
}

impl Which {
    async fn queue(&self) -> anyhow::Result<Queue> {
        self.redis.queue(&self.queue).await
    }
}

impl Show {
    async fn run(self) -> anyhow::Result<()> {
        let queue = self.which.queue().await?;
        let Some(record) = queue.job(&self.which.id).await? else {
            bail!(
                "queue `{}` has no job `{}`",
                queue.keys().base(),
                self.which.id
            );
        };
        let state = queue.state(&self.which.id).await?;
        let logs = queue.logs(&self.which.id, LOG_LINES).await?;
        if self.json {
            super::print_json(&self.as_json(state, &record, &logs));
        } else {
            self.describe(state, &record, &logs);
        }
        Ok(())
    }

    fn describe(&self, state: JobState, record: &JobRecord, logs: &[String]) {
        super::print_line(format_args!(
            "job {} of {} is {state}",
            self.which.id, self.which.queue
        ));
        for (name, value) in record {
            let value = match name.as_str() {
                "stacktrace" => stack_lines(value),
                _ => value.clone(),
            };
            super::print_line(format_args!("  {:<13} {value}", public_name(name)));
        }
        if !logs.is_empty() {
            super::print_line("  logs");
            for line in logs {
                super::print_line(format_args!("    {line}"));
            }
        }
    }

    fn as_json(&self, state: JobState, record: &JobRecord, logs: &[String]) -> Value {
        let mut job =
            json!({ "id": self.which.id, "queue": self.which.queue, "state": state, "logs": logs });
        for (name, value) in record {
            // Texts that are no JSON, such as a name, stay texts.
            let is_text = matches!(
                name.as_str(),
                "name" | "failedReason" | "parentKey" | "pb" | "deid" | "rjk"
            );
            let parsed = if is_text {
                None
            } else {
                json::read(value).ok()
            };
            job[public_name(name)] = parsed.unwrap_or_else(|| Value::String(value.clone()));
        }
        job
    }
}

/// The names of BullMQ's `Job` for the short ones of its hash.
fn public_name(field: &str) -> &str {
    match field {
        "atm" => "attemptsMade",
        "ats" => "attemptsStarted",
        "stc" => "stalledCounter",
        "pb" => "processedBy",
        "deid" => "deduplicationId",
        "rjk" => "repeatJobKey",
        "defa" => "deferredFailure",
        other => other,
    }
}

fn stack_lines(stacktrace: &str) -> String {
    let traces: Vec<String> = json::read(stacktrace).unwrap_or_default();
    traces
        .iter()
        .map(|trace| format!("\n    {}", trace.replace('\n', "\n    ")))
        .collect()
}
