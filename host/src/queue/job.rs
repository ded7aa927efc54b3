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

    /// Reads an id and a hash: names and values in turn, where a later value replaces an earlier one.
    pub(super) fn from_reply(id: Value, hash: Value, token: &Arc<str>) -> Result<Self, QueueError> {
        let malformed = || QueueError::Reply("job");
        let Value::Array(hash) = hash else {
            return Err(malformed());
        };
        let mut job = Job {
            id: field(id).map(text).ok_or_else(malformed)?.into(),
            token: Arc::clone(token),
            attempts_started: 0,
            timestamp: 0,
            processed_on: 0,
            ..Job::rehearsal("", "{}")
        };
        let mut older_count = None;
        let mut hash = hash.into_iter();
        while let (Some(name), Some(value)) = (hash.next(), hash.next()) {
            let (Value::BulkString(name), Some(value)) = (name, field(value)) else {
                continue;
            };
            match &*name {
                b"name" => job.name = text(value),
                b"data" => job.data = value,
                b"opts" => job.opts_json = text(value),
                b"timestamp" => job.timestamp = number(&value),
                b"delay" => job.delay_ms = number(&value),
                b"priority" => job.priority = number(&value),
                b"progress" => job.progress = text(value),
                b"atm" => job.attempts_made = number(&value),
                b"ats" => job.attempts_started = number(&value),
                b"stc" => job.stalled_counter = number(&value),
                b"parentKey" => job.parent_key = Some(text(value)),
                b"parent" => job.parent = Some(text(value)),
                b"rjk" => job.scheduler = Some(text(value)),
                b"defa" => job.deferred_failure = Some(text(value)),
                b"stacktrace" => job.stacktrace = Some(text(value)),
                b"processedOn" => job.processed_on = number(&value),
                b"torilVersion" => job.version = Some(text(value)),
                b"attemptsMade" => older_count = Some(number(&value)),
                _ => {}
            }
        }
        // Jobs of BullMQ before 5 counted in `attemptsMade`.
        job.attempts_made = older_count.unwrap_or(job.attempts_made);
        job.options = JobOptions::parse(&job.opts_json);
        Ok(job)
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
fn number<T: TryFrom<u64> + Default>(bytes: &[u8]) -> T {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| {
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
        let hash = vec![
            bulk("name"),
            bulk("paint"),
            bulk("data"),
            Value::BulkString(vec![0xff]),
            bulk("opts"),
            bulk("nope"),
            bulk("progress"),
            Value::BulkString(vec![0xfe]),
            bulk("ats"),
            bulk("3"),
            bulk("ats"),
            bulk("many"),
            bulk("custom"),
            Value::Nil,
            bulk("half"),
        ];
        let job = Job::from_reply(bulk("1"), Value::Array(hash), &"t:0".into()).unwrap();
        assert_eq!((&*job.id, &*job.name, job.attempts_made), ("1", "paint", 0));
        assert_eq!(job.data, [0xff]);
        assert_eq!(job.options, JobOptions::default());
    }

    #[test]
    fn reply_without_an_id_is_an_error() {
        let hash = || Value::Array(vec![]);
        assert!(Job::from_reply(Value::Nil, hash(), &"t:0".into()).is_err());
        assert!(Job::from_reply(bulk("1"), Value::Nil, &"t:0".into()).is_err());
    }
}
