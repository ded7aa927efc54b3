//! The job that is run, and the children that it had.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toril::queue::{Queue, json as text};
use toril::sandbox::Outcome;
use toril::sandbox::backend::reason;
use toril::sandbox::dry_run::DryRun;
use toril::sandbox::regular_file::{self, LARGE_BYTES_MAX};

/// The prefix of a dry run's queues.
const PREFIX: &str = "bull";
const ID: &str = "dry-run";
/// Options that say how a job runs; others say when, and where it goes.
const OPTIONS: [&str; 5] = [
    "attempts",
    "backoff",
    "timeout",
    "priority",
    "stackTraceLimit",
];

/// What is known of a job before its attempt.
pub(super) struct Start {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) data: String,
    pub(super) options: Map<String, Value>,
    pub(super) attempts_made: u32,
    pub(super) failed_reason: Option<String>,
    pub(super) progress: Option<String>,
}

/// A child that has ended, or has not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Child {
    queue: String,
    #[serde(default = "child_name")]
    name: String,
    id: Option<String>,
    #[serde(default)]
    data: Value,
    value: Option<Value>,
    failed_reason: Option<String>,
}

fn child_name() -> String {
    "child".to_owned()
}

impl Start {
    pub(super) fn new(name: &str, data: String) -> Self {
        Start {
            id: ID.to_owned(),
            name: name.to_owned(),
            data,
            options: Map::new(),
            attempts_made: 0,
            failed_reason: None,
            progress: None,
        }
    }

    /// A copy of a job in Redis, which is only read.
    pub(super) async fn copied(queue: &Queue, id: &str) -> anyhow::Result<Self> {
        let record = queue.job(id).await?;
        let mut record =
            record.with_context(|| format!("queue `{}` has no job `{id}`", queue.keys().base()))?;
        let stored: Map<String, Value> = match record.remove("opts") {
            Some(options) => text::read(&options).unwrap_or_default(),
            None => Map::new(),
        };
        let known = |(key, _): &(String, Value)| OPTIONS.contains(&key.as_str());
        let made = record
            .remove("atm")
            .or_else(|| record.remove("attemptsMade"));
        Ok(Start {
            id: id.to_owned(),
            name: record.remove("name").unwrap_or_default(),
            options: stored.into_iter().filter(known).collect(),
            attempts_made: made.and_then(|made| made.parse().ok()).unwrap_or(0),
            data: record.remove("data").unwrap_or_else(|| "{}".to_owned()),
            failed_reason: record.remove("failedReason"),
            progress: record.remove("progress"),
        })
    }

    /// Adds the job to a dry run, and the children of a file to it.
    pub(super) fn add(
        self,
        dry_run: &DryRun,
        queue: &str,
        children: Option<&Path>,
    ) -> anyhow::Result<String> {
        let mut options = self.options;
        let number = self.id.parse::<u64>().ok();
        match number.filter(|number| *number > 0 && number.to_string() == self.id) {
            // No producer may give such an id: queues make them.
            Some(number) => dry_run.set_ids_made(queue, number - 1),
            None => {
                options.insert("jobId".into(), self.id.into());
            }
        }
        let options = Value::Object(options).to_string();
        let id = dry_run.add(queue, &self.name, &self.data, &options);
        let id = id.map_err(|error| anyhow!("job cannot be added: {}", reason(error)))?;
        if let Some(file) = children {
            let added = add_children(dry_run, queue, &id, file);
            added.with_context(|| format!("failed to add the children in `{}`", file.display()))?;
        }
        dry_run.set_attempts(
            queue,
            &id,
            self.attempts_made,
            self.failed_reason.as_deref(),
        );
        if let Some(progress) = &self.progress {
            dry_run.set_progress(queue, &id, progress);
        }
        Ok(id)
    }
}

fn add_children(dry_run: &DryRun, queue: &str, parent: &str, file: &Path) -> anyhow::Result<()> {
    let text = regular_file::read_text(file, LARGE_BYTES_MAX)?;
    let children: Vec<Child> = serde_json::from_str(&text)
        .context("it is not an array of children: `{ \"queue\", \"name\", \"id\", \"data\", \"value\" or \"failedReason\" }`")?;
    for child in children {
        let mut options =
            json!({ "parent": { "id": parent, "queue": format!("{PREFIX}:{queue}") } });
        if let Some(id) = &child.id {
            options["jobId"] = id.as_str().into();
        }
        let data = child.data.to_string();
        let id = dry_run.add(&child.queue, &child.name, &data, &options.to_string());
        let id = id.map_err(|error| {
            anyhow!("child `{}` cannot be added: {}", child.name, reason(error))
        })?;
        let outcome = match (child.value, child.failed_reason) {
            (Some(_), Some(_)) => {
                bail!("child `{}` has both `value` and `failedReason`", child.name)
            }
            (Some(value), None) => Outcome::Completed(value.to_string()),
            (None, Some(reason)) => Outcome::unrecoverable(reason),
            (None, None) => continue,
        };
        dry_run.end(&child.queue, &id, outcome);
    }
    Ok(())
}
