//! Adding jobs, looking at them and removing them, in the queues that the operator granted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use toril_options::json;

use crate::__internal::bindings::toril::processor::producer as raw;
use crate::__internal::bindings::toril::processor::queues;
use crate::{Error, Flow, FlowJob, Job};

/// A queue, by its name without the prefix. The operator grants it in `grants.queues`.
#[derive(Debug, Clone)]
pub struct Queue {
    name: String,
}

impl Queue {
    /// Names a queue.
    pub fn new(name: impl Into<String>) -> Self {
        Queue { name: name.into() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a job and returns its id. If a job with this [`id`](NewJob::id) exists, no job is added, and the existing one
    /// becomes a child of the given parent.
    pub fn add(&self, job: NewJob) -> Result<String, Error> {
        Ok(raw::add(&self.name, &job.into_raw()?)?)
    }

    /// Adds jobs, all or none, and returns their ids.
    pub fn add_bulk(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<String>, Error> {
        let jobs = jobs
            .into_iter()
            .map(NewJob::into_raw)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(raw::add_bulk(&self.name, &jobs)?)
    }

    /// The state of a job: `completed`, `failed`, `delayed`, `prioritized`, `active`, `waiting`,
    /// `waiting-children` or `unknown`.
    pub fn state(&self, id: &str) -> Result<String, Error> {
        Ok(raw::state(&self.name, id)?)
    }

    /// Removes a job and its children. If one of them is active, nothing is removed.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        Ok(raw::remove(&self.name, id, true)?)
    }

    /// Makes a delayed job due this long from now. For any other job, returns [`Error::NotInState`].
    pub fn change_delay(&self, id: &str, delay: Duration) -> Result<(), Error> {
        Ok(queues::change_delay(&self.name, id, millis(delay))?)
    }

    /// Changes the priority of a job; 0 means none. A waiting job goes behind the others of that priority.
    pub fn change_priority(&self, id: &str, priority: u32) -> Result<(), Error> {
        Ok(queues::change_priority(&self.name, id, priority, false)?)
    }

    /// Changes the priority of a job as [`Queue::change_priority`] does. If the job waits, it becomes the first of its new priority.
    pub fn change_priority_lifo(&self, id: &str, priority: u32) -> Result<(), Error> {
        Ok(queues::change_priority(&self.name, id, priority, true)?)
    }

    /// Makes a delayed job wait for its turn now. For any other job, returns [`Error::NotInState`].
    pub fn promote(&self, id: &str) -> Result<(), Error> {
        Ok(queues::promote(&self.name, id)?)
    }

    /// Makes a failed job wait again. Its parent, if it has one, waits for it again.
    pub fn retry(&self, id: &str) -> Result<(), Error> {
        Ok(queues::retry(&self.name, id, queues::Finished::Failed)?)
    }

    /// Makes a completed job wait again. Its parent, if it has one, waits for it again.
    pub fn retry_completed(&self, id: &str) -> Result<(), Error> {
        Ok(queues::retry(&self.name, id, queues::Finished::Completed)?)
    }

    /// Counts the jobs by state.
    pub fn counts(&self) -> Result<JobCounts, Error> {
        let counts = queues::counts(&self.name)?;
        json::read(&counts).map_err(|source| Error::Json {
            what: "job counts",
            source,
        })
    }

    /// Lets jobs with this deduplication id be added again. Returns false if no job held the id.
    pub fn remove_deduplication_key(&self, id: &str) -> Result<bool, Error> {
        Ok(queues::remove_deduplication_key(&self.name, id)?)
    }

    /// Limits the queue for a time: workers take no job of it. The operator limits how long.
    pub fn rate_limit(&self, duration: Duration) -> Result<(), Error> {
        Ok(queues::rate_limit(&self.name, millis(duration))?)
    }

    /// Emits a custom event for listeners of `QueueEvents`. It may have up to 64 KiB and 100 fields, and must not have the name of
    /// an event of BullMQ.
    pub fn publish_event<'a>(
        &self,
        name: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let fields: Vec<_> = fields.into_iter().map(owned).collect();
        Ok(queues::publish_event(&self.name, name, &fields)?)
    }

    /// Reads the flow below a job, `depth` levels deep, up to `max_children` of each kind per job,
    /// as JSON with each job's state. `None`: there is no such job.
    pub fn flow(&self, id: &str, depth: u32, max_children: u32) -> Result<Option<Value>, Error> {
        let query = json!({ "depth": depth, "maxChildren": max_children }).to_string();
        let tree = raw::get_flow(&self.name, id, &query)?;
        json::read(&tree).map_err(|source| Error::Json {
            what: "flow",
            source,
        })
    }
}

/// How many jobs a queue has in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct JobCounts {
    /// Jobs that workers run.
    pub active: u64,
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that wait for a time.
    pub delayed: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs that wait for a worker, ordered by priority.
    pub prioritized: u64,
    /// Jobs that wait for a worker.
    pub waiting: u64,
    /// Jobs that wait for their children.
    pub waiting_children: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A job to add: a name, data, and BullMQ's `JobsOptions`.
#[derive(Debug)]
pub struct NewJob {
    pub(crate) name: String,
    pub(crate) data: Result<String, serde_json::Error>,
    pub(crate) options: Map<String, Value>,
}

impl NewJob {
    /// A job without data (`{}`) and options.
    pub fn new(name: impl Into<String>) -> Self {
        NewJob {
            name: name.into(),
            data: Ok("{}".into()),
            options: Map::new(),
        }
    }

    pub(crate) fn into_raw(self) -> Result<raw::NewJob, Error> {
        let data = self.data.map_err(|source| Error::Json {
            what: "job data",
            source,
        })?;
        Ok(raw::NewJob {
            name: self.name,
            data,
            options: Value::Object(self.options).to_string(),
        })
    }
}

/// The data and options that [`NewJob`] and [`Flow`] have in common. The prelude has this trait.
pub trait Describe: Sized {
    #[doc(hidden)]
    fn describe(&mut self) -> &mut NewJob;

    /// Sets the data. An error shows when the job is added.
    fn data(mut self, data: &impl Serialize) -> Self {
        self.describe().data = serde_json::to_string(data);
        self
    }

    /// Sets one of BullMQ's `JobsOptions` by its name.
    fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.describe()
            .options
            .insert(name.to_owned(), value.into());
        self
    }

    /// Sets the job's id: a job with an id that exists is not added again. [`Job::child_id`] makes an id that is the same in each
    /// attempt.
    fn id(self, id: impl Into<String>) -> Self {
        self.option("jobId", id.into())
    }

    /// Delays the job.
    fn delay(self, delay: Duration) -> Self {
        self.option("delay", millis(delay))
    }

    /// Sets how often the job may be tried.
    fn attempts(self, attempts: u32) -> Self {
        self.option("attempts", attempts)
    }

    /// Makes the job a child of the running one, which can then wait for it.
    fn child_of(self, parent: &Job<'_>) -> Self {
        self.option(
            "parent",
            json!({ "id": parent.id(), "queue": parent.queue_qualified_name() }),
        )
    }

    /// Fails the parent if this job fails.
    fn fail_parent_on_failure(self) -> Self {
        self.option("failParentOnFailure", true)
    }

    /// Lets the parent run at once if this job fails, even while other children are pending.
    fn continue_parent_on_failure(self) -> Self {
        self.option("continueParentOnFailure", true)
    }

    /// Lets the parent run in spite of this job's failure. The parent can read the failure.
    fn ignore_dependency_on_failure(self) -> Self {
        self.option("ignoreDependencyOnFailure", true)
    }

    /// Lets the parent run in spite of this job's failure. The parent cannot read the failure.
    fn remove_dependency_on_failure(self) -> Self {
        self.option("removeDependencyOnFailure", true)
    }
}

impl Describe for NewJob {
    fn describe(&mut self) -> &mut NewJob {
        self
    }
}

/// Adds all jobs of these flows, or none.
pub(crate) fn add_flows(flows: &[Flow]) -> Result<Vec<FlowJob>, Error> {
    let in_flow = |source| Error::Json {
        what: "flow",
        source,
    };
    let nodes = flows.iter().map(Flow::node);
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let flows = serde_json::to_string(&nodes).map_err(in_flow)?;
    let added = raw::add_flows(&flows, "{}")?;
    json::read(&added).map_err(in_flow)
}
