//! A job as BullMQ's `job.toJSON()` shows it, as far as a worker knows it.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::job::Job;

/// Shows a job. Its values are not read but copied; what is no JSON is null.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobJson<'a> {
    /// The job's id.
    pub id: &'a str,
    /// The job's name.
    pub name: &'a str,
    /// The data.
    pub data: Option<&'a RawValue>,
    /// The options as stored.
    pub opts: Option<&'a RawValue>,
    /// The progress.
    pub progress: Option<&'a RawValue>,
    /// When it was added, in ms since the epoch.
    pub timestamp: u64,
    /// How long it is delayed, in ms.
    pub delay: u64,
    /// 0 is none.
    pub priority: u32,
    /// Attempts that ended in completion or failure.
    pub attempts_made: u32,
    /// Times it was picked up.
    pub attempts_started: u32,
    /// Times it was given back because its worker had died.
    pub stalled_counter: u32,
    /// When it was picked up, in ms since the epoch.
    pub processed_on: u64,
    /// When it completed or failed for good, in ms since the epoch.
    pub finished_on: Option<u64>,
    /// What it returned.
    pub returnvalue: Option<&'a RawValue>,
    /// Why its last attempt failed.
    pub failed_reason: Option<&'a str>,
    /// The stack traces of its failed attempts.
    pub stacktrace: Option<&'a RawValue>,
    /// The parent's key.
    pub parent_key: Option<&'a str>,
    /// The parent's record.
    pub parent: Option<&'a RawValue>,
    /// The id of its scheduler.
    pub repeat_job_key: Option<&'a str>,
}

impl<'a> JobJson<'a> {
    /// A job as it was when it was taken.
    pub fn of(job: &'a Job) -> Self {
        let raw = |text: &'a str| raw_json(text.as_bytes());
        JobJson {
            id: &job.id,
            name: &job.name,
            // As BullMQ reads what it stores for `undefined`.
            data: raw(match &*job.data {
                "" => "{}",
                data => data,
            }),
            opts: raw(&job.opts_json),
            progress: raw(&job.progress),
            timestamp: job.timestamp,
            delay: job.delay_ms,
            priority: job.priority,
            attempts_made: job.attempts_made,
            attempts_started: job.attempts_started,
            stalled_counter: job.stalled_counter,
            processed_on: job.processed_on,
            finished_on: None,
            returnvalue: None,
            failed_reason: None,
            stacktrace: job.stacktrace.as_deref().and_then(raw),
            parent_key: job.parent_key.as_deref(),
            parent: job.parent.as_deref().and_then(raw),
            repeat_job_key: job.scheduler.as_deref(),
        }
    }
}

/// Text as JSON, if it is.
pub fn raw_json(text: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_are_stored() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        for (data, shown) in [
            (r#"{"n":1.50}"#, r#"{"n":1.50}"#),
            (r#""\ud800""#, r#""\ud800""#),
            (&deep, &deep),
            ("", "{}"),
            ("nope", "null"),
        ] {
            let job = Job::lone("paint", data);
            let text = serde_json::to_string(&JobJson::of(&job)).unwrap();
            assert!(text.contains(&format!("\"data\":{shown},")), "{text}");
        }
    }
}
