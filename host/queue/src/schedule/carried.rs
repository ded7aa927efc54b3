//! The options that each job of a scheduler hands on to the next one. All but the schedule stay text: nobody looks into them,
//! and whatever they are, the chain goes on.

use serde_json::{Map, Value};
use toril_options::js;
use toril_options::json::{self, Fields, raw};

use crate::error::QueueError;

/// What a schedule is made of; other fields of `repeat` are handed on.
const SCHEDULE: [&str; 11] = [
    "every",
    "pattern",
    "limit",
    "count",
    "offset",
    "startDate",
    "endDate",
    "tz",
    "immediately",
    "strict",
    "hashSeed",
];

/// The options of the job that was picked up.
#[derive(Debug)]
pub(super) struct Carried {
    opts: Fields,
    repeat: Fields,
}

impl Carried {
    pub(super) fn read(opts_json: &str) -> Result<Self, QueueError> {
        let opts: Fields = json::read(opts_json).map_err(|error| {
            QueueError::Invalid(format!("the options of its job are invalid: {error}"))
        })?;
        let repeat = opts.get("repeat").map(|repeat| json::read(repeat.get()));
        let repeat = repeat.transpose().map_err(|error| {
            QueueError::Invalid(format!("`repeat` of its job is not a schedule: {error}"))
        })?;
        Ok(Carried {
            repeat: repeat.unwrap_or_default(),
            opts,
        })
    }

    /// The options as far as the next job depends on them.
    pub(super) fn schedule(&self) -> Result<Map<String, Value>, QueueError> {
        let mut repeat = Map::new();
        for name in SCHEDULE {
            if let Some(value) = self.repeat.get(name) {
                let value = json::read(value.get()).map_err(|error| {
                    let reason = format!("`{name}` of the schedule is invalid: {error}");
                    QueueError::Invalid(reason)
                })?;
                repeat.insert(name.to_owned(), value);
            }
        }
        Ok(Map::from_iter([("repeat".to_owned(), repeat.into())]))
    }

    /// The options of the next job: these, with what [`Carried::schedule`] became.
    pub(super) fn moved_on(mut self, mut next: Map<String, Value>) -> String {
        let moved = next.remove("repeat");
        for name in SCHEDULE {
            match moved.as_ref().and_then(|moved| moved.get(name)) {
                Some(value) => self.repeat.insert(name.to_owned(), raw(value)),
                None => self.repeat.remove(name),
            };
        }
        // BullMQ's worker hands on what its `Job` has made of it.
        let backoff = self.opts.get("backoff").map(|backoff| backoff.get());
        let plain = backoff.filter(|backoff| !backoff.starts_with('{'));
        if let Some(backoff) = plain.and_then(|backoff| json::read(backoff).ok()) {
            match toril_options::job_backoff(backoff) {
                Some(backoff) => self.opts.insert("backoff".to_owned(), raw(&backoff)),
                None => self.opts.remove("backoff"),
            };
        }
        if self.opts.contains_key("attempts") {
            next.remove("attempts");
        }
        let next = next.iter().map(|(name, value)| (name.clone(), raw(value)));
        self.opts.extend(next);
        self.opts.insert("repeat".to_owned(), raw(&self.repeat));
        raw(&self.opts).get().to_owned()
    }

    /// The priority that the scheduler gave: that of the job may have been changed since.
    pub(super) fn priority(&self) -> f64 {
        let Some(priority) = self.opts.get("priority") else {
            return 0.0;
        };
        let number: Option<f64> = priority.get().parse().ok();
        // A number may be one that no `Value` keeps.
        number.unwrap_or_else(|| priority_of(json::read(priority.get()).ok().as_ref()))
    }

    /// Empty where there is none.
    pub(super) fn deduplication_id(&self) -> String {
        let deduplication = self.opts.get("de");
        let id = deduplication
            .and_then(|options| json::read::<Fields>(options.get()).ok()?.remove("id"));
        let id = id.and_then(|id| json::read(id.get()).ok());
        id.as_ref().map(deduplication_id).unwrap_or_default()
    }
}

/// The priority that these options give, of whatever kind it is.
pub(crate) fn priority_of(option: Option<&Value>) -> f64 {
    let number = option.map(js::to_number);
    number.filter(|number| !number.is_nan()).unwrap_or(0.0)
}

/// The text of an id, which BullMQ's script makes of a number, too. Empty where it is neither.
pub(crate) fn deduplication_id(id: &Value) -> String {
    match id {
        Value::String(_) | Value::Number(_) => js::to_text(id),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_schedule_is_handed_on_as_it_is() {
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        let odd = [
            ("huge", "1e400"),
            ("deep", deep.as_str()),
            ("half", r#""\ud800""#),
            ("raw", r#"{"$serde_json::private::RawValue":"[1,2]"}"#),
            ("order", r#"{"b":1,"a":1.50}"#),
        ];
        let odd = odd.map(|(name, value)| format!("\"{name}\":{value}"));
        let repeat = format!("{{\"every\":10,\"immediately\":true,{}}}", odd.join(","));
        let opts = format!("{{\"attempts\":3,\"repeat\":{repeat},{}}}", odd.join(","));
        let carried = Carried::read(&opts).unwrap();
        assert_eq!(
            carried.schedule().unwrap()["repeat"],
            json!({ "every": 10, "immediately": true })
        );
        let moved = json!({ "attempts": 0, "jobId": "x", "repeat": { "every": 10, "count": 2 } });
        let Value::Object(moved) = moved else {
            panic!()
        };
        let next = carried.moved_on(moved);
        for field in &odd {
            assert_eq!(next.matches(field).count(), 2, "{field} in {next}");
        }
        for field in [
            "\"attempts\":3",
            "\"jobId\":\"x\"",
            "\"every\":10",
            "\"count\":2",
        ] {
            assert!(next.contains(field), "{field} in {next}");
        }
        assert!(!next.contains("immediately"));
    }

    #[test]
    fn next_job_has_the_backoff_that_bullmqs_job_makes_of_it() {
        for (given, handed_on) in [
            ("20", r#""backoff":{"delay":20,"type":"fixed"}"#),
            ("0", r#""backoff":{"delay":0,"type":"fixed"}"#),
            (r#""20""#, r#""backoff":"20""#),
            (
                r#"{"type":"fixed","delay":1.50}"#,
                r#""backoff":{"type":"fixed","delay":1.50}"#,
            ),
            (
                "1e400",
                r#""backoff":{"delay":1.7976931348623157e+308,"type":"fixed"}"#,
            ),
            ("null", ""),
            (r#""""#, ""),
            ("false", ""),
        ] {
            let opts = format!(r#"{{"backoff":{given},"repeat":{{"every":10}}}}"#);
            let next = Carried::read(&opts).unwrap().moved_on(Map::new());
            assert!(next.contains(handed_on), "{next}");
            assert_eq!(next.contains("backoff"), !handed_on.is_empty(), "{next}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refused = |opts: &str| {
            let schedule = Carried::read(opts).and_then(|carried| carried.schedule());
            schedule.unwrap_err().to_string()
        };
        assert!(refused("nope").starts_with("the options of its job are invalid: "));
        assert!(
            refused(r#"{"repeat":7}"#)
                .starts_with("`repeat` of its job is not a schedule: invalid")
        );
        let deep = "[".repeat(2_000) + &"]".repeat(2_000);
        let deep = refused(&format!(r#"{{"repeat":{{"every":{deep}}}}}"#));
        assert!(deep.starts_with("`every` of the schedule is invalid: nested more than 1000"));
    }

    #[test]
    fn priority_and_deduplication_are_those_of_the_options() {
        for (opts, priority, id) in [
            (r"{}", 0.0, ""),
            (r#"{"priority":2.5,"de":{"id":5}}"#, 2.5, "5"),
            (r#"{"priority":-1,"de":{"id":"\ud800"}}"#, -1.0, "\u{fffd}"),
            (r#"{"priority":1e400,"de":{"id":true}}"#, f64::INFINITY, ""),
            (r#"{"priority":"7","de":7}"#, 7.0, ""),
            (r#"{"priority":{},"de":null}"#, 0.0, ""),
        ] {
            let carried = Carried::read(opts).unwrap();
            assert_eq!(carried.priority(), priority, "{opts}");
            assert_eq!(carried.deduplication_id(), id, "{opts}");
        }
    }
}
