//! The options of a job that is added: checked as BullMQ's `Queue.add` checks them, and as BullMQ stores them.

use serde_json::{Map, Value, json};

use crate::json::Fields;
use crate::{job_id, js};

/// The largest priority, as in BullMQ.
const PRIORITY_MAX: f64 = 2_097_151.0;
/// Public option names and what BullMQ stores them as.
const SHORT_NAMES: [(&str, &str); 6] = [
    ("deduplication", "de"),
    ("failParentOnFailure", "fpof"),
    ("continueParentOnFailure", "cpof"),
    ("ignoreDependencyOnFailure", "idof"),
    ("keepLogs", "kl"),
    ("removeDependencyOnFailure", "rdof"),
];
const FAILURE_POLICIES: [&str; 4] = [
    "removeDependencyOnFailure",
    "failParentOnFailure",
    "continueParentOnFailure",
    "ignoreDependencyOnFailure",
];

/// The options of a job that is added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOptions {
    /// The id that it was given, if it was.
    pub id: Option<String>,
    /// When it was added, in ms since the epoch, if the options say.
    pub timestamp: Option<i64>,
    /// How long it waits, in ms; up to 0 not at all.
    pub delay_ms: i64,
    /// 0 is none.
    pub priority: i64,
    /// Add it to the head of the line.
    pub lifo: bool,
    /// Its parent's key, and the record of it that the child carries.
    pub parent: Option<(String, Value)>,
    /// BullMQ's `DeduplicationOptions`, `id` being text.
    pub deduplication: Option<Value>,
    /// All options, as they are stored: JSON text.
    pub stored: String,
}

impl NewOptions {
    /// Checks BullMQ's `JobsOptions` of the job `name` with this data, JSON text. Refuses in BullMQ's words.
    pub fn read(name: &str, data: &str, options: &Map<String, Value>) -> Result<Self, String> {
        // BullMQ stores it and repeats nothing, which no producer means.
        if options
            .get("repeat")
            .is_some_and(|repeat| !repeat.is_null())
        {
            return Err("a job cannot have the option `repeat`: use a job scheduler".into());
        }
        Self::read_any(name, data, options)
    }

    /// Checks those of a node of a flow, whose `parent` is the job above it, if there is one.
    pub fn of_node(
        name: &str,
        data: &str,
        options: &Map<String, Value>,
        has_children: bool,
    ) -> Result<Self, String> {
        if has_children && truthy(options, "deduplication").is_some() {
            return Err("Deduplication options cannot be used on flow nodes with children".into());
        }
        let id = options.get("jobId").and_then(Value::as_str);
        if id.is_some_and(|id| id.contains(':')) {
            return Err("Custom Id cannot contain :".into());
        }
        Self::read_any(name, data, options)
    }

    /// Reads the options of a job scheduler's template, of which BullMQ checks nothing else: they are stored as they are,
    /// and what a scheduler sets for each of its jobs says nothing.
    pub fn of_template(options: &Map<String, Value>) -> Result<Self, String> {
        have_no_debounce(options)?;
        let options = without_nulls(options);
        Ok(NewOptions {
            id: None,
            timestamp: None,
            delay_ms: 0,
            priority: 0,
            lifo: is_lifo(&options),
            parent: None,
            deduplication: None,
            stored: Value::Object(with_short_names(&options)).to_string(),
        })
    }

    fn read_any(name: &str, data: &str, options: &Map<String, Value>) -> Result<Self, String> {
        have_no_debounce(options)?;
        let default_attempts = !options.contains_key("attempts");
        // To BullMQ's scripts null is nothing.
        let options: &Map<String, Value> = &without_nulls(options);
        let id = job_id::read(options.get("jobId"))?;
        check_size(name, data, options)?;
        check_policies(options)?;
        let priority = priority(options)?;
        let parent = parent(options)?;
        let deduplication = deduplication(options, parent.is_some())?;
        check_jitter(options)?;
        let mut stored = stored(options);
        if default_attempts {
            stored.insert("attempts".into(), json!(0));
        }
        Ok(NewOptions {
            id,
            timestamp: timestamp(options)?,
            delay_ms: delay_ms(options)?,
            priority,
            lifo: is_lifo(options),
            parent,
            deduplication,
            stored: Value::Object(stored).to_string(),
        })
    }
}

fn have_no_debounce(options: &Map<String, Value>) -> Result<(), String> {
    match options.contains_key("debounce") {
        true => Err("Debounce option has been removed. Use deduplication option instead".into()),
        false => Ok(()),
    }
}

/// Lua decides this one, to which 0 and an empty text are true.
fn is_lifo(options: &Map<String, Value>) -> bool {
    !matches!(options.get("lifo"), None | Some(Value::Bool(false)))
}

/// Stored options by the names that producers give.
pub fn long_names(stored: Fields) -> Fields {
    let long = |name: String| {
        let known = SHORT_NAMES.iter().find(|(_, short)| *short == name);
        known.map_or(name, |(long, _)| (*long).to_owned())
    };
    stored
        .into_iter()
        .map(|(name, value)| (long(name), value))
        .collect()
}

/// An object on its way through Lua, which has no null in its tables.
fn without_nulls(object: &Map<String, Value>) -> Map<String, Value> {
    let members = object.iter().filter(|(_, value)| !value.is_null());
    let passed = members.map(|(name, value)| (name.clone(), through_lua(value)));
    passed.collect()
}

fn through_lua(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(without_nulls(object)),
        Value::Array(items) => {
            let length = items.iter().rposition(|item| !item.is_null());
            match &items[..length.map_or(0, |last| last + 1)] {
                // An empty table is written as an object.
                [] => json!({}),
                items => items.iter().map(through_lua).collect(),
            }
        }
        _ => value.clone(),
    }
}

fn truthy<'a>(options: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    options.get(name).filter(|value| js::is_truthy(value))
}

fn check_size(name: &str, data: &str, options: &Map<String, Value>) -> Result<(), String> {
    match truthy(options, "sizeLimit") {
        Some(limit) if data.len() as f64 > js::to_number(limit) => {
            let limit = js::to_text(limit);
            Err(format!(
                "The size of job {name} exceeds the limit {limit} bytes"
            ))
        }
        _ => Ok(()),
    }
}

fn check_policies(options: &Map<String, Value>) -> Result<(), String> {
    let is_set = |name: &&str| truthy(options, name).is_some();
    let policies: Vec<_> = FAILURE_POLICIES.into_iter().filter(is_set).collect();
    if policies.len() > 1 {
        let policies = policies.join(", ");
        return Err(format!(
            "The following options cannot be used together: {policies}"
        ));
    }
    Ok(())
}

fn check_jitter(options: &Map<String, Value>) -> Result<(), String> {
    let jitter = options
        .get("backoff")
        .and_then(|backoff| backoff.get("jitter"));
    let jitter = jitter.and_then(Value::as_f64);
    if jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
        return Err("Jitter should be between 0 and 1".into());
    }
    Ok(())
}

/// JavaScript's `Math.trunc(value) === value` is true of numbers only.
fn priority(options: &Map<String, Value>) -> Result<i64, String> {
    let Some(option) = truthy(options, "priority") else {
        return Ok(0);
    };
    let whole = option.as_f64().filter(|priority| priority.fract() == 0.0);
    let priority = whole.ok_or("Priority should not be float")?;
    if priority > PRIORITY_MAX {
        return Err(format!("Priority should be between 0 and {PRIORITY_MAX}"));
    }
    Ok(priority as i64)
}

/// BullMQ delays by numbers only, and stores a text that does not delay.
fn delay_ms(options: &Map<String, Value>) -> Result<i64, String> {
    match options.get("delay") {
        // `as` saturates: what no clock reaches is cut.
        Some(Value::Number(delay)) => Ok(delay.as_f64().unwrap_or(0.0) as i64),
        None | Some(Value::String(_) | Value::Bool(false)) => Ok(0),
        Some(_) => Err("`delay` must be a number".into()),
    }
}

fn timestamp(options: &Map<String, Value>) -> Result<Option<i64>, String> {
    let Some(option) = truthy(options, "timestamp") else {
        return Ok(None);
    };
    let time = match option {
        Value::Number(_) | Value::String(_) => js::to_number(option),
        _ => f64::NAN,
    };
    if time.is_nan() {
        return Err("`timestamp` must be a number".into());
    }
    Ok(Some(time as i64))
}

fn deduplication(options: &Map<String, Value>, has_parent: bool) -> Result<Option<Value>, String> {
    let Some(option) = truthy(options, "deduplication") else {
        return Ok(None);
    };
    let id = match option.get("id") {
        Some(id @ (Value::String(_) | Value::Number(_))) if js::is_truthy(id) => js::to_text(id),
        _ => return Err("Deduplication id must be provided".into()),
    };
    if has_parent {
        return Err("Deduplication and parent options cannot be used together".into());
    }
    // The script compares it with a number, and hands it to a command that takes whole ones.
    let is_time = match option.get("ttl") {
        None | Some(Value::Bool(false)) => true,
        Some(ttl) => ttl
            .as_f64()
            .is_some_and(|ttl| ttl <= 0.0 || ttl.fract() == 0.0),
    };
    if !is_time {
        return Err("`deduplication.ttl` must be a whole number of milliseconds".into());
    }
    let mut option = option.clone();
    option["id"] = json!(id);
    Ok(Some(option))
}

/// Makes a child's record of its parent, failure policy included.
fn parent(options: &Map<String, Value>) -> Result<Option<(String, Value)>, String> {
    let Some(parent) = truthy(options, "parent") else {
        return Ok(None);
    };
    let text = |name: &str| {
        let text = parent.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let (Some(id), Some(queue)) = (text("id"), text("queue")) else {
        return Err("`parent` must be { id, queue }, queue being `prefix:queue`".into());
    };
    let mut record = json!({ "id": id, "queueKey": queue });
    for name in FAILURE_POLICIES {
        if truthy(options, name).is_some() {
            record[short_name(name)] = Value::Bool(true);
        }
    }
    Ok(Some((format!("{queue}:{id}"), record)))
}

fn short_name(name: &str) -> &str {
    let known = SHORT_NAMES.iter().find(|(long, _)| *long == name);
    known.map_or(name, |(_, short)| short)
}

/// The options of a job, as they are stored.
fn stored(options: &Map<String, Value>) -> Map<String, Value> {
    let mut stored = with_short_names(options);
    if let Some(backoff) = stored.remove("backoff")
        && let Some(backoff) = job_backoff(backoff)
    {
        stored.insert("backoff".into(), backoff);
    }
    stored
}

/// What BullMQ's `Job` makes of its `backoff`: a number is a fixed pause. None: it says nothing.
pub fn job_backoff(backoff: Value) -> Option<Value> {
    if backoff.is_number() {
        return Some(json!({ "type": "fixed", "delay": backoff }));
    }
    js::is_truthy(&backoff).then_some(backoff)
}

fn with_short_names(options: &Map<String, Value>) -> Map<String, Value> {
    let mut stored = Map::new();
    for (name, value) in options {
        match name.as_str() {
            "telemetry" => {
                for (long, short) in [("metadata", "tm"), ("omitContext", "omc")] {
                    if let Some(value) = value.get(long) {
                        stored.insert(short.into(), value.clone());
                    }
                }
            }
            _ => {
                stored.insert(short_name(name).into(), value.clone());
            }
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: Value) -> Result<NewOptions, String> {
        let Value::Object(options) = options else {
            panic!("options are an object")
        };
        NewOptions::read("paint", "{}", &options)
    }

    fn stored(options: Value) -> Value {
        serde_json::from_str(&read(options).unwrap().stored).unwrap()
    }

    #[test]
    fn options_are_stored_with_short_names() {
        assert_eq!(
            stored(json!({ "keepLogs": 3, "backoff": 100, "telemetry": { "metadata": "t" } })),
            json!({ "attempts": 0, "kl": 3, "backoff": { "type": "fixed", "delay": 100 }, "tm": "t" })
        );
    }

    #[test]
    fn options_of_any_kind_are_stored_as_bullmq_stores_them() {
        assert_eq!(
            stored(json!({ "attempts": -1, "backoff": "5", "lifo": 0 })),
            json!({ "attempts": -1, "backoff": "5", "lifo": 0 })
        );
        assert_eq!(
            stored(json!({ "attempts": true, "backoff": "", "removeOnFail": "5", "delay": "7" })),
            json!({ "attempts": true, "removeOnFail": "5", "delay": "7" })
        );
        let nulls = json!({ "attempts": null, "backoff": null, "parent": null, "deduplication": null, "jobId": null,
            "priority": null, "delay": null, "telemetry": null, "sizeLimit": null, "unknown": { "deep": null, "x": [1, null] }, "empty": [null] });
        assert_eq!(
            stored(nulls),
            json!({ "unknown": { "x": [1] }, "empty": {} })
        );
    }

    #[test]
    fn what_says_nothing_is_the_default() {
        let plain = read(json!({})).unwrap();
        for options in [
            json!({ "timestamp": 0, "delay": "100", "priority": "", "jobId": "" }),
            json!({ "timestamp": null, "delay": null, "priority": false, "parent": false, "deduplication": 0 }),
        ] {
            let stored = plain.stored.clone();
            assert_eq!(
                NewOptions {
                    stored,
                    ..read(options).unwrap()
                },
                plain
            );
        }
        let options =
            read(json!({ "timestamp": "12", "delay": -5, "priority": -1, "lifo": "" })).unwrap();
        assert_eq!((options.timestamp, options.delay_ms), (Some(12), -5));
        assert_eq!((options.priority, options.lifo), (-1, true));
    }

    #[test]
    fn options_of_a_template_are_stored_as_they_are() {
        let template = |options: Value| {
            let read = NewOptions::of_template(options.as_object().unwrap());
            serde_json::from_str::<Value>(&read.unwrap().stored).unwrap()
        };
        let parent = json!({ "id": "1", "queue": "bull:q" });
        let odd = json!({ "backoff": 20, "delay": 5, "jobId": "a:b", "priority": 1.5, "keepLogs": 2, "parent": parent,
            "failParentOnFailure": true, "ignoreDependencyOnFailure": true, "removeOnFail": null });
        let stored = json!({ "backoff": 20, "delay": 5, "jobId": "a:b", "priority": 1.5, "kl": 2, "parent": parent,
            "fpof": true, "idof": true });
        assert_eq!(template(odd), stored);
        let debounce = json!({ "debounce": null });
        let refused = NewOptions::of_template(debounce.as_object().unwrap());
        assert!(refused.unwrap_err().starts_with("Debounce option"));
    }

    #[test]
    fn child_knows_its_parent_and_policy() {
        let parent = json!({ "id": "p", "queue": "bull:top" });
        let options = read(json!({ "parent": parent, "failParentOnFailure": 1 })).unwrap();
        let record = json!({ "id": "p", "queueKey": "bull:top", "fpof": true });
        assert_eq!(options.parent, Some(("bull:top:p".into(), record)));
    }

    #[test]
    fn deduplication_is_read_as_the_script_reads_it() {
        let options =
            read(json!({ "deduplication": { "id": 5, "ttl": -1, "replace": null } })).unwrap();
        assert_eq!(options.deduplication, Some(json!({ "id": "5", "ttl": -1 })));
        for ttl in [json!("5000"), json!(true), json!(2.5)] {
            let refused = read(json!({ "deduplication": { "id": "d", "ttl": ttl } }));
            assert!(refused.unwrap_err().contains("`deduplication.ttl`"));
        }
    }

    #[test]
    fn bad_options_are_refused_in_bullmqs_words() {
        for (options, words) in [
            (
                json!({ "debounce": null }),
                "Debounce option has been removed. Use deduplication option instead",
            ),
            (json!({ "jobId": "a:b" }), "Custom Id cannot contain :"),
            (json!({ "priority": 1.5 }), "Priority should not be float"),
            (json!({ "priority": "5" }), "Priority should not be float"),
            (json!({ "priority": true }), "Priority should not be float"),
            (
                json!({ "priority": 3_000_000 }),
                "Priority should be between 0 and 2097151",
            ),
            (
                json!({ "backoff": { "jitter": 2 } }),
                "Jitter should be between 0 and 1",
            ),
            (
                json!({ "sizeLimit": "1" }),
                "The size of job paint exceeds the limit 1 bytes",
            ),
            (
                json!({ "deduplication": { "id": "" } }),
                "Deduplication id must be provided",
            ),
            (
                json!({ "deduplication": true }),
                "Deduplication id must be provided",
            ),
            (
                json!({ "failParentOnFailure": true, "continueParentOnFailure": "yes" }),
                "The following options cannot be used together: failParentOnFailure, continueParentOnFailure",
            ),
            (
                json!({ "parent": { "id": 1 } }),
                "`parent` must be { id, queue }, queue being `prefix:queue`",
            ),
            (json!({ "delay": true }), "`delay` must be a number"),
            (json!({ "timestamp": [] }), "`timestamp` must be a number"),
        ] {
            assert_eq!(read(options).unwrap_err(), words);
        }
    }
}
