//! Job schedulers: the next job is added when the current one is picked up, so that the chain goes on
//! whatever becomes of that one.

use chrono::{DateTime, Local, TimeZone, Utc};
use croner::parser::{CronParser, Seconds};
use serde_json::{Map, Value, json};

use crate::error::QueueError;
use crate::job::Job;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::time::now_ms;

/// When a scheduler's next job is due.
#[derive(Debug, Clone, PartialEq)]
struct Schedule {
    rule: Rule,
    limit: Option<u64>,
    count: u64,
    start_ms: Option<u64>,
    end_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Every {
        every_ms: u64,
        offset_ms: u64,
    },
    Pattern {
        pattern: String,
        time_zone: Option<String>,
    },
}

impl Queue {
    /// Adds the next job of the scheduler that made `job`, unless that was done. Returns its id.
    pub async fn advance_scheduler(&self, job: &Job) -> Result<Option<String>, QueueError> {
        let Some(scheduler) = &job.scheduler else {
            return Ok(None);
        };
        let Some(current) = self.current_time(job, scheduler).await? else {
            return Ok(None);
        };
        let mut opts: Map<String, Value> = serde_json::from_str(&job.opts_json).unwrap_or_default();
        let stored = self.stored_schedule(scheduler).await?;
        let schedule = Schedule::read(&opts, &stored)?;
        let now = now_ms();
        let Some(next) = schedule.next(current, now)? else {
            return Ok(None);
        };
        schedule.write(&mut opts, scheduler, next, now);
        let deduplication = opts.get("de").and_then(|options| options.get("id"));
        let deduplication = deduplication.and_then(Value::as_str).unwrap_or_default();
        let deduplication = deduplication.to_owned();
        let script = script!("advance_scheduler", "events", "line", "store");
        let mut call = script.call(self.keys.meta());
        call.arg(now)
            .arg(scheduler)
            .arg(current)
            .arg(next)
            .arg(Value::Object(opts).to_string())
            .arg(job.priority)
            .arg(u8::from(job.options.lifo))
            .arg(deduplication);
        self.redis.run(script, &call).await
    }

    /// The time of the scheduler's current job, if that is this one: any other has been followed already.
    async fn current_time(&self, job: &Job, scheduler: &str) -> Result<Option<u64>, QueueError> {
        let mut command = redis::cmd("ZSCORE");
        command.arg(self.keys.of("repeat")).arg(scheduler);
        let current: Option<f64> = command.query_async(&mut self.redis.shared()).await?;
        let current = current.map(|time| time as u64);
        Ok(current.filter(|time| *job.id == *format!("repeat:{scheduler}:{time}")))
    }

    async fn stored_schedule(&self, scheduler: &str) -> Result<Map<String, Value>, QueueError> {
        let mut command = redis::cmd("HMGET");
        let names = ["every", "startDate", "offset"];
        command
            .arg(self.keys.of(&format!("repeat:{scheduler}")))
            .arg(&names);
        let values: Vec<Option<f64>> = command.query_async(&mut self.redis.shared()).await?;
        let pairs = names.into_iter().zip(values);
        Ok(pairs
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
            .collect())
    }
}

impl Schedule {
    /// Reads what the job carries in `opts.repeat`, and over it what is stored with the scheduler.
    fn read(opts: &Map<String, Value>, stored: &Map<String, Value>) -> Result<Self, QueueError> {
        let empty = Map::new();
        let repeat = opts
            .get("repeat")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let number = |name: &str| {
            let value = stored.get(name).or_else(|| repeat.get(name))?;
            value.as_f64().map(|number| number as u64)
        };
        let text = |name: &str| repeat.get(name).and_then(Value::as_str).map(str::to_owned);
        let rule = match (number("every").filter(|every| *every > 0), text("pattern")) {
            (Some(every_ms), _) => Rule::Every {
                every_ms,
                offset_ms: number("offset").unwrap_or(0),
            },
            (None, Some(pattern)) => Rule::Pattern {
                pattern,
                time_zone: text("tz"),
            },
            (None, None) => {
                return Err(QueueError::Invalid(
                    "scheduler has neither `every` nor `pattern`".into(),
                ));
            }
        };
        let date = |name: &str| number(name).or_else(|| date_ms(repeat.get(name)?.as_str()?));
        Ok(Schedule {
            rule,
            limit: number("limit"),
            count: number("count").unwrap_or(0) + 1,
            start_ms: date("startDate"),
            end_ms: date("endDate"),
        })
    }

    /// The time of the next job after the one at `current`; none when the scheduler has come to its end.
    fn next(&self, current: u64, now: u64) -> Result<Option<u64>, QueueError> {
        if self.limit.is_some_and(|limit| self.count > limit)
            || self.end_ms.is_some_and(|end| now > end)
        {
            return Ok(None);
        }
        match &self.rule {
            Rule::Every {
                every_ms,
                offset_ms,
            } => Ok(Some(next_every(current, *every_ms, *offset_ms, now))),
            Rule::Pattern { pattern, time_zone } => {
                let after = now.max(current).max(self.start_ms.unwrap_or(0));
                Ok(next_match(pattern, time_zone.as_deref(), after)?.map(|next| next.max(now)))
            }
        }
    }

    /// Writes the next job's options: the current one's, with the times and the count moved on.
    fn write(&self, opts: &mut Map<String, Value>, scheduler: &str, next: u64, now: u64) {
        let mut set = |name: &str, value: Value| opts.insert(name.to_owned(), value);
        set("jobId", json!(format!("repeat:{scheduler}:{next}")));
        set("repeatJobKey", json!(scheduler));
        set("timestamp", json!(now));
        set("delay", json!(next.saturating_sub(now)));
        if let Rule::Pattern { .. } = self.rule {
            set("prevMillis", json!(next));
        }
        opts.entry("attempts").or_insert_with(|| json!(0));
        if let Some(Value::Object(repeat)) = opts.get_mut("repeat") {
            repeat.insert("count".into(), json!(self.count));
            repeat.remove("immediately");
        }
    }
}

/// One interval on; where that has passed, the next slot that keeps to the offset.
fn next_every(current: u64, every_ms: u64, offset_ms: u64, now: u64) -> u64 {
    let next = current.saturating_add(every_ms);
    if next >= now {
        return next;
    }
    let aligned = (now / every_ms * every_ms).saturating_add(offset_ms);
    if aligned <= now {
        aligned + every_ms
    } else {
        aligned
    }
}

/// The next time after `after` that matches; in the machine's own time zone where none is named.
fn next_match(
    pattern: &str,
    time_zone: Option<&str>,
    after: u64,
) -> Result<Option<u64>, QueueError> {
    let invalid =
        |reason: String| QueueError::Invalid(format!("cron pattern `{pattern}`: {reason}"));
    let cron = CronParser::builder()
        .seconds(Seconds::Optional)
        .build()
        .parse(pattern)
        .map_err(|error| invalid(error.to_string()))?;
    let after = i64::try_from(after)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis);
    let after = after.ok_or_else(|| invalid("date is out of range".into()))?;
    match time_zone {
        None => Ok(following(&cron, after.with_timezone(&Local))),
        Some(name) => {
            let zone: chrono_tz::Tz = name
                .parse()
                .map_err(|_| invalid(format!("unknown time zone `{name}`")))?;
            Ok(following(&cron, after.with_timezone(&zone)))
        }
    }
}

/// A pattern that never matches again, such as 30 February, has no next time.
fn following<Z: TimeZone>(cron: &croner::Cron, after: DateTime<Z>) -> Option<u64> {
    let next = cron.find_next_occurrence(&after, false).ok()?;
    u64::try_from(next.timestamp_millis()).ok()
}

fn date_ms(text: &str) -> Option<u64> {
    u64::try_from(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(date: &str) -> u64 {
        date_ms(date).unwrap()
    }

    fn schedule(repeat: Value, stored: Value) -> Schedule {
        let (Value::Object(stored), Value::Object(opts)) = (stored, json!({ "repeat": repeat }))
        else {
            panic!()
        };
        Schedule::read(&opts, &stored).unwrap()
    }

    #[test]
    fn interval_keeps_its_offset_after_missed_ticks() {
        assert_eq!(next_every(1_000, 100, 0, 1_050), 1_100);
        assert_eq!(next_every(1_014, 100, 14, 1_114), 1_114);
        assert_eq!(next_every(1_014, 100, 14, 5_020), 5_114);
        assert_eq!(next_every(1_014, 100, 14, 5_010), 5_014);
    }

    #[test]
    fn pattern_follows_daylight_saving() {
        let at = |after: &str| {
            next_match("0 30 2 * * *", Some("Europe/Berlin"), ms(after))
                .unwrap()
                .unwrap()
        };
        // 02:30 is 01:30 UTC in winter and 00:30 UTC in summer.
        assert_eq!(at("2026-01-10T12:00:00Z"), ms("2026-01-11T01:30:00Z"));
        assert_eq!(at("2026-07-10T12:00:00Z"), ms("2026-07-11T00:30:00Z"));
        // On 29 March there is no 02:30; what counts is that the chain goes on that day or the next.
        let skipped = at("2026-03-28T12:00:00Z");
        assert!(skipped <= ms("2026-03-30T00:30:00Z") && skipped > ms("2026-03-28T12:00:00Z"));
        let weekly = next_match(
            "0 9 * * 1",
            Some("America/New_York"),
            ms("2026-11-01T12:00:00Z"),
        )
        .unwrap();
        assert_eq!(
            weekly,
            Some(ms("2026-11-02T14:00:00Z")),
            "the week in which the clock goes back"
        );
    }

    #[test]
    fn chain_ends_at_its_limit_and_its_end_date() {
        let limited = schedule(json!({ "every": 10, "limit": 3, "count": 2 }), json!({}));
        assert_eq!(limited.next(100, 100).unwrap(), Some(110));
        let spent = schedule(json!({ "every": 10, "limit": 3, "count": 3 }), json!({}));
        assert_eq!(spent.next(100, 100).unwrap(), None);
        let ended = schedule(json!({ "every": 10, "endDate": 99 }), json!({}));
        assert_eq!(ended.next(100, 100).unwrap(), None);
        let later = schedule(
            json!({ "pattern": "0 0 1 * *", "tz": "UTC", "startDate": "2027-05-15T00:00:00Z" }),
            json!({}),
        );
        assert_eq!(
            later.next(0, ms("2026-01-01T00:00:00Z")).unwrap(),
            Some(ms("2027-06-01T00:00:00Z"))
        );
    }

    #[test]
    fn stored_interval_wins_over_the_one_in_the_job() {
        let schedule = schedule(
            json!({ "every": 10 }),
            json!({ "every": 50.0, "offset": 7.0 }),
        );
        assert_eq!(
            schedule.rule,
            Rule::Every {
                every_ms: 50,
                offset_ms: 7
            }
        );
    }

    #[test]
    fn bad_patterns_are_errors_that_say_so() {
        let error = |pattern, zone| next_match(pattern, zone, 0).unwrap_err().to_string();
        assert!(error("every day", None).contains("cron pattern `every day`"));
        assert!(
            error("* * * * *", Some("Mars/Olympus")).contains("unknown time zone `Mars/Olympus`")
        );
        assert_eq!(next_match("0 0 30 2 *", Some("UTC"), 0).unwrap(), None);
    }
}
