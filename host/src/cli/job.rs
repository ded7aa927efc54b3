//! `toril job`.

use std::fmt;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use toril::queue::{
    ErrorCode, JobRecord, JobState, Queue, QueueError, QueueName, STEP_PREFIX, json,
};
use toril::sandbox::{Kept, StepRecord};
use toril::served_queue::cancel::{Cancelled, cancel, wait_until_stopped};
use toril::served_queue::deployment::CancelRequest;

/// The length of the longest names of fields, such as `attemptsStarted`.
const FIELD_NAME_COLUMNS: usize = 15;
/// How many lines of a job's log are shown.
const LOG_LINES: usize = 100;

/// Shows a job, or changes its state.
///
/// `toril job QUEUE ID` shows its state, fields, steps and log.
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
    /// Shows only the job's steps.
    #[arg(long)]
    steps: bool,
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
    /// Retries a failed job: it waits again.
    Retry(Retry),
    /// Promotes a delayed job: it can run at once.
    Promote(Which),
    Cancel(Cancel),
    /// Removes a job and its children. If one of them is active, the command removes nothing.
    Remove(Remove),
}

/// Shows a job: its state, fields, steps and log.
#[derive(Args)]
struct Show {
    #[command(flatten)]
    which: Which,
    /// Shows only the job's steps.
    #[arg(long)]
    steps: bool,
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
    /// Runs this step and all later ones again: the job drops their stored results.
    #[arg(long, value_name = "NAME")]
    from_step: Option<String>,
}

/// Cancels a job that waits or runs, on any host.
///
/// A job that waits fails. A job that runs is asked to stop: if its processor returns within the grace time, that result
/// counts, so a failure of its own may be retried. After the grace time the job fails for good. If the host has died, the job
/// fails once its lock has expired. The exit code is 1 if there is nothing to cancel, if the job ended or failed by itself, or
/// if no host stopped it.
#[derive(Args)]
struct Cancel {
    #[command(flatten)]
    which: Which,
    /// The reason, for people: it becomes part of `failedReason`, and the processor can read it.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Also cancels the children that the job waits for, and their children. Includes those that a running job adds before it
    /// stops.
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
            steps,
            json,
            redis,
        } = self;
        match (verb, queue, id) {
            (Some(verb), ..) => return verb.run().await,
            (None, Some(queue), Some(id)) => {
                Show {
                    which: Which { queue, id, redis },
                    steps,
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
            Verb::Retry(retry) => retry.run().await?,
            Verb::Promote(which) => {
                let queue = which.queue().await?;
                let promoted = queue.promote(&which.id).await;
                which.explain(&queue, promoted).await?;
            }
            Verb::Remove(Remove {
                which,
                keep_children,
            }) => {
                let queue = which.queue().await?;
                let removed = queue.remove(&which.id, !keep_children).await;
                which.explain(&queue, removed).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Retry {
    async fn run(self) -> anyhow::Result<()> {
        let (queue, id) = (self.which.queue().await?, &self.which.id);
        if let Some(step) = &self.from_step {
            let dropped = queue.drop_steps(id, self.completed, step).await;
            let dropped = self.which.explain(&queue, dropped).await?;
            super::output::note(format_args!("steps dropped: {dropped}"));
        }
        let retried = queue.retry(id, self.completed).await;
        self.which.explain(&queue, retried).await
    }
}

impl Cancel {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.which.queue().await?;
        let nowhere = |_: &QueueName, _: &CancelRequest| false;
        let (id, reason) = (&self.which.id, &self.reason);
        let print =
            |job: &Cancelled| super::print_line(format_args!("{}:{}: {job}", job.queue, job.id));
        let print_end = |job: &Cancelled| {
            if !job.is_asked() {
                print(job);
            }
        };
        let mut cancelled = cancel(&queue, id, reason, self.children, nowhere, print_end).await?;
        let (found, mut all, mut at) = (cancelled.len(), true, 0);
        while at < cancelled.len() {
            let is_printed = at < found && !cancelled[at].is_asked();
            wait_until_stopped(&mut cancelled, at, self.children).await?;
            let job = &cancelled[at];
            if !is_printed {
                print(job);
            }
            // A child that has ended meanwhile is none to cancel.
            all &= job.is_cancelled() || at > 0 && job.has_ended();
            at += 1;
        }
        Ok(ExitCode::from(u8::from(!all)))
    }
}

impl Which {
    async fn queue(&self) -> anyhow::Result<Queue> {
        self.redis.queue(&self.queue).await
    }

    /// Refusals in BullMQ's words, which programs compare, name its functions. A person is told what the job is.
    async fn explain<T>(&self, queue: &Queue, done: Result<T, QueueError>) -> anyhow::Result<T> {
        match done {
            Err(QueueError::NotInState { state, .. }) => match queue.state(&self.id).await? {
                JobState::Unknown => Err(self.is_missing(queue)),
                other => bail!(
                    "job `{}` of `{}` is {other}, not {state}",
                    self.id,
                    self.queue
                ),
            },
            Err(QueueError::Locked(_)) => bail!(
                "job `{}` of `{}`, or a child of it, is active",
                self.id,
                self.queue
            ),
            Err(QueueError::Job {
                code: ErrorCode::JobNotExist,
                ..
            }) => Err(self.is_missing(queue)),
            done => Ok(done?),
        }
    }

    fn is_missing(&self, queue: &Queue) -> anyhow::Error {
        anyhow!("queue `{}` has no job `{}`", queue.keys().base(), self.id)
    }
}

impl Show {
    async fn run(self) -> anyhow::Result<()> {
        let queue = self.which.queue().await?;
        let Some(mut record) = queue.job(&self.which.id).await? else {
            return Err(self.which.is_missing(&queue));
        };
        let steps = Step::take_from(&mut record);
        match (self.steps, self.json) {
            (true, true) => super::print_json(&steps_json(&steps)),
            (true, false) => steps.iter().for_each(super::print_line),
            (false, json) => {
                let state = queue.state(&self.which.id).await?;
                let logs = queue.logs(&self.which.id, LOG_LINES).await?;
                if json {
                    super::print_json(&self.as_json(state, &record, &steps, &logs));
                } else {
                    self.describe(state, &record, &steps, &logs);
                }
            }
        }
        Ok(())
    }

    fn describe(&self, state: JobState, record: &JobRecord, steps: &[Step], logs: &[String]) {
        super::print_line(format_args!(
            "job {} of {} is {state}",
            self.which.id, self.which.queue
        ));
        for (name, value) in record {
            let field = format!("  {:<FIELD_NAME_COLUMNS$}", public_name(name));
            match name.as_str() {
                "stacktrace" => super::print_text(field + " \n" + &stacks(value)),
                "failedReason" => super::print_text(field + " " + value),
                _ => super::print_line(field + " " + value),
            }
        }
        for (what, lines) in [
            ("steps", steps.iter().map(Step::to_string).collect()),
            ("logs", logs.to_vec()),
        ] {
            if !lines.is_empty() {
                super::print_line(format_args!("  {what}"));
            }
            for line in lines {
                super::print_text(format_args!("    {line}"));
            }
        }
    }

    fn as_json(
        &self,
        state: JobState,
        record: &JobRecord,
        steps: &[Step],
        logs: &[String],
    ) -> Value {
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
        if !steps.is_empty() {
            job["steps"] = steps_json(steps);
        }
        job
    }
}

/// What a job keeps of one step.
struct Step {
    name: String,
    /// As it is stored.
    json: String,
    /// None: it cannot be read.
    record: Option<StepRecord>,
}

impl Step {
    /// Takes the steps out of a job's fields, in the order in which they were first noted.
    fn take_from(fields: &mut JobRecord) -> Vec<Step> {
        let is_step = |name: &String| name.starts_with(STEP_PREFIX);
        let taken = fields.extract_if(.., |name, _| is_step(name));
        let mut steps: Vec<Step> = taken
            .map(|(field, json)| Step {
                name: field[STEP_PREFIX.len()..].to_owned(),
                record: serde_json::from_str(&json).ok(),
                json,
            })
            .collect();
        steps.sort_by_key(|step| step.record.as_ref().map(|record| record.order));
        steps
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { name, json, record } = self;
        match record.as_ref().map(|record| &record.kept) {
            Some(Kept::Value(value)) => write!(f, "{name}: {}", value.get()),
            Some(Kept::Until(until)) => write!(f, "{name}: sleeps until {until}"),
            Some(Kept::Child(child)) => write!(f, "{name}: called {child}"),
            Some(Kept::Cursor(place)) => write!(f, "{name}: is at {}", place.get()),
            None => write!(f, "{name}: cannot be read: {json}"),
        }
    }
}

fn steps_json(steps: &[Step]) -> Value {
    let step = |step: &Step| {
        let stored = json::read(&step.json).ok().filter(Value::is_object);
        let mut shown = stored.unwrap_or_else(|| json!({ "unread": step.json }));
        shown["name"] = step.name.clone().into();
        shown
    };
    steps.iter().map(step).collect()
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

fn stacks(stacktrace: &str) -> String {
    let traces: Vec<String> = json::read(stacktrace).unwrap_or_default();
    traces.join("\n")
}
