//! Job schedulers: jobs that are added at certain times, in the queues that the operator granted.

use std::time::Duration;

use serde_json::{Map, Value, json};
use toril_options::json;

use crate::__internal::bindings::toril::processor::schedulers as raw;
use crate::{Error, NewJob, Queue};

/// When a scheduler adds its jobs: BullMQ's `RepeatOptions`.
///
/// ```
/// # use toril_sdk::prelude::*;
/// # use std::time::Duration;
/// # fn plan() -> Result<(), Error> {
/// let queue = Queue::new("reports");
/// queue.upsert_scheduler("hourly", Schedule::every(Duration::from_secs(3600)), NewJob::new("report"))?;
/// let nightly = Schedule::cron("0 3 * * *").time_zone("Europe/Berlin");
/// queue.upsert_scheduler("nightly", nightly, NewJob::new("report").data(&json!({ "full": true })))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    options: Map<String, Value>,
}

impl Schedule {
    fn new(name: &str, value: Value) -> Self {
        let options = Map::from_iter([(name.to_owned(), value)]);
        Schedule { options }
    }

    /// Adds a job after each interval.
    pub fn every(interval: Duration) -> Self {
        let ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        Schedule::new("every", json!(ms))
    }

    /// Adds a job at the times of a cron pattern.
    pub fn cron(pattern: impl Into<String>) -> Self {
        Schedule::new("pattern", json!(pattern.into()))
    }

    /// Sets the time zone of the pattern, such as `Europe/Berlin`. The default is the host's.
    pub fn time_zone(self, name: impl Into<String>) -> Self {
        self.option("tz", name.into())
    }

    /// Sets another of BullMQ's `RepeatOptions` by its name: `limit`, `startDate`, `endDate`, `offset`, `immediately`.
    pub fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.options.insert(name.to_owned(), value.into());
        self
    }
}

/// Job schedulers.
impl Queue {
    /// Adds a scheduler, or changes the one with this id; returns the id of its next job, or `None` if the schedule has
    /// ended. The scheduler sets the job's id, `delay` and parent: do not set them.
    pub fn upsert_scheduler(
        &self,
        id: &str,
        schedule: Schedule,
        job: NewJob,
    ) -> Result<Option<String>, Error> {
        let schedule = Value::Object(schedule.options).to_string();
        Ok(raw::upsert(self.name(), id, &schedule, &job.into_raw()?)?)
    }

    /// Removes a scheduler, and its next job if that one is delayed. Returns false if there is no such scheduler.
    pub fn remove_scheduler(&self, id: &str) -> Result<bool, Error> {
        Ok(raw::remove(self.name(), id)?)
    }

    /// Reads a scheduler: BullMQ's `JobSchedulerJson`, with `next` (ms since the epoch), its schedule and its template.
    pub fn scheduler(&self, id: &str) -> Result<Option<Value>, Error> {
        read(&raw::get(self.name(), id)?)
    }

    /// Reads the first schedulers, in the order of their next jobs.
    pub fn schedulers(&self, max: u32) -> Result<Vec<Value>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let query = json!({ "start": 0, "end": max - 1, "asc": true }).to_string();
        read(&raw::list(self.name(), &query)?)
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    json::read(text).map_err(|source| Error::Json {
        what: "scheduler",
        source,
    })
}
