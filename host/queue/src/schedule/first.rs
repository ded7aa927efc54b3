//! The first job of a scheduler that is added or changed: when it is due, and what is stored of the schedule.

use serde_json::{Map, Value};
use toril_options::js;

use super::{Bounds, Rule, have_one_rule, next_every, write};
use crate::error::QueueError;

/// Where a scheduler stood when it was read.
pub(crate) struct Standing {
    /// The time of its current job, as Redis writes it; none where there is no such scheduler.
    pub(crate) current: Option<String>,
    /// Its interval, if it has one.
    pub(crate) every: Option<f64>,
    /// True where its current job has not begun: then it is exchanged.
    pub(crate) waits: bool,
}

/// A schedule that was checked.
pub(crate) struct Schedule {
    repeat: Map<String, Value>,
    rule: Rule,
    bounds: Bounds,
}

/// The first job.
pub(crate) struct First {
    /// When it is due, in ms since the epoch.
    pub(crate) at_ms: u64,
    /// How far the slots of its interval are from the epoch, in ms; none keeps the one that is stored.
    offset: Option<u64>,
}

impl Schedule {
    /// Checks BullMQ's `RepeatOptions`. None: it has come to its end.
    pub(crate) fn read(repeat: Map<String, Value>, now: u64) -> Result<Option<Self>, QueueError> {
        have_one_rule(&repeat)?;
        let bounds = Bounds::read(&repeat)?;
        if bounds.are_reached(now) {
            return Ok(None);
        }
        let rule = Rule::read(&repeat, &Map::new())?;
        Ok(Some(Schedule {
            repeat,
            rule,
            bounds,
        }))
    }

    /// True for an interval, whose next slot may be free where one is taken.
    pub(crate) fn has_slots(&self) -> bool {
        matches!(self.rule, Rule::Every { .. })
    }

    /// The first job, so many slots later; none where the schedule has come to its end.
    pub(crate) fn first(&self, standing: &Standing, now: u64, slots: u32) -> Option<First> {
        match &self.rule {
            Rule::Pattern {
                immediately: true, ..
            } => Some(First {
                at_ms: now,
                offset: None,
            }),
            Rule::Pattern { cron, zone, .. } => {
                let after = (now as i64).max(self.bounds.start_ms.unwrap_or(0));
                let next = cron.next(zone, after, self.bounds.end_ms)?;
                let at_ms = u64::try_from(next).ok()?;
                Some(First {
                    at_ms,
                    offset: None,
                })
            }
            Rule::Every { every, offset } => {
                let first = self.first_every(standing, *every, *offset, now);
                let at_ms = first.at_ms as f64 + f64::from(slots) * every;
                Some(First {
                    at_ms: at_ms as u64,
                    ..first
                })
            }
        }
    }

    fn first_every(&self, standing: &Standing, every: f64, offset: f64, now: u64) -> First {
        let given = (offset > 0.0).then_some(offset as u64);
        let current = standing.current.as_ref();
        // Where the interval is another one, the old time says nothing.
        let current = current.filter(|_| standing.every == Some(every));
        let current = current.and_then(|time| time.parse::<f64>().ok());
        if let Some(current) = current.filter(|_| standing.waits) {
            return First {
                at_ms: current as u64,
                offset: given,
            };
        }
        let at_ms = match current {
            Some(current) => next_every(current as u64, every, offset, now),
            None => self.begin(every, offset, now),
        };
        let in_slot = at_ms as f64 % every;
        let own = (!standing.waits).then_some(in_slot as u64);
        First {
            at_ms,
            offset: given.or(own),
        }
    }

    /// At its start date; without one in the next slot of its offset, and without that at once.
    fn begin(&self, every: f64, offset: f64, now: u64) -> u64 {
        if let Some(start) = self.bounds.start_ms {
            return now.max(u64::try_from(start).unwrap_or(0));
        }
        if offset <= 0.0 {
            return now;
        }
        let slot = (now as f64 / every).floor() * every + offset;
        let is_over = slot <= now as f64;
        (if is_over { slot + every } else { slot }) as u64
    }

    /// The options of the first job.
    pub(crate) fn job_options(
        &self,
        mut template: Map<String, Value>,
        scheduler: &str,
        first: &First,
        now: u64,
    ) -> Map<String, Value> {
        let given = template.contains_key("attempts");
        template.insert("repeat".into(), Value::Object(self.repeat.clone()));
        write(
            &mut template,
            &self.rule,
            &self.bounds,
            scheduler,
            first.at_ms,
            now,
        );
        // BullMQ writes the default from the second job on.
        if !given {
            template.remove("attempts");
        }
        template
    }

    /// What the hash of the scheduler has of it.
    pub(crate) fn stored_fields(&self, first: &First) -> Vec<(&'static str, String)> {
        let text = |name| self.repeat.get(name).filter(|value| js::is_truthy(value));
        let mut fields = Vec::new();
        for name in ["tz", "limit", "pattern", "every"] {
            fields.extend(text(name).map(|value| (name, js::to_text(value))));
        }
        let dates = [
            ("startDate", self.bounds.start_ms),
            ("endDate", self.bounds.end_ms),
        ];
        fields.extend(
            dates
                .iter()
                .filter_map(|(name, ms)| Some((*name, (*ms)?.to_string()))),
        );
        fields.extend(first.offset.map(|offset| ("offset", offset.to_string())));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOUR: u64 = 3_600_000;

    fn first(repeat: Value, standing: Standing, now: u64, slots: u32) -> (u64, Option<u64>) {
        let Value::Object(repeat) = repeat else {
            panic!("a schedule is an object")
        };
        let schedule = Schedule::read(repeat, now).unwrap().unwrap();
        let first = schedule.first(&standing, now, slots).unwrap();
        (first.at_ms, first.offset)
    }

    fn standing(current: Option<u64>, every: Option<f64>, waits: bool) -> Standing {
        Standing {
            current: current.map(|time| time.to_string()),
            every,
            waits,
        }
    }

    #[test]
    fn first_slot_of_an_interval_is_now_or_keeps_to_what_was_given() {
        let every = HOUR as f64;
        let now = 10 * HOUR + 7;
        let new = || standing(None, None, false);
        let hourly = || json!({ "every": HOUR });
        assert_eq!(first(hourly(), new(), now, 0), (now, Some(7)));
        assert_eq!(first(hourly(), new(), now, 2), (now + 2 * HOUR, Some(7)));
        let offset = |offset: u64| json!({ "every": HOUR, "offset": offset });
        assert_eq!(first(offset(5), new(), now, 0), (11 * HOUR + 5, Some(5)));
        assert_eq!(first(offset(9), new(), now, 0), (10 * HOUR + 9, Some(9)));
        let later = json!({ "every": HOUR, "startDate": now + 3 });
        assert_eq!(first(later, new(), now, 0).0, now + 3);
        // A job that waits keeps its time, one that runs is followed, and a changed interval starts from now.
        let current = Some(11 * HOUR);
        let waits = standing(current, Some(every), true);
        assert_eq!(first(hourly(), waits, now, 0), (11 * HOUR, None));
        let runs = standing(Some(10 * HOUR), Some(every), false);
        assert_eq!(first(hourly(), runs, now, 0), (11 * HOUR, Some(0)));
        let other = standing(current, Some(every / 2.0), true);
        assert_eq!(first(hourly(), other, now, 0), (now, None));
    }

    #[test]
    fn schedule_that_ended_has_no_first_job() {
        let ended = json!({ "every": 5, "endDate": 10 });
        assert!(
            Schedule::read(ended.as_object().unwrap().clone(), 11)
                .unwrap()
                .is_none()
        );
        let both = json!({ "every": 5, "pattern": "* * * * *" });
        assert!(Schedule::read(both.as_object().unwrap().clone(), 11).is_err());
    }
}
