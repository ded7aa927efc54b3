//! A job as a worker is handed it.

use std::sync::Arc;

use redis::Value;

use super::{JobOptions, QueueError, now_ms};

/// A job that this worker took and holds the lock of. JSON stays text.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job's id.
    pub id: Arc<str>,
    /// The token of its lock.
    pub token: Arc<str>,
    /// The job's name.
    pub name: String,
    /// The data as stored: bytes, since nothing vouches for their being JSON or even text.
    pub data: Vec<u8>,
    /// The options as stored.
    pub opts_json: String,
    /// The options that the worker looks at.
    pub options: JobOptions,
    /// When the job was added, in ms since the epoch.
    pub timestamp: u64,
    /// How long it was delayed, in ms; 0 once it became due.
    pub delay_ms: u64,
    /// 0 is none.
    pub priority: u32,
    /// JSON text.
    pub progress: String,
    /// Attempts that ended in completion or failure.
    pub attempts_made: u32,
    /// Times it was picked up, this one included.
    pub attempts_started: u32,
    /// Times it was given back because its worker had died.
    pub stalled_counter: u32,
    /// The parent's key.
    pub parent_key: Option<String>,
    /// The parent's record, JSON text.
    pub parent: Option<String>,
    /// The id of its scheduler.
    pub scheduler: Option<String>,
    /// Why it must fail without running.
    pub deferred_failure: Option<String>,
    /// The stack traces so far, a JSON array.
    pub stacktrace: Option<String>,
    /// When it was picked up, in ms since the epoch.
    pub processed_on: u64,
    /// The digest of the processor that it started on, where its queue pins jobs to versions.
    pub version: Option<String>,
}

impl Job {
    /// A job that is in no queue. `data` is JSON text.
    pub fn rehearsal(name: &str, data: &str) -> Self {
        Job {
            id: "rehearsal".into(),
            token: "".into(),
            name: name.to_owned(),
            data: data.as_bytes().to_vec(),
            opts_json: "{}".into(),
            options: JobOptions::default(),
            timestamp: now_ms(),
            delay_ms: 0,
            priority: 0,
            progress: "0".into(),
            attempts_made: 0,
            attempts_started: 1,
            stalled_counter: 0,
            parent_key: None,
            parent: None,
            scheduler: None,
            deferred_failure: None,
            stacktrace: None,
            processed_on: now_ms(),
            version: None,
        }
    }

    /// Reads what `job_reply` in `lua/lib/take.lua` wrote.
    pub(super) fn from_reply(reply: Value) -> Result<Self, QueueError> {
        let Value::Array(values) = reply else {
            return Err(QueueError::Reply("job"));
        };
        let mut fields = values.into_iter().map(field);
        let mut next = || fields.next().flatten();
        let required = QueueError::Reply("job");
        let (Some(id), Some(token)) = (next(), next()) else {
            return Err(required);
        };
        let name = next().map(text).unwrap_or_default();
        let data = next().unwrap_or_else(|| b"{}".to_vec());
        let opts_json = next().map_or_else(|| "{}".to_owned(), text);
        let options = JobOptions::parse(&opts_json);
        let timestamp = number(next());
        let delay_ms = number(next());
        let priority = number(next());
        let progress = next().map_or_else(|| "0".to_owned(), text);
        let attempts_made = next();
        let attempts_started = number(next());
        let stalled_counter = number(next());
        let parent_key = next().map(text);
        let parent = next().map(text);
        let scheduler = next().map(text);
        let deferred_failure = next().map(text);
        let stacktrace = next().map(text);
        // Jobs of BullMQ before 5 counted in `attemptsMade`.
        let attempts_made = number(next().or(attempts_made));
        let processed_on = number(next());
        let version = next().map(text);
        Ok(Job {
            id: text(id).into(),
            token: text(token).into(),
            name,
            data,
            opts_json,
            options,
            timestamp,
            delay_ms,
            priority,
            progress,
            attempts_made,
            attempts_started,
            stalled_counter,
            parent_key,
            parent,
            scheduler,
            deferred_failure,
            stacktrace,
            processed_on,
            version,
        })
    }

    /// The job as BullMQ's `job.toJSON()` shows it, as far as a worker knows it.
    pub fn as_json(&self) -> serde_json::Value {
        let parsed = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        serde_json::json!({
            "id": &*self.id,
            "name": self.name,
            "data": serde_json::from_slice(&self.data).unwrap_or(serde_json::Value::Null),
            "opts": parsed(&self.opts_json),
            "progress": parsed(&self.progress),
            "timestamp": self.timestamp,
            "delay": self.delay_ms,
            "priority": self.priority,
            "attemptsMade": self.attempts_made,
            "attemptsStarted": self.attempts_started,
            "stalledCounter": self.stalled_counter,
            "processedOn": self.processed_on,
            "parentKey": self.parent_key,
            "parent": self.parent.as_deref().map(parsed),
            "repeatJobKey": self.scheduler,
        })
    }
}

fn field(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Reads a number the way BullMQ does: what is none counts as 0.
fn number<T: TryFrom<u64> + Default>(bytes: Option<Vec<u8>>) -> T {
    let parsed = bytes.and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).ok()?;
        text.parse::<u64>()
            .ok()
            .or_else(|| text.parse::<f64>().ok().map(|number| number as u64))
    });
    parsed
        .and_then(|number| T::try_from(number).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn broken_fields_do_not_lose_the_job() {
        let mut reply = vec![
            bulk("1"),
            bulk("t:0"),
            bulk("paint"),
            Value::BulkString(vec![0xff]),
            bulk("nope"),
        ];
        reply.resize(20, Value::Nil);
        reply[8] = Value::BulkString(vec![0xfe]);
        let job = Job::from_reply(Value::Array(reply)).unwrap();
        assert_eq!((&*job.id, &*job.name, job.attempts_made), ("1", "paint", 0));
        assert_eq!(job.data, [0xff]);
        assert_eq!(job.options, JobOptions::default());
    }

    #[test]
    fn reply_without_an_id_is_an_error() {
        assert!(Job::from_reply(Value::Array(vec![])).is_err());
        assert!(Job::from_reply(Value::Nil).is_err());
    }
}
