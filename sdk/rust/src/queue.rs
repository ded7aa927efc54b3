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

    /// Adds a job and returns its id. With an [`id`](NewJob::id) that exists already nothing is added,
    /// and the job becomes the child of the given parent.
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

    /// Changes when a delayed job is due: this long from now. Any other job gets [`Error::NotInState`].
    pub fn change_delay(&self, id: &str, delay: Duration) -> Result<(), Error> {
        Ok(queues::change_delay(&self.name, id, millis(delay))?)
    }

    /// Changes the priority of a job; 0 is none. A job that waits is put in line again, behind its equals.
    pub fn change_priority(&self, id: &str, priority: u32) -> Result<(), Error> {
        Ok(queues::change_priority(&self.name, id, priority, false)?)
    }

    /// Changes the priority of a job as [`Queue::change_priority`] does, and puts it before its equals.
    pub fn change_priority_lifo(&self, id: &str, priority: u32) -> Result<(), Error> {
        Ok(queues::change_priority(&self.name, id, priority, true)?)
    }

    /// Makes a delayed job wait no longer. Any other job gets [`Error::NotInState`].
    pub fn promote(&self, id: &str) -> Result<(), Error> {
        Ok(queues::promote(&self.name, id)?)
    }

    /// Puts a failed job back in line. Its parent, if it has one, waits for it again.
    pub fn retry(&self, id: &str) -> Result<(), Error> {
        Ok(queues::retry(&self.name, id, queues::Finished::Failed)?)
    }

    /// Puts a completed job back in line. Its parent, if it has one, waits for it again.
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

    /// Lets jobs with this deduplication id be added again. False: no job held it.
    pub fn remove_deduplication_key(&self, id: &str) -> Result<bool, Error> {
        Ok(queues::remove_deduplication_key(&self.name, id)?)
    }

    /// Limits the queue for a time: workers take no job of it. The operator limits how long.
    pub fn rate_limit(&self, duration: Duration) -> Result<(), Error> {
        Ok(queues::rate_limit(&self.name, millis(duration))?)
    }

    /// Emits a custom event, for listeners of `QueueEvents`. It may have 64 KiB and 100 fields, and not
    /// the name of an event of BullMQ.
    pub fn publish_event<'a>(
        &self,
        name: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let fields: Vec<_> = fields.into_iter().map(owned).collect();
        Ok(queues::publish_event(&self.name, name, &fields)?)
    }

    /// Reads a flow from one of its jobs, `depth` levels deep, up to `max_children` of each kind per job,
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
    /// A worker has them.
    pub active: u64,
    /// Done, with a value.
    pub completed: u64,
    /// Wait for their time.
    pub delayed: u64,
    /// Done, with a reason.
    pub failed: u64,
    /// Wait, ordered by priority.
    pub prioritized: u64,
    /// Wait for a worker.
    pub waiting: u64,
    /// Wait for their children.
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

/// What [`NewJob`] and [`Flow`] have in common: data and options. Use it through the prelude.
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

    /// Sets the job's id: adding it again adds nothing. [`Job::child_id`] makes one that a retry finds again.
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

    /// Fails the parent when this job fails.
    fn fail_parent_on_failure(self) -> Self {
        self.option("failParentOnFailure", true)
    }

    /// Lets the parent run at once when this job fails, its other children or not.
    fn continue_parent_on_failure(self) -> Self {
        self.option("continueParentOnFailure", true)
    }

    /// Lets the parent run in spite of this job's failure, which it can read.
    fn ignore_dependency_on_failure(self) -> Self {
        self.option("ignoreDependencyOnFailure", true)
    }

    /// Lets the parent run in spite of this job's failure, of which it learns nothing.
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
