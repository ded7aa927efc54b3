//! Job schedulers: the next job is added when the current one is picked up, so that the chain goes on
//! whatever becomes of that one.

mod carried;
mod date;
mod first;

use serde_json::{Map, Value, json};

use crate::cron::{Cron, CronOptions, Zone};
use crate::error::QueueError;
use crate::job::Job;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::time::now_ms;
use carried::Carried;
use date::date;
use toril_options::js::{self, is_truthy};

pub(crate) use carried::{deduplication_id, priority_of};
pub(crate) use first::{First, Schedule, Standing};

/// The fields of a scheduler's hash that take precedence over what its jobs carry.
const STORED: [&str; 2] = ["every", "offset"];

/// The next job of a scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledJob {
    /// When it is due, in ms since the epoch.
    pub at_ms: u64,
    /// Its options, as BullMQ stores them: those of the job before, with the times and the count moved on.
    pub opts: Map<String, Value>,
}

/// Computes the job that follows another one of a scheduler, as BullMQ does when it picks that one up.
/// None when the scheduler has come to its end.
///
/// `opts` are the options of the job that was picked up; its `repeat` has the schedule. `stored` has `every` and
/// `offset`, in ms, where the scheduler's hash has them. `current` is when the job was due, in ms since the epoch like
/// `now`.
///
/// # Errors
///
/// [`QueueError::Invalid`] where BullMQ throws: there is neither or both of `every` and `pattern`, or a pattern, zone or
/// date is invalid, which also those of a custom `repeatStrategy` are.
pub fn next_scheduled_job(
    mut opts: Map<String, Value>,
    stored: &Map<String, Value>,
    scheduler: &str,
    current: u64,
    now: u64,
) -> Result<Option<ScheduledJob>, QueueError> {
    let empty = Map::new();
    let repeat = opts.get("repeat").and_then(Value::as_object);
    let repeat = repeat.unwrap_or(&empty);
    have_one_rule(repeat)?;
    let bounds = Bounds::read(repeat)?;
    if bounds.are_reached(now) {
        return Ok(None);
    }
    let rule = Rule::read(repeat, stored)?;
    let Some(at_ms) = rule.next(current, now, &bounds) else {
        return Ok(None);
    };
    write(&mut opts, &rule, &bounds, scheduler, at_ms, now);
    Ok(Some(ScheduledJob { at_ms, opts }))
}

/// Where a scheduler begins and ends.
#[derive(Debug)]
struct Bounds {
    limit: Option<f64>,
    /// That of the next job.
    count: u64,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
}

/// When jobs of a scheduler are due.
#[derive(Debug)]
enum Rule {
    /// In ms. As BullMQ's script, with numbers that need not be whole.
    Every { every: f64, offset: f64 },
    Pattern {
        cron: Cron,
        zone: Zone,
        /// The next job is due at once.
        immediately: bool,
    },
}

impl Queue {
    /// Adds the next job of the scheduler that made `job`, unless that was done. Returns its id.
    ///
    /// # Errors
    ///
    /// Those of [`next_scheduled_job`], for which the job must not run now: BullMQ's worker leaves it, and tries again
    /// later. Others are Redis's.
    pub async fn advance_scheduler(&self, job: &Job) -> Result<Option<String>, QueueError> {
        let Some(scheduler) = &job.scheduler else {
            return Ok(None);
        };
        let Some(current) = self.current_time(job, scheduler).await? else {
            return Ok(None);
        };
        let in_scheduler = |error| of_scheduler(scheduler, error);
        let carried = Carried::read(&job.opts_json).map_err(in_scheduler)?;
        let schedule = carried.schedule().map_err(in_scheduler)?;
        let stored = self.stored_schedule(scheduler).await?;
        let now = now_ms();
        let next = next_scheduled_job(schedule, &stored, scheduler, current, now);
        let Some(ScheduledJob { at_ms, opts }) = next.map_err(in_scheduler)? else {
            return Ok(None);
        };
        let (priority, deduplication) = (carried.priority(), carried.deduplication_id());
        let script = script!("advance_scheduler", "events", "line", "store");
        let mut call = script.call(self.keys.meta());
        call.arg(now)
            .arg(scheduler)
            .arg(current)
            .arg(at_ms)
            .arg(carried.moved_on(opts))
            .arg(js::number_to_text(priority))
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
        command
            .arg(self.keys.of(&format!("repeat:{scheduler}")))
            .arg(&STORED);
        // BullMQ's script reads what is no number as if it were not there.
        let values: Vec<Option<String>> = self.redis.ask(&command).await?;
        let number = |text: String| text.parse::<f64>().ok();
        let pairs = STORED.into_iter().zip(values);
        Ok(pairs
            .filter_map(|(name, value)| Some((name.to_owned(), json!(number(value?)?))))
            .collect())
    }
}

impl Bounds {
    fn read(repeat: &Map<String, Value>) -> Result<Self, QueueError> {
        Ok(Bounds {
            // To BullMQ null is a limit, and less than the first job's number.
            limit: match repeat.get("limit") {
                Some(Value::Null) => Some(0.0),
                _ => number(repeat, "limit"),
            },
            count: (number(repeat, "count").unwrap_or(0.0) as u64).saturating_add(1),
            start_ms: date(repeat, "startDate")?,
            end_ms: date(repeat, "endDate")?,
        })
    }

    fn are_reached(&self, now: u64) -> bool {
        self.limit.is_some_and(|limit| self.count as f64 > limit)
            || self.end_ms.is_some_and(|end| now as i64 > end)
    }
}

/// Refuses what BullMQ refuses before it looks at anything else.
fn have_one_rule(repeat: &Map<String, Value>) -> Result<(), QueueError> {
    let has = |name| repeat.get(name).is_some_and(is_truthy);
    let reason = match (has("every"), has("pattern")) {
        (true, true) => "schedule has both `every` and `pattern`",
        (false, false) => "schedule has neither `every` nor `pattern`",
        _ if has("immediately") && has("startDate") => {
            "schedule has both `immediately` and `startDate`"
        }
        _ => return Ok(()),
    };
    Err(QueueError::Invalid(reason.into()))
}

/// Writes the next job's options: the current one's, with the times and the count moved on.
fn write(
    opts: &mut Map<String, Value>,
    rule: &Rule,
    bounds: &Bounds,
    scheduler: &str,
    next: u64,
    now: u64,
) {
    let mut set = |name: &str, value: Value| opts.insert(name.to_owned(), value);
    set("jobId", json!(format!("repeat:{scheduler}:{next}")));
    set("repeatJobKey", json!(scheduler));
    set("timestamp", json!(now));
    set("delay", json!(next.saturating_sub(now)));
    let is_pattern = matches!(rule, Rule::Pattern { .. });
    if is_pattern {
        set("prevMillis", json!(next));
    }
    opts.entry("attempts").or_insert_with(|| json!(0));
    let Some(Value::Object(repeat)) = opts.get_mut("repeat") else {
        return;
    };
    repeat.insert("count".into(), json!(bounds.count));
    repeat.remove("immediately");
    if is_pattern || number(repeat, "offset").is_none_or(|offset| offset == 0.0) {
        repeat.remove("offset");
    }
    for (name, date) in [("startDate", bounds.start_ms), ("endDate", bounds.end_ms)] {
        match date {
            Some(ms) => repeat.insert(name.into(), json!(ms)),
            None => repeat.remove(name),
        };
    }
}

impl Rule {
    /// Reads what the job carries in `opts.repeat`, and over it what is stored with the scheduler.
    fn read(repeat: &Map<String, Value>, stored: &Map<String, Value>) -> Result<Self, QueueError> {
        let pattern = repeat.get("pattern").filter(|pattern| is_truthy(pattern));
        // BullMQ reads the pattern also where a stored interval takes its place.
        let pattern = pattern.map(|_| Rule::read_pattern(repeat)).transpose()?;
        let either = |name| number(stored, name).or_else(|| number(repeat, name));
        match (either("every"), pattern) {
            (Some(every), _) if every >= 1.0 => Ok(Rule::Every {
                every,
                offset: either("offset").unwrap_or(0.0),
            }),
            (None, Some(pattern)) => Ok(pattern),
            _ => {
                let reason = "`every` of the schedule is not a number of milliseconds";
                Err(QueueError::Invalid(reason.into()))
            }
        }
    }

    /// The time of the next job after the one at `current`; none when the scheduler has come to its end.
    fn next(&self, current: u64, now: u64, bounds: &Bounds) -> Option<u64> {
        match self {
            Rule::Every { every, offset } => Some(next_every(current, *every, *offset, now)),
            // The job at `current` was that one, if this is the same moment.
            Rule::Pattern {
                immediately: true, ..
            } if now > current => Some(now),
            Rule::Pattern { cron, zone, .. } => {
                let after = (now.max(current) as i64).max(bounds.start_ms.unwrap_or(0));
                let next = cron.next(zone, after, bounds.end_ms)?;
                u64::try_from(next).ok()
            }
        }
    }

    fn read_pattern(repeat: &Map<String, Value>) -> Result<Self, QueueError> {
        let Some(pattern) = repeat.get("pattern").and_then(Value::as_str) else {
            let reason = "`pattern` of the schedule is not a string";
            return Err(QueueError::Invalid(reason.into()));
        };
        let options = CronOptions {
            hash_seed: repeat.get("hashSeed").and_then(Value::as_str),
            strict: repeat.get("strict").is_some_and(is_truthy),
        };
        Ok(Rule::Pattern {
            cron: Cron::parse(pattern, &options)?,
            zone: zone(repeat.get("tz").unwrap_or(&Value::Null))?,
            immediately: repeat.get("immediately").is_some_and(is_truthy),
        })
    }
}

/// One interval on; where that has passed, the next slot that keeps to the offset.
fn next_every(current: u64, every: f64, offset: f64, now: u64) -> u64 {
    let (current, now) = (current as f64, now as f64);
    let next = current + every;
    if next >= now {
        return next as u64;
    }
    let aligned = (now / every).floor() * every + offset;
    let slot = if aligned <= now {
        aligned + every
    } else {
        aligned
    };
    slot as u64
}

pub(crate) fn of_scheduler(scheduler: &str, error: QueueError) -> QueueError {
    match error {
        QueueError::Invalid(reason) => {
            QueueError::Invalid(format!("job scheduler `{scheduler}`: {reason}"))
        }
        other => other,
    }
}

/// The machine's own zone where none is named. A number is minutes east of UTC.
fn zone(tz: &Value) -> Result<Zone, QueueError> {
    match tz {
        Value::Null => Ok(Zone::Local),
        Value::String(name) => Zone::parse(name),
        tz => match tz.as_f64() {
            Some(minutes) => Ok(Zone::Fixed((minutes * 60.0) as i32)),
            None => Err(QueueError::Invalid(format!("unknown time zone `{tz}`"))),
        },
    }
}

/// A number, also where a producer wrote it as text. An empty text says nothing.
fn number(map: &Map<String, Value>, name: &str) -> Option<f64> {
    match map.get(name)? {
        Value::String(text) if text.is_empty() => None,
        value @ (Value::Number(_) | Value::String(_)) => {
            Some(js::to_number(value)).filter(|number| !number.is_nan())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::date::date_ms;
    use super::*;

    fn ms(date: &str) -> u64 {
        u64::try_from(date_ms(date).unwrap()).unwrap()
    }

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!() };
        map
    }

    fn next(repeat: Value, current: u64, now: u64) -> Option<u64> {
        let opts = map(json!({ "repeat": repeat }));
        let next = next_scheduled_job(opts, &Map::new(), "s", current, now);
        Some(next.unwrap()?.at_ms)
    }

    fn refusal(repeat: Value) -> String {
        let opts = map(json!({ "repeat": repeat }));
        let refused = next_scheduled_job(opts, &Map::new(), "s", 0, 5);
        refused.unwrap_err().to_string()
    }

    #[test]
    fn interval_keeps_its_offset_after_missed_ticks() {
        assert_eq!(next_every(1_000, 100.0, 0.0, 1_050), 1_100);
        assert_eq!(next_every(1_014, 100.0, 14.0, 1_114), 1_114);
        assert_eq!(next_every(1_014, 100.0, 14.0, 5_020), 5_114);
        assert_eq!(next_every(1_014, 100.0, 14.0, 5_010), 5_014);
    }

    #[test]
    fn chain_ends_at_its_limit_and_its_end_date() {
        let limited = json!({ "every": 10, "limit": 3, "count": 2 });
        assert_eq!(next(limited, 100, 100), Some(110));
        let spent = json!({ "every": 10, "limit": 3, "count": 3 });
        assert_eq!(next(spent, 100, 100), None);
        let none = json!({ "every": 10, "limit": null });
        assert_eq!(next(none, 100, 100), None);
        let ended = json!({ "every": 10, "endDate": 99 });
        assert_eq!(next(ended, 100, 100), None);
        let ended_and_invalid = json!({ "pattern": "every full moon", "endDate": 99 });
        assert_eq!(next(ended_and_invalid, 100, 100), None);
    }

    #[test]
    fn no_job_of_a_pattern_is_due_after_the_end_date() {
        let until = |end: &str| {
            let monthly = json!({ "pattern": "0 0 1 * *", "tz": "UTC", "endDate": ms(end) });
            next(monthly, 0, ms("2026-03-10T00:00:00Z"))
        };
        assert_eq!(until("2026-03-31T23:59:59Z"), None);
        assert_eq!(until("2026-04-01"), Some(ms("2026-04-01")));
        // BullMQ looks at an interval's end only when a job is picked up.
        let interval = json!({ "every": 1000, "endDate": 1500 });
        assert_eq!(next(interval, 1000, 1000), Some(2000));
    }

    #[test]
    fn chain_begins_after_its_start_date() {
        let from = |start: Value| {
            let monthly = json!({ "pattern": "0 0 1 * *", "tz": "UTC", "startDate": start });
            next(monthly, 0, ms("2026-01-01T00:00:00Z"))
        };
        assert_eq!(from(json!("2027-05-15T00:00:00Z")), Some(ms("2027-06-01")));
        assert_eq!(from(json!(ms("2027-06-01"))), Some(ms("2027-07-01")));
        assert_eq!(from(Value::Null), Some(ms("2026-02-01")));
    }

    #[test]
    fn first_job_of_a_pattern_may_be_due_at_once() {
        let at_once = || json!({ "pattern": "* * * * *", "immediately": true });
        assert_eq!(next(at_once(), 1000, 5000), Some(5000));
        assert_eq!(next(at_once(), 5000, 5000), Some(60_000));
    }

    #[test]
    fn stored_interval_wins_over_the_one_in_the_job() {
        let opts = map(json!({ "repeat": { "every": 10 } }));
        let stored = map(json!({ "every": 50.0, "offset": 7.0 }));
        let next = next_scheduled_job(opts, &stored, "s", 1000, 2003).unwrap();
        let next = next.unwrap();
        assert_eq!(next.at_ms, 2007);
        assert_eq!(next.opts["jobId"], "repeat:s:2007");
    }

    #[test]
    fn next_job_has_the_options_that_bullmq_writes() {
        let opts = map(json!({
            "attempts": 3, "prevMillis": 1, "delay": 9, "jobId": "repeat:s:1", "de": { "id": "one" },
            "repeat": { "pattern": "@minutely", "tz": "utc", "count": 4, "offset": 0, "immediately": false,
                "startDate": "1970-01-01T00:00:01Z", "endDate": null },
        }));
        let next = next_scheduled_job(opts, &Map::new(), "s", 60_000, 60_500).unwrap();
        let expected = json!({
            "attempts": 3, "prevMillis": 120_000, "delay": 59_500, "jobId": "repeat:s:120000", "de": { "id": "one" },
            "repeatJobKey": "s", "timestamp": 60_500,
            "repeat": { "pattern": "@minutely", "tz": "utc", "count": 5, "startDate": 1000 },
        });
        assert_eq!(Value::Object(next.unwrap().opts), expected);
    }

    #[test]
    fn zone_may_be_a_number_of_minutes() {
        let east = json!({ "pattern": "0 0 * * *", "tz": 90 });
        assert_eq!(next(east, 0, 0), Some(ms("1970-01-01T22:30:00Z")));
        assert_eq!(zone(&Value::Null).unwrap(), Zone::Local);
    }

    #[test]
    fn invalid_schedules_are_errors_that_say_why() {
        for (repeat, reason) in [
            (json!({}), "neither `every` nor `pattern`"),
            (
                json!({ "every": 5, "pattern": "* * * * *" }),
                "both `every` and `pattern`",
            ),
            (json!({ "every": -5 }), "`every` of the schedule"),
            (json!({ "pattern": 5 }), "`pattern` of the schedule"),
            (
                json!({ "pattern": "every day" }),
                "cron pattern `every day`",
            ),
            (
                json!({ "pattern": "RRULE:FREQ=DAILY" }),
                "cron pattern `RRULE:FREQ=DAILY`",
            ),
            (
                json!({ "pattern": "* * * * *", "tz": "Mars/Olympus" }),
                "unknown time zone `Mars/Olympus`",
            ),
            (
                json!({ "pattern": "* * * * *", "tz": true }),
                "unknown time zone `true`",
            ),
            (
                json!({ "pattern": "* * * * *", "endDate": "soon" }),
                "`endDate` of the schedule",
            ),
            (
                json!({ "pattern": "* * * * *", "immediately": true, "startDate": 5 }),
                "both `immediately`",
            ),
        ] {
            let refusal = refusal(repeat);
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
