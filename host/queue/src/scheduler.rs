//! Job schedulers as a producer sees them: adding, changing, reading and removing.
//!
//! The time of the first job is computed here, from where the scheduler stood when it was read; the script that writes
//! looks whether it still stands there.

use redis::Value as Reply;
use serde_json::{Map, Value};
use toril_options::js;
use toril_options::json::{self, Fields, raw, raw_or_text};

use crate::error::QueueError;
use crate::job_state::JobState;
use crate::new_job::NewJob;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::redis::text::text;
use crate::request::Request;
use crate::schedule::{First, Schedule, Standing, deduplication_id, of_scheduler, priority_of};
use crate::time::now_ms;

/// How often to read again where others change the same scheduler.
const TRIES_MAX: usize = 20;
/// How many slots of an interval may have a job already, as in BullMQ.
const SLOTS_MAX: u32 = 32;

/// What the script answers.
enum Upserted {
    Job(String),
    StandsElsewhere,
    TimeIsTaken,
}

impl Queue {
    /// Adds a job scheduler, or changes the one of this id; returns the id of its next job. None: the schedule has come
    /// to its end. `schedule` is BullMQ's `RepeatOptions`, `template` what its jobs are like
    /// (`NewJob::of_template`).
    pub async fn upsert_scheduler(
        &self,
        id: &str,
        schedule: Map<String, Value>,
        template: &NewJob,
    ) -> Result<Option<String>, QueueError> {
        let now = now_ms();
        let in_scheduler = |error| of_scheduler(id, error);
        let Some(schedule) = Schedule::read(schedule, now).map_err(in_scheduler)? else {
            return Ok(None);
        };
        let mut slots = 0;
        for _ in 0..TRIES_MAX + SLOTS_MAX as usize {
            let standing = self.standing(id).await?;
            let Some(first) = schedule.first(&standing, now, slots) else {
                return Ok(None);
            };
            let upserted = self.try_upsert(id, &schedule, template, &standing, &first, now);
            match upserted.await? {
                Upserted::Job(job) => return Ok(Some(job)),
                Upserted::StandsElsewhere => {}
                Upserted::TimeIsTaken if schedule.has_slots() && slots < SLOTS_MAX => slots += 1,
                Upserted::TimeIsTaken => {
                    let reason = "a job for its next time exists already".to_owned();
                    return Err(in_scheduler(QueueError::Invalid(reason)));
                }
            }
        }
        let reason = "another client changed it at the same time: try again".to_owned();
        Err(in_scheduler(QueueError::Invalid(reason)))
    }

    /// Where a scheduler stands now.
    async fn standing(&self, id: &str) -> Result<Standing, QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZSCORE").arg(self.keys.of("repeat")).arg(id);
        let hash = self.keys.of(&format!("repeat:{id}"));
        pipeline.cmd("HGET").arg(hash).arg("every");
        let (current, every): (Option<String>, Option<String>) = self.redis.ask(&pipeline).await?;
        let waits = match &current {
            None => false,
            Some(time) => {
                let job = format!("repeat:{id}:{time}");
                let state = self.state(&job).await?;
                let waits = matches!(
                    state,
                    JobState::Delayed | JobState::Prioritized | JobState::Waiting
                );
                waits && self.job(&job).await?.is_some()
            }
        };
        Ok(Standing {
            every: every.and_then(|every| every.parse().ok()),
            current,
            waits,
        })
    }

    async fn try_upsert(
        &self,
        id: &str,
        schedule: &Schedule,
        template: &NewJob,
        standing: &Standing,
        first: &First,
        now: u64,
    ) -> Result<Upserted, QueueError> {
        let given: Map<String, Value> = json::read(template.opts_json()).unwrap_or_default();
        let deduplication = given.get("de").and_then(|options| options.get("id"));
        let deduplication = deduplication.map(deduplication_id).unwrap_or_default();
        let opts = schedule.job_options(given.clone(), id, first, now);
        let script = script!(
            "upsert_scheduler",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove",
            "store"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(now)
            .arg(id)
            .arg(standing.current.as_deref().unwrap_or_default())
            .arg(if standing.waits { "1" } else { "" })
            .arg(first.at_ms)
            .arg(Value::Object(opts).to_string())
            .arg(js::number_to_text(priority_of(given.get("priority"))))
            .arg(u8::from(template.options.lifo))
            .arg(deduplication)
            .arg(&template.name)
            .arg(&template.data);
        for (name, value) in schedule.stored_fields(first) {
            call.arg(name).arg(value);
        }
        if !given.is_empty() {
            call.arg("opts").arg(Value::Object(given).to_string());
        }
        if template.data != "{}" {
            call.arg("data").arg(&template.data);
        }
        match self.redis.run(script, &call).await? {
            Reply::Int(0) => Ok(Upserted::StandsElsewhere),
            Reply::Int(1) => Ok(Upserted::TimeIsTaken),
            Reply::BulkString(job) => Ok(Upserted::Job(text(&job))),
            _ => Err(QueueError::Reply("upsert_scheduler")),
        }
    }

    /// Removes a scheduler and its next job, if that is delayed. False: there is no such scheduler.
    pub async fn remove_scheduler(&self, id: &str) -> Result<bool, QueueError> {
        self.remove_scheduler_once(id, &Request::untracked()).await
    }

    /// Removes a scheduler as [`Queue::remove_scheduler`] does, once however often the request is sent.
    pub async fn remove_scheduler_once(
        &self,
        id: &str,
        request: &Request,
    ) -> Result<bool, QueueError> {
        let script = script!(once
            "remove_scheduler",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        request.push(&mut call, self.keys.base())?;
        self.redis.run(script, &call).await
    }

    /// Reads a scheduler as BullMQ's `JobSchedulerJson`; `None` where there is none.
    pub async fn scheduler(&self, id: &str) -> Result<Option<Fields>, QueueError> {
        let mut command = redis::cmd("ZSCORE");
        command.arg(self.keys.of("repeat")).arg(id);
        let next: Option<f64> = self.redis.ask(&command).await?;
        match next {
            None => Ok(None),
            Some(next) => self.described(id, next).await,
        }
    }

    /// Reads schedulers in the order of their next jobs: from the `start`th to the `end`th, counted from the first or,
    /// below zero, from the last one.
    pub async fn schedulers(
        &self,
        start: i64,
        end: i64,
        asc: bool,
    ) -> Result<Vec<Fields>, QueueError> {
        let mut command = redis::cmd(if asc { "ZRANGE" } else { "ZREVRANGE" });
        command.arg(self.keys.of("repeat")).arg(start).arg(end);
        command.arg("WITHSCORES");
        let found: Vec<(String, f64)> = self.redis.ask(&command).await?;
        let mut schedulers = Vec::new();
        for (id, next) in found {
            schedulers.extend(self.described(&id, next).await?);
        }
        Ok(schedulers)
    }

    async fn described(&self, id: &str, next: f64) -> Result<Option<Fields>, QueueError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.of(&format!("repeat:{id}")));
        let fields: Vec<(String, String)> = self.redis.ask(&command).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        Ok(Some(described(id, next, fields)))
    }
}

fn described(id: &str, next: f64, fields: Vec<(String, String)>) -> Fields {
    let mut described = Fields::from([
        ("key".to_owned(), raw(id)),
        ("next".to_owned(), raw(&(next as u64))),
    ]);
    let mut template = Fields::new();
    for (name, value) in fields {
        let whole = || js::parse_int(value.as_bytes());
        match name.as_str() {
            "name" | "tz" | "pattern" => drop(described.insert(name, raw(&value))),
            "ic" => drop(described.insert("iterationCount".to_owned(), raw(&(whole() as u64)))),
            "limit" | "startDate" | "endDate" | "every" | "offset" => {
                described.insert(name, raw(&(whole() as i64)));
            }
            "data" => drop(template.insert(name, raw_or_text(&value))),
            "opts" => {
                let opts: Fields = json::read(&value).unwrap_or_default();
                template.insert(name, raw(&toril_options::long_names(opts)));
            }
            _ => {}
        }
    }
    if !template.is_empty() {
        described.insert("template".to_owned(), raw(&template));
    }
    described
}
