//! The job of this attempt, over the WIT resource.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use toril_options::json;

use crate::__internal::bindings::toril::processor::{jobs as raw, logging};
use crate::{Dependencies, DependenciesQuery, DependencyCounts, Error, Failure};

/// The job of this attempt.
///
/// Its fields are those of BullMQ's `Job`. The host holds the job's lock.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    raw: &'a raw::Job,
}

impl Job<'_> {
    /// The job's id.
    pub fn id(&self) -> String {
        self.raw.id()
    }

    /// The job's name.
    pub fn name(&self) -> String {
        self.raw.name()
    }

    /// The queue's name without the prefix.
    pub fn queue_name(&self) -> String {
        self.raw.queue_name()
    }

    /// `prefix:queue`, the value for `parent.queue` of a child.
    pub fn queue_qualified_name(&self) -> String {
        self.raw.queue_qualified_name()
    }

    /// Reads the data as `T`. The error says which field does not fit.
    ///
    /// Data with more than 1000 levels fits only `Box<RawValue>`. Half of a surrogate pair, which JavaScript allows, is read as
    /// U+FFFD. A number that `f64` cannot hold (`1e400`, which JavaScript reads as infinity) is read as the largest `f64`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        from_json("job data", &self.raw.data())
    }

    /// The data as JSON text.
    pub fn raw_data(&self) -> String {
        self.raw.data()
    }

    /// Reads the options as stored, with BullMQ's short keys (`kl` is `keepLogs`).
    pub fn opts<T: DeserializeOwned>(&self) -> Result<T, Error> {
        from_json("job opts", &self.raw.opts())
    }

    /// Attempts that ended in completion or failure.
    pub fn attempts_made(&self) -> u32 {
        self.raw.attempts_made()
    }

    /// How often the job was started, including this time.
    pub fn attempts_started(&self) -> u32 {
        self.raw.attempts_started()
    }

    /// When the job was added.
    pub fn timestamp(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.raw.timestamp())
    }

    /// How long the job was delayed; zero once it became due.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.raw.delay())
    }

    /// 0 means no priority; among prioritized jobs, 1 runs first.
    pub fn priority(&self) -> u32 {
        self.raw.priority()
    }

    /// Reads the progress as `T`; it is 0 until somebody sets it.
    pub fn progress<T: DeserializeOwned>(&self) -> Result<T, Error> {
        from_json("job progress", &self.raw.progress())
    }

    /// `prefix:queue:id` of the parent.
    pub fn parent_key(&self) -> Option<String> {
        self.raw.parent_key()
    }

    /// The parent's record: `id`, `queueKey` and the failure policy.
    pub fn parent(&self) -> Option<Value> {
        self.raw
            .parent()
            .and_then(|parent| json::read(&parent).ok())
    }

    /// The id of the scheduler that made the job.
    pub fn repeat_job_key(&self) -> Option<String> {
        self.raw.repeat_job_key()
    }

    /// How often the job returned to the queue because its worker had died.
    pub fn stalled_counter(&self) -> u32 {
        self.raw.stalled_counter()
    }

    /// Why the previous attempt failed; `None` if there was no attempt, or if somebody has retried the job since.
    pub fn failed_reason(&self) -> Option<String> {
        self.raw.failed_reason()
    }

    /// The stacks of failed attempts, newest last; the job keeps a limited number.
    pub fn stacktrace(&self) -> Vec<String> {
        self.raw.stacktrace()
    }

    /// When this attempt began.
    pub fn processed_on(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.raw.processed_on())
    }

    /// The deduplication id that the job was added with.
    pub fn deduplication_id(&self) -> Option<String> {
        self.raw.deduplication_id()
    }

    /// Replaces the data at once: a retry or a resumed step sees the new data.
    pub fn update_data(&self, data: &impl Serialize) -> Result<(), Error> {
        Ok(self.raw.update_data(&to_json("job data", data)?)?)
    }

    /// Stores the progress, a number or an object, and emits `progress`.
    ///
    /// The host does not wait for Redis: if Redis refuses it, the next `update_progress` or `log` returns the error.
    pub fn update_progress(&self, progress: &impl Serialize) -> Result<(), Error> {
        Ok(self
            .raw
            .update_progress(&to_json("job progress", progress)?)?)
    }

    /// Appends a line to the job's log, which dashboards show, and returns how many lines the log has.
    pub fn log(&self, line: impl AsRef<str>) -> Result<u64, Error> {
        Ok(self.raw.log(line.as_ref())?)
    }

    /// Delays the job until `time`; no attempt is spent. Leave the processor with the value that this returns:
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use toril_sdk::prelude::*;
    /// fn rest(job: Job, next: Value) -> Result<(), Failure> {
    ///     let exit = job.move_to_delayed(SystemTime::now() + Duration::from_secs(60))?;
    ///     job.update_data(&next)?;
    ///     Err(exit)
    /// }
    /// ```
    pub fn move_to_delayed(&self, time: SystemTime) -> Result<Failure, Error> {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.raw
            .move_to_delayed(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))?;
        Ok(Failure::Delayed)
    }

    /// Makes the job wait for its children. `Some`: the job waits; leave the processor with this value. `None`: no
    /// child is pending; continue.
    ///
    /// ```
    /// # use toril_sdk::prelude::*;
    /// fn wait(job: Job) -> Result<(), Failure> {
    ///     match job.move_to_waiting_children()? {
    ///         Some(exit) => Err(exit),
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    pub fn move_to_waiting_children(&self) -> Result<Option<Failure>, Error> {
        Ok(self
            .raw
            .move_to_waiting_children(None)?
            .then_some(Failure::WaitingChildren))
    }

    /// Makes the job wait for one child (`prefix:queue:id`), as
    /// [`move_to_waiting_children`](Job::move_to_waiting_children) does for all.
    pub fn move_to_waiting_child(&self, child_key: &str) -> Result<Option<Failure>, Error> {
        Ok(self
            .raw
            .move_to_waiting_children(Some(child_key))?
            .then_some(Failure::WaitingChildren))
    }

    /// Returns the job to the front of its queue; no attempt is spent. Leave the processor with the value that this returns.
    pub fn move_to_wait(&self) -> Result<Failure, Error> {
        self.raw.move_to_wait()?;
        Ok(Failure::Waiting)
    }

    /// Child key (`prefix:queue:id`) and value of each child that completed. If a value does not fit, the error names
    /// its child, and [`Job::raw_children_values`] still returns all values.
    pub fn children_values<T: DeserializeOwned>(&self) -> Result<BTreeMap<String, T>, Error> {
        let values = self.raw.children_values()?;
        values
            .into_iter()
            .map(|(key, value)| match json::read::<T>(&value) {
                Ok(value) => Ok((key, value)),
                Err(error) => Err(Error::Json {
                    what: "child value",
                    source: serde::de::Error::custom(format!("{key}: {error}")),
                }),
            })
            .collect()
    }

    /// Child key and value, as JSON text, of each child that completed.
    pub fn raw_children_values(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(self.raw.children_values()?.into_iter().collect())
    }

    /// Child key and error of each child whose failure does not fail this job; empty if none failed.
    pub fn failed_children_values(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(self.raw.failed_children_values()?.into_iter().collect())
    }

    /// Reads the children by kind and page.
    pub fn dependencies(&self, query: &DependenciesQuery) -> Result<Dependencies, Error> {
        from_json(
            "dependencies",
            &self.raw.dependencies(&to_json("query", query)?)?,
        )
    }

    /// Counts the children by kind.
    pub fn dependencies_count(&self) -> Result<DependencyCounts, Error> {
        from_json("dependency counts", &self.raw.dependencies_count("{}")?)
    }

    /// Removes the children that are waiting, delayed, prioritized or waiting for children; returns how many.
    ///
    /// Those that are active, completed or failed stay: a job that returns while a child is still active
    /// fails with `has pending dependencies`.
    pub fn remove_unprocessed_children(&self) -> Result<u64, Error> {
        Ok(self.raw.remove_unprocessed_children()?)
    }

    /// Detaches this job from its parent, which runs if this was its last child. False: the parent did not wait for it.
    /// A job without a parent gets [`Error::NotFound`].
    pub fn remove_child_dependency(&self) -> Result<bool, Error> {
        Ok(self.raw.remove_child_dependency()?)
    }

    /// An id for a child of this job. It is the same in each attempt: if an attempt fails after it added the child, the next
    /// one finds the child instead of adding it again.
    ///
    /// `name` distinguishes the children of one job.
    pub fn child_id(&self, name: &str) -> String {
        // Colons separate the parts of a key; a scheduler's job has them in its id.
        format!("{}-{}-{name}", self.queue_name(), self.id()).replace(':', "-")
    }

    /// The step at which to continue, for a processor that keeps it in the job's data: the field `step`, or the default if there
    /// is none. With [`Job::step`] a processor does not need this.
    pub fn current_step<S: DeserializeOwned + Default>(&self) -> Result<S, Error> {
        let fields = json::read::<Fields>(&self.raw_data()).unwrap_or_default();
        match fields.get("step") {
            None => Ok(S::default()),
            Some(step) => {
                json::read(step.get()).map_err(|_| Error::Invalid(format!("invalid step: {step}")))
            }
        }
    }

    /// Stores the next step in the job's data and returns it: a retry continues there.
    pub fn next_step<S: Serialize>(&self, step: S) -> Result<S, Error> {
        let mut fields: Fields = json::read(&self.raw_data())
            .map_err(|_| Error::Invalid("a job in steps needs an object as its data".into()))?;
        let stored = to_raw_value(&step).map_err(|source| Error::Json {
            what: "step",
            source,
        })?;
        fields.insert("step".into(), stored);
        self.update_data(&fields)?;
        Ok(step)
    }

    /// True once the job should stop: its lock is lost, it was cancelled, its deadline is near, or the host shuts
    /// down. A failure that the processor returns then counts as any other: the job is tried again unless the failure is
    /// unrecoverable.
    pub fn is_cancelled(&self) -> bool {
        self.raw.is_cancelled()
    }

    /// Why the job should stop; `None` while nobody asked it to stop, even if its deadline is near.
    pub fn cancel_reason(&self) -> Option<String> {
        self.raw.cancel_reason()
    }
}

/// The fields of a job's data. Only the step is read; the other fields stay as they are.
type Fields = BTreeMap<String, Box<RawValue>>;

/// Runs a processor on a job as the component's export does.
#[doc(hidden)]
pub fn run<'a, T: Serialize>(
    raw: &'a raw::Job,
    process: impl FnOnce(Job<'a>) -> Result<T, Failure>,
) -> Result<String, raw::Failure> {
    // A panic traps: the host learns of its message only through this call.
    std::panic::set_hook(Box::new(|panic| logging::fatal(&panic.to_string())));
    let value = process(Job { raw })?;
    Ok(to_json("return value", &value).map_err(Failure::from)?)
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    json::read(text).map_err(|source| Error::Json { what, source })
}

pub(crate) fn to_json(what: &'static str, value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Json { what, source })
}
