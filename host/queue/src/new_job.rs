//! A job to be added: checked as BullMQ's `Queue.add` checks it, and encoded as BullMQ stores it.

use serde_json::{Map, Value, json};

use crate::error::QueueError;
use crate::time::now_ms;

/// The largest priority, as in BullMQ.
const PRIORITY_MAX: u64 = (1 << 21) - 1;
/// Public option names and what BullMQ stores them as.
const SHORT_NAMES: [(&str, &str); 6] = [
    ("deduplication", "de"),
    ("failParentOnFailure", "fpof"),
    ("continueParentOnFailure", "cpof"),
    ("ignoreDependencyOnFailure", "idof"),
    ("keepLogs", "kl"),
    ("removeDependencyOnFailure", "rdof"),
];
/// The keys that a queue has beside its jobs, `prefix:queue:NAME`.
const QUEUE_KEYS: [&str; 17] = [
    "active",
    "completed",
    "delayed",
    "events",
    "failed",
    "id",
    "limiter",
    "marker",
    "meta",
    "paused",
    "pc",
    "prioritized",
    "repeat",
    "stalled",
    "stalled-check",
    "wait",
    "waiting-children",
];
/// Those that have a name of their own behind them.
const FAMILIES: [&str; 4] = ["de", "dn", "metrics", "toril-request"];
const FAILURE_POLICIES: [&str; 4] = [
    "removeDependencyOnFailure",
    "failParentOnFailure",
    "continueParentOnFailure",
    "ignoreDependencyOnFailure",
];

/// A job to be added, checked as BullMQ's `Queue.add` checks it.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub(super) name: String,
    pub(super) data: String,
    pub(super) id: Option<String>,
    pub(super) timestamp: u64,
    pub(super) delay_ms: u64,
    pub(super) priority: u64,
    pub(super) lifo: bool,
    /// Key, and record as JSON text.
    pub(super) parent: Option<(String, String)>,
    /// BullMQ's `DeduplicationOptions`, JSON text.
    pub(super) deduplication: Option<String>,
    pub(super) opts_json: String,
}

impl NewJob {
    /// The options as they are stored.
    pub fn opts_json(&self) -> &str {
        &self.opts_json
    }

    /// Makes up an id where there is none. As in BullMQ, it does not appear in the stored options.
    pub(super) fn with_some_id(mut self) -> Self {
        self.id
            .get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        self
    }

    /// The id that it was given, if it was.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Checks and encodes a job. `data` is JSON text, `options` BullMQ's `JobsOptions`.
    pub fn new(name: &str, data: &str, options: Map<String, Value>) -> Result<Self, QueueError> {
        check_json("data", data)?;
        let id = job_id(&options)?;
        check_options(name, &options, data)?;
        let parent = parent(&options)?;
        // `as` saturates: what no clock reaches is cut.
        let number = |name: &str| options.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let timestamp = match number("timestamp") as u64 {
            0 => now_ms(),
            timestamp => timestamp,
        };
        Ok(NewJob {
            name: name.to_owned(),
            data: data.to_owned(),
            id,
            timestamp,
            delay_ms: number("delay") as u64,
            priority: number("priority") as u64,
            lifo: options
                .get("lifo")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            parent,
            deduplication: options.get("deduplication").map(Value::to_string),
            opts_json: encode_options(options),
        })
    }
}

fn invalid(message: impl Into<String>) -> QueueError {
    QueueError::Invalid(message.into())
}

fn check_json(what: &str, text: &str) -> Result<(), QueueError> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(invalid(format!("{what} is not JSON: {error}"))),
    }
}

fn job_id(options: &Map<String, Value>) -> Result<Option<String>, QueueError> {
    let Some(id) = options.get("jobId") else {
        return Ok(None);
    };
    let Some(id) = id.as_str().filter(|id| !id.is_empty()) else {
        return Err(invalid("`jobId` must be a text"));
    };
    if id == "0" || id.starts_with("0:") {
        return Err(invalid("JobId cannot be '0' or start with '0:'"));
    }
    if is_integer(id) {
        return Err(invalid("Custom Id cannot be integers"));
    }
    // Three parts are an id of a scheduler's job.
    if id.contains(':') && id.split(':').count() != 3 {
        return Err(invalid("Custom Id cannot contain :"));
    }
    // BullMQ would write the job over the key of that name, and the queue would be broken.
    let first = id.split(':').next().unwrap_or(id);
    let is_taken = match id.contains(':') {
        true => FAMILIES.contains(&first),
        false => QUEUE_KEYS.contains(&id) || FAMILIES.contains(&id),
    };
    if is_taken {
        return Err(invalid(format!(
            "Custom Id cannot be `{id}`, which names a key of the queue"
        )));
    }
    Ok(Some(id.to_owned()))
}

/// True for what JavaScript's `String(parseInt(id))` leaves as it is.
fn is_integer(id: &str) -> bool {
    let digits = id.strip_prefix('-').unwrap_or(id);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // From 10^21 on JavaScript writes an exponent.
    is_plain && (!digits.starts_with('0') || id == "0") && digits.len() <= 21 && is_exact(digits)
}

/// True where a number survives as a double, which is what JavaScript keeps it in.
fn is_exact(digits: &str) -> bool {
    digits
        .parse::<f64>()
        .is_ok_and(|number| format!("{number:.0}") == digits)
}

fn check_options(job: &str, options: &Map<String, Value>, data: &str) -> Result<(), QueueError> {
    for name in ["delay", "priority", "timestamp", "attempts"] {
        if options
            .get(name)
            .is_some_and(|value| value.as_f64().is_none_or(|number| number < 0.0))
        {
            return Err(invalid(format!("`{name}` must be a number, 0 or more")));
        }
    }
    if let Some(priority) = options.get("priority").and_then(Value::as_f64) {
        if priority.fract() != 0.0 {
            return Err(invalid("Priority should not be float"));
        }
        if priority as u64 > PRIORITY_MAX {
            return Err(invalid(format!(
                "Priority should be between 0 and {PRIORITY_MAX}"
            )));
        }
    }
    let limit = options.get("sizeLimit").and_then(Value::as_f64);
    if let Some(limit) = limit.filter(|limit| *limit != 0.0 && data.len() as f64 > *limit) {
        return Err(invalid(format!(
            "The size of job {job} exceeds the limit {limit} bytes"
        )));
    }
    let policies: Vec<_> = FAILURE_POLICIES
        .iter()
        .filter(|name| options.get(**name).is_some_and(is_truthy))
        .copied()
        .collect();
    if policies.len() > 1 {
        let policies = policies.join(", ");
        return Err(invalid(format!(
            "The following options cannot be used together: {policies}"
        )));
    }
    let jitter = options
        .get("backoff")
        .and_then(|backoff| backoff.get("jitter"))
        .and_then(Value::as_f64);
    if jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
        return Err(invalid("Jitter should be between 0 and 1"));
    }
    if options.contains_key("debounce") {
        return Err(invalid(
            "Debounce option has been removed. Use deduplication option instead",
        ));
    }
    if options.contains_key("repeat") {
        return Err(invalid(
            "`repeat` is no option of a job, use a job scheduler",
        ));
    }
    if let Some(deduplication) = options.get("deduplication") {
        check_deduplication(deduplication, options.contains_key("parent"))?;
    }
    Ok(())
}

/// As JavaScript sees it in a condition.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn check_deduplication(deduplication: &Value, has_parent: bool) -> Result<(), QueueError> {
    let id = deduplication
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if id.is_empty() {
        return Err(invalid("Deduplication id must be provided"));
    }
    if has_parent {
        return Err(invalid(
            "Deduplication and parent options cannot be used together",
        ));
    }
    let ttl = deduplication.get("ttl").filter(|ttl| !ttl.is_null());
    if ttl.is_some_and(|ttl| ttl.as_u64().is_none()) {
        return Err(invalid(
            "`deduplication.ttl` must be a whole number of milliseconds",
        ));
    }
    Ok(())
}

/// Makes a child's record of its parent, failure policy included.
fn parent(options: &Map<String, Value>) -> Result<Option<(String, String)>, QueueError> {
    let Some(parent) = options.get("parent") else {
        return Ok(None);
    };
    let text = |name: &str| {
        parent
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let (Some(id), Some(queue)) = (text("id"), text("queue")) else {
        return Err(invalid(
            "`parent` must be { id, queue }, queue being `prefix:queue`",
        ));
    };
    let mut record = json!({ "id": id, "queueKey": queue });
    for name in FAILURE_POLICIES {
        if options.get(name) == Some(&Value::Bool(true)) {
            record[short_name(name)] = Value::Bool(true);
        }
    }
    Ok(Some((format!("{queue}:{id}"), record.to_string())))
}

fn short_name(name: &str) -> &str {
    SHORT_NAMES
        .iter()
        .find(|(long, _)| *long == name)
        .map_or(name, |(_, short)| short)
}

fn encode_options(options: Map<String, Value>) -> String {
    let mut stored = Map::new();
    stored.insert("attempts".into(), json!(0));
    for (name, value) in options {
        match name.as_str() {
            "backoff" if value.is_number() => {
                stored.insert(name, json!({ "type": "fixed", "delay": value }));
            }
            "telemetry" => {
                for (long, short) in [("metadata", "tm"), ("omitContext", "omc")] {
                    if let Some(value) = value.get(long) {
                        stored.insert(short.into(), value.clone());
                    }
                }
            }
            _ => {
                stored.insert(short_name(&name).into(), value);
            }
        }
    }
    Value::Object(stored).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_job(options: Value) -> Result<NewJob, QueueError> {
        let Value::Object(options) = options else {
            panic!("options are an object")
        };
        NewJob::new("paint", "{}", options)
    }

    #[test]
    fn options_are_stored_with_short_names() {
        let job =
            new_job(json!({ "keepLogs": 3, "backoff": 100, "telemetry": { "metadata": "t" } }))
                .unwrap();
        let stored: Value = serde_json::from_str(&job.opts_json).unwrap();
        assert_eq!(
            stored,
            json!({ "attempts": 0, "kl": 3, "backoff": { "type": "fixed", "delay": 100 }, "tm": "t" })
        );
    }

    #[test]
    fn child_knows_its_parent_and_policy() {
        let parent = json!({ "id": "p", "queue": "bull:top" });
        let job = new_job(json!({ "parent": parent, "failParentOnFailure": true })).unwrap();
        let (key, record) = job.parent.unwrap();
        assert_eq!(key, "bull:top:p");
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(
            record,
            json!({ "id": "p", "queueKey": "bull:top", "fpof": true })
        );
    }

    #[test]
    fn bad_options_are_refused_in_bullmqs_words() {
        let refused = |options| new_job(options).unwrap_err().to_string();
        assert_eq!(
            refused(json!({ "jobId": "12" })),
            "Custom Id cannot be integers"
        );
        for id in ["-7", "12", "100000000000000000000"] {
            assert_eq!(
                refused(json!({ "jobId": id })),
                "Custom Id cannot be integers"
            );
        }
        for id in ["0", "0:1:2"] {
            assert_eq!(
                refused(json!({ "jobId": id })),
                "JobId cannot be '0' or start with '0:'"
            );
        }
        for id in ["meta", "wait", "de", "de:a:b", "metrics:completed:data"] {
            assert!(refused(json!({ "jobId": id })).contains("names a key of the queue"));
        }
        for id in [
            "007",
            "1e3",
            "-0",
            "12345678901234567890123",
            "a:b:c",
            "repeat:s:1",
        ] {
            assert!(new_job(json!({ "jobId": id })).is_ok(), "{id}");
        }
        assert_eq!(
            refused(json!({ "debounce": null })),
            "Debounce option has been removed. Use deduplication option instead"
        );
        assert_eq!(
            refused(json!({ "jobId": "a:b" })),
            "Custom Id cannot contain :"
        );
        assert_eq!(
            refused(json!({ "priority": 1.5 })),
            "Priority should not be float"
        );
        assert_eq!(
            refused(json!({ "priority": 3_000_000 })),
            "Priority should be between 0 and 2097151"
        );
        assert_eq!(
            refused(json!({ "delay": -1 })),
            "`delay` must be a number, 0 or more"
        );
        assert_eq!(
            refused(json!({ "sizeLimit": 1 })),
            "The size of job paint exceeds the limit 1 bytes"
        );
        assert_eq!(
            refused(json!({ "failParentOnFailure": true, "continueParentOnFailure": true })),
            "The following options cannot be used together: failParentOnFailure, continueParentOnFailure"
        );
        assert!(refused(json!({ "parent": { "id": 1 } })).contains("`parent` must be"));
        assert!(
            NewJob::new("paint", "{", Map::new())
                .unwrap_err()
                .to_string()
                .contains("not JSON")
        );
    }
}
