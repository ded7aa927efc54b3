//! `toril job`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use toril::queue::{JobRecord, JobState};

/// How many lines of a job's log are shown.
const LOG_LINES: usize = 100;

/// Shows a job: its state, fields and log.
#[derive(Args)]
pub(super) struct Job {
    /// The queue.
    queue: String,
    /// The job's id.
    id: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Job {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let queue = self.redis.queue(&self.queue).await?;
        let Some(record) = queue.job(&self.id).await? else {
            bail!("queue `{}` has no job `{}`", queue.keys().base(), self.id);
        };
        let state = queue.state(&self.id).await?;
        let logs = queue.logs(&self.id, LOG_LINES).await?;
        if self.json {
            super::print_line(self.as_json(state, &record, &logs));
        } else {
            self.describe(state, &record, &logs);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn describe(&self, state: JobState, record: &JobRecord, logs: &[String]) {
        super::print_line(format_args!("job {} of {} is {state}", self.id, self.queue));
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
        let mut job = json!({ "id": self.id, "queue": self.queue, "state": state, "logs": logs });
        for (name, value) in record {
            // Texts that are no JSON, such as a name, stay texts.
            let is_text = matches!(
                name.as_str(),
                "name" | "failedReason" | "parentKey" | "pb" | "deid" | "rjk"
            );
            let parsed = if is_text {
                None
            } else {
                serde_json::from_str(value).ok()
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
    let traces: Vec<String> = serde_json::from_str(stacktrace).unwrap_or_default();
    traces
        .iter()
        .map(|trace| format!("\n    {}", trace.replace('\n', "\n    ")))
        .collect()
}
