//! Durable steps: a later attempt of a job does not repeat a step that an earlier one has finished.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::__internal::bindings::toril::processor::steps as raw;
use crate::job::{from_json, to_json};
use crate::{Error, Failure, Job, NewJob, Queue};

impl Job<'_> {
    /// Runs a step and stores its value. If an earlier attempt has stored the value, returns that value without running the step.
    ///
    /// The value is stored in the job before this returns. If the host dies before that, a later attempt runs the step again. If
    /// the step fails, this returns the failure and stores nothing. An attempt uses each name once.
    ///
    /// ```
    /// # use toril_sdk::prelude::*;
    /// # fn reserve() -> Result<u64, Failure> { Ok(7) }
    /// # fn charge(_: u64) -> Result<String, Failure> { Ok("paid".into()) }
    /// fn process(job: Job) -> Result<String, Failure> {
    ///     let seat = job.step("reserve", reserve)?;
    ///     job.step("charge", || charge(seat))
    /// }
    /// ```
    pub fn step<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(kept) = raw::begin(name).map_err(Error::from)? {
            return Ok(from_json("kept value of a step", &kept)?);
        }
        let kept = to_json("value of a step", &run()?)?;
        raw::finish(name, &kept).map_err(Error::from)?;
        // As later attempts get it.
        Ok(from_json("kept value of a step", &kept)?)
    }

    /// Delays the job for a time, counted from the first call of any attempt. Until the time is over, `?` ends the attempt: the job
    /// is delayed, and no attempt is spent.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use toril_sdk::prelude::*;
    /// fn process(job: Job) -> Result<(), Failure> {
    ///     job.sleep("cool down", Duration::from_secs(3600))?;
    ///     Ok(())
    /// }
    /// ```
    pub fn sleep(&self, name: &str, duration: Duration) -> Result<(), Failure> {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match raw::sleep(name, millis).map_err(Error::from)? {
            true => Err(Failure::Delayed),
            false => Ok(()),
        }
    }

    /// Adds a job as a child of this one, once, and returns its value. Until the child has ended, `?` ends the attempt: this job
    /// waits for the child, and no attempt is spent. If the child fails for good, this returns a [`Failure::Failed`] with its reason.
    ///
    /// The host makes the child's id. If no option of the child says what its failure means for this job, this job continues and
    /// gets that failure.
    ///
    /// ```
    /// # use toril_sdk::prelude::*;
    /// fn process(job: Job) -> Result<Value, Failure> {
    ///     let parcel = NewJob::new("parcel").data(&json!({ "order": job.id() }));
    ///     job.call("ship", &Queue::new("shipping"), parcel)
    /// }
    /// ```
    pub fn call<T: DeserializeOwned>(
        &self,
        name: &str,
        queue: &Queue,
        job: NewJob,
    ) -> Result<T, Failure> {
        let job = job.into_raw()?;
        match raw::call(name, queue.name(), &job).map_err(Error::from)? {
            raw::Called::Waiting => Err(Failure::WaitingChildren),
            raw::Called::Completed(value) => Ok(from_json("value of the called job", &value)?),
            raw::Called::Failed(reason) => Err(Failure::new(reason)),
        }
    }

    /// Waits for all children of the job. While one is pending, `?` ends the attempt, and no attempt is spent.
    pub fn wait_for_children(&self) -> Result<(), Failure> {
        match self.move_to_waiting_children()? {
            Some(exit) => Err(exit),
            None => Ok(()),
        }
    }

    /// Begins a cursor, the place in a long loop. A later attempt continues from the place that was stored last.
    ///
    /// ```
    /// # use toril_sdk::prelude::*;
    /// fn process(job: Job) -> Result<(), Failure> {
    ///     let rows = vec!["a", "b", "c"];
    ///     let mut cursor = job.cursor("rows")?;
    ///     let done: usize = cursor.get().copied().unwrap_or(0);
    ///     for (at, row) in rows.iter().enumerate().skip(done) {
    ///         job.log(row)?;
    ///         cursor.set(at + 1)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn cursor<P: Serialize + DeserializeOwned>(&self, name: &str) -> Result<Cursor<P>, Error> {
        let kept = raw::cursor(name)?;
        let place = kept.map(|place| from_json("kept place of a cursor", &place));
        Ok(Cursor {
            name: name.to_owned(),
            place: place.transpose()?,
        })
    }
}

/// The place in a long loop, from [`Job::cursor`].
#[derive(Debug)]
pub struct Cursor<P> {
    name: String,
    place: Option<P>,
}

impl<P: Serialize + DeserializeOwned> Cursor<P> {
    /// The place that was stored last; `None` before the first one.
    pub fn get(&self) -> Option<&P> {
        self.place.as_ref()
    }

    /// Stores a place at once, with one write to Redis.
    pub fn set(&mut self, place: P) -> Result<(), Error> {
        raw::set_cursor(&self.name, &to_json("place of a cursor", &place)?)?;
        self.place = Some(place);
        Ok(())
    }
}
