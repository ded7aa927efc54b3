//! What a job keeps of its steps, as one attempt knows it. Nothing here waits: `guest/steps.rs` reads and writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::backend::{CallResult, JobError};
use crate::limits::Limits;

/// The longest name of a step, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What is kept of one step, in Redis as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct StepRecord {
    /// Counts the steps of a job from 1, in the order in which they were first noted.
    pub order: u64,
    /// When it was noted last, in ms since the epoch.
    pub at_ms: u64,
    /// What is known of it.
    pub kept: Kept,
}

/// What is known of a step.
#[derive(Debug, Clone)]
pub enum Kept {
    /// It is done, and this is its value.
    Value(Box<RawValue>),
    /// Until when the job sleeps, in ms since the epoch.
    Until(u64),
    /// The job that was called, `prefix:queue:id`.
    Child(String),
    /// The place of a cursor.
    Cursor(Box<RawValue>),
}

impl Kept {
    /// Which call it comes from.
    pub fn kind(&self) -> &'static str {
        match self {
            Kept::Value(_) => "step",
            Kept::Until(_) => "sleep",
            Kept::Child(_) => "call",
            Kept::Cursor(_) => "cursor",
        }
    }
}

impl StepRecord {
    /// The call that keeps it, as people read it.
    pub(crate) fn as_call(&self, name: &str) -> String {
        match &self.kept {
            Kept::Value(value) => format!("finish({name}, {})", value.get()),
            Kept::Until(until) => format!("sleep({name}, {until})"),
            Kept::Child(child) => format!("call({name}, {child})"),
            Kept::Cursor(place) => format!("set-cursor({name}, {})", place.get()),
        }
    }
}

/// A record as it is stored: one of the last four is there.
#[derive(Serialize, Deserialize)]
struct Stored {
    order: u64,
    at: u64,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    value: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    child: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    cursor: Option<Box<RawValue>>,
}

/// A null is a value, too.
fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(json).map(Some)
}

impl From<StepRecord> for Stored {
    fn from(record: StepRecord) -> Self {
        let mut stored = Stored {
            order: record.order,
            at: record.at_ms,
            value: None,
            until: None,
            child: None,
            cursor: None,
        };
        match record.kept {
            Kept::Value(value) => stored.value = Some(value),
            Kept::Until(until) => stored.until = Some(until),
            Kept::Child(child) => stored.child = Some(child),
            Kept::Cursor(place) => stored.cursor = Some(place),
        }
        stored
    }
}

impl TryFrom<Stored> for StepRecord {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let kept = match stored {
            Stored {
                value: Some(value), ..
            } => Kept::Value(value),
            Stored {
                until: Some(until), ..
            } => Kept::Until(until),
            Stored {
                child: Some(child), ..
            } => Kept::Child(child),
            Stored {
                cursor: Some(place),
                ..
            } => Kept::Cursor(place),
            _ => return Err("neither `value`, `until`, `child` nor `cursor`"),
        };
        Ok(StepRecord {
            order: stored.order,
            at_ms: stored.at,
            kept,
        })
    }
}

/// What an attempt may still do with a step that it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// Keep its value, once.
    Step,
    /// Keep its place, any number of times.
    Cursor,
    /// Nothing.
    Closed,
}

/// The steps of a job: what earlier attempts kept, and what this one began.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// By name; JSON of a [`StepRecord`].
    kept: BTreeMap<String, String>,
    begun: BTreeMap<String, Open>,
    last_order: u64,
}

impl Steps {
    /// Those of a job that has kept this.
    pub(crate) fn of(stored: &[(String, String)]) -> Self {
        let kept: BTreeMap<String, String> = stored.iter().cloned().collect();
        // One that cannot be read is in the way of nothing but itself.
        let records = kept.values().filter_map(|record| read(record).ok());
        let last_order = records.map(|record| record.order).max().unwrap_or(0);
        Steps {
            kept,
            begun: BTreeMap::new(),
            last_order,
        }
    }

    /// Begins a step and returns what is kept of it. An attempt begins each name once.
    pub(crate) fn begin(&mut self, name: &str) -> CallResult<Option<Kept>> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return invalid(format!(
                "name of a step has {} bytes; it must have 1 to {NAME_BYTES_MAX}",
                name.len()
            ));
        }
        if self.begun.contains_key(name) {
            return invalid(format!(
                "two steps of this attempt are named `{name}`: each needs a name of its own"
            ));
        }
        let kept = match self.kept.get(name).map(|record| read(record)) {
            Some(Err(error)) => {
                return invalid(format!(
                    "the record of step `{name}` cannot be read: {error}"
                ));
            }
            Some(Ok(record)) => Some(record.kept),
            None => None,
        };
        self.begun.insert(name.to_owned(), Open::Closed);
        Ok(kept)
    }

    /// True where something is kept of any.
    pub(crate) fn has_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Says what may become of a step that was begun.
    pub(crate) fn set_open(&mut self, name: &str, open: Open) {
        if let Some(begun) = self.begun.get_mut(name) {
            *begun = open;
        }
    }

    /// Refuses what this attempt did not begin, or has finished.
    pub(crate) fn check_open(&self, name: &str, open: Open) -> CallResult<()> {
        match self.begun.get(name) {
            Some(begun) if *begun == open => Ok(()),
            Some(_) => invalid(format!("step `{name}` already has a value")),
            None => invalid(format!("this attempt did not begin step `{name}`")),
        }
    }

    /// What is to be stored of a step, if there is room for it.
    pub(crate) fn record(
        &self,
        name: &str,
        kept: Kept,
        at_ms: u64,
        limits: &Limits,
    ) -> CallResult<String> {
        let before = self.kept.get(name);
        let old = before.and_then(|record| read(record).ok());
        let record = StepRecord {
            order: old.map_or(self.last_order.saturating_add(1), |old| old.order),
            at_ms,
            kept,
        };
        let record = serde_json::to_string(&record)
            .map_err(|error| JobError::Invalid(format!("step `{name}`: {error}")))?;
        let steps = self.kept.len() + usize::from(before.is_none());
        if steps > limits.steps_max {
            let max = limits.steps_max;
            return limit(format!(
                "job has reached its limit of {max} steps (`limits.steps_max`)"
            ));
        }
        let others = self.kept.iter().filter(|(other, _)| *other != name);
        let bytes = others.map(|(name, record)| name.len() + record.len());
        let bytes = bytes.sum::<usize>() + name.len() + record.len();
        let max = limits.steps_bytes_max;
        if bytes > max {
            return limit(format!(
                "steps of the job would have {bytes} bytes, more than the limit of {max} (`limits.steps_bytes_max`)"
            ));
        }
        Ok(record)
    }

    /// Notes what was stored.
    pub(crate) fn keep(&mut self, name: &str, record: String) {
        let order = read(&record).map_or(0, |record| record.order);
        self.last_order = self.last_order.max(order);
        self.kept.insert(name.to_owned(), record);
    }
}

pub(crate) fn read(record: &str) -> Result<StepRecord, serde_json::Error> {
    serde_json::from_str(record)
}

fn invalid<T>(reason: String) -> CallResult<T> {
    Err(JobError::Invalid(reason))
}

fn limit<T>(reason: String) -> CallResult<T> {
    Err(JobError::Limit(reason))
}

/// A step that is kept as something else: the processor was changed.
pub(crate) fn other_kind<T>(name: &str, kept: &Kept, now: &str) -> CallResult<T> {
    invalid(format!(
        "step `{name}` was a {} in an earlier attempt and is a {now} now: give it another name",
        kept.kind()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Kept {
        Kept::Value(RawValue::from_string(json.to_owned()).unwrap())
    }

    fn reason<T: std::fmt::Debug>(result: CallResult<T>) -> String {
        crate::backend::reason(result.unwrap_err())
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let records = [
            (value("null"), r#"{"order":1,"at":5,"value":null}"#),
            (value("1.50"), r#"{"order":1,"at":5,"value":1.50}"#),
            (Kept::Until(7), r#"{"order":1,"at":5,"until":7}"#),
            (
                Kept::Child("bull:ship:1".into()),
                r#"{"order":1,"at":5,"child":"bull:ship:1"}"#,
            ),
        ];
        for (kept, json) in records {
            let written = Steps::default().record("a", kept.clone(), 5, &Limits::default());
            assert_eq!(written.unwrap(), json);
            assert_eq!(read(json).unwrap().kept.kind(), kept.kind());
        }
        assert!(read(r#"{"order":1,"at":5}"#).is_err());
    }

    #[test]
    fn attempt_begins_a_name_once_and_finishes_what_it_began() {
        let mut steps = Steps::of(&[("a".into(), r#"{"order":3,"at":5,"value":1}"#.into())]);
        assert!(matches!(steps.begin("a"), Ok(Some(Kept::Value(_)))));
        assert!(reason(steps.begin("a")).contains("two steps of this attempt are named `a`"));
        assert!(reason(steps.check_open("a", Open::Step)).contains("already has a value"));
        assert!(reason(steps.check_open("b", Open::Step)).contains("did not begin step `b`"));
        assert!(matches!(steps.begin("b"), Ok(None)));
        steps.set_open("b", Open::Step);
        steps.check_open("b", Open::Step).unwrap();
        let record = steps
            .record("b", value("2"), 6, &Limits::default())
            .unwrap();
        assert_eq!(record, r#"{"order":4,"at":6,"value":2}"#);
        for name in [String::new(), "n".repeat(201)] {
            assert!(reason(steps.begin(&name)).contains("1 to 200"));
        }
    }

    #[test]
    fn record_that_cannot_be_read_is_in_the_way_of_its_step_alone() {
        let mut steps = Steps::of(&[("a".into(), "nope".into())]);
        assert!(reason(steps.begin("a")).contains("cannot be read"));
        assert!(matches!(steps.begin("b"), Ok(None)));
    }

    #[test]
    fn steps_stay_within_their_limits() {
        let limits = Limits {
            steps_max: 1,
            steps_bytes_max: 100,
            ..Limits::default()
        };
        let mut steps = Steps::default();
        let record = steps.record("a", value("1"), 5, &limits).unwrap();
        steps.keep("a", record);
        assert!(reason(steps.record("b", value("1"), 5, &limits)).contains("limits.steps_max"));
        // The same one again takes the room that it had.
        steps.record("a", value("2"), 6, &limits).unwrap();
        let long = value(&format!("{:?}", "x".repeat(100)));
        assert!(reason(steps.record("a", long, 6, &limits)).contains("limits.steps_bytes_max"));
    }
}
