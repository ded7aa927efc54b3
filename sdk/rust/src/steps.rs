//! Durable steps: what one attempt of a job has done, a later one does not do again.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::__internal::bindings::toril::processor::steps as raw;
use crate::job::{from_json, to_json};
use crate::{Error, Failure, Job, NewJob, Queue};

impl Job<'_> {
    /// Runs a step, or returns its value where an earlier attempt has run it.
    ///
    /// The value is kept in the job before this returns; what the step does may happen more than once, if the host dies
    /// before that. A failure leaves as it is, and nothing is kept. An attempt uses each name once.
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

    /// Lets time pass, from when an attempt first comes here. `?` leaves the attempt meanwhile: the job is delayed, and no
    /// attempt is spent.
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

    /// Adds a job as a child of this one, once, and returns its value. `?` leaves the attempt while it runs: this job waits
    /// for its children, and no attempt is spent. A child that fails for good is a [`Failure::Failed`] with its reason.
    ///
    /// The child's id is made by the host. Where its options do not say what its failure means for this job, this job goes
    /// on and learns of it.
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

    /// Waits for all children of the job. `?` leaves the attempt while one is pending, and no attempt is spent.
    pub fn wait_for_children(&self) -> Result<(), Failure> {
        match self.move_to_waiting_children()? {
            Some(exit) => Err(exit),
            None => Ok(()),
        }
    }

    /// A place in a long loop, which a later attempt finds again.
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

/// A place in a long loop, from [`Job::cursor`].
#[derive(Debug)]
pub struct Cursor<P> {
    name: String,
    place: Option<P>,
}

impl<P: Serialize + DeserializeOwned> Cursor<P> {
    /// The place that was kept last; `None` before the first one.
    pub fn get(&self) -> Option<&P> {
        self.place.as_ref()
    }

    /// Keeps a place, at once: one write to Redis.
    pub fn set(&mut self, place: P) -> Result<(), Error> {
        raw::set_cursor(&self.name, &to_json("place of a cursor", &place)?)?;
        self.place = Some(place);
        Ok(())
    }
}
