//! Where a job's changes go: the trait between what a guest calls and the queue.
//!
//! A backend carries out what it is asked; whether the guest may ask it is the policy's question, which was
//! answered before. Values arrive as they were judged: a backend never parses a guest's JSON again.

mod answers;
mod kv;
mod queues;
mod shown;
mod stand_ins;
mod steps;

use async_trait::async_trait;
use serde::Deserialize;
use std::sync::Arc;

pub(crate) use self::answers::Given;
pub use self::answers::Told;
pub use self::kv::{KvBackend, KvError, KvPage, KvResult, KvRoom, KvStore, KvVersioned};
pub use self::queues::{
    CustomEvent, Finished, NewScheduler, QueueBackend, SchedulerBackend, SchedulerRange,
};
pub use self::shown::{ShowCall, Shown, Watch};
pub use self::stand_ins::{HttpAnswer, HttpAnswers, WallClock};
pub use self::steps::{ChildOutcome, StepBackend};
pub use crate::bindings::toril::processor::jobs::JobError;
use crate::names::{JobRef, QueueRef};
pub use crate::new_jobs::{FlowNode, NewJob};
use crate::policy::{QueueAccess, Refusal};

/// What a call answers.
pub type CallResult<T> = Result<T, JobError>;

/// The job of one attempt, and what can be done with it and from it.
#[async_trait]
pub trait JobBackend: QueueBackend + SchedulerBackend + KvBackend + StepBackend {
    /// The job as it was when the attempt began.
    fn job(&self) -> JobView<'_>;

    /// Hears of a line that the guest wrote to the host's log. Those who show calls show it.
    fn logged(&mut self, _level: tracing::Level, _line: &str) {}

    /// What the guest's wall clock shows, if not the machine's time. Only a dry run sets it.
    fn wall_clock(&self) -> Option<WallClock> {
        None
    }

    /// What answers the guest's requests, if servers do not. Only a dry run has it.
    fn http_answers(&self) -> Option<Arc<dyn HttpAnswers>> {
        None
    }

    /// Who hears of the lines that the guest prints, if anybody does.
    fn shows_lines(&self) -> Option<ShowCall> {
        None
    }

    /// Replaces the data. `data` is JSON.
    async fn update_data(&mut self, data: &str) -> CallResult<()>;
    /// Stores the progress. `progress` is JSON.
    async fn update_progress(&mut self, progress: &str) -> CallResult<()>;
    /// Appends a line to the job's log; returns how many are kept.
    async fn log(&mut self, line: &str) -> CallResult<u64>;

    /// Delays the job until a time in ms since the epoch.
    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()>;
    /// Lets the job wait for its children, or for one of them. False: there is nothing to wait for.
    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool>;
    /// Gives the job back, first in line.
    async fn move_to_wait(&mut self) -> CallResult<()>;

    /// Child key and value, JSON, of each child that completed, if all that has at most so many bytes.
    async fn children_values(&mut self, bytes_max: usize) -> CallResult<Vec<(String, String)>>;
    /// Child key and error of each child whose failure does not fail this job, if all that has at most so many bytes.
    async fn failed_children_values(
        &mut self,
        bytes_max: usize,
    ) -> CallResult<Vec<(String, String)>>;
    /// The children by kind and page, if their results have at most so many bytes: BullMQ's result as JSON.
    async fn dependencies(
        &mut self,
        query: &DependenciesQuery,
        bytes_max: usize,
    ) -> CallResult<String>;
    /// The number of children by kind: BullMQ's result as JSON.
    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String>;
    /// Removes the children that are neither active nor finished, and what hangs on them, if all of that lies
    /// within `access`; returns how many children.
    async fn remove_unprocessed_children(&mut self, access: &QueueAccess) -> CallResult<u64>;
    /// Frees this job from its parent. False: the parent did not wait for it.
    async fn remove_child_dependency(&mut self) -> CallResult<bool>;

    /// Adds jobs to one queue, all or none; returns their ids.
    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>>;
    /// Adds flows, all jobs or none; returns the trees as JSON.
    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String>;
    /// Reads a flow from one of its jobs, as far as it lies within `access`, if it has at most so many bytes; JSON,
    /// `null` for no such job.
    async fn get_flow(
        &mut self,
        job: &JobRef,
        query: FlowQuery,
        access: &QueueAccess,
        bytes_max: usize,
    ) -> CallResult<String>;
    /// The state of a job, in BullMQ's words.
    async fn state(&mut self, job: &JobRef) -> CallResult<String>;
    /// Removes a job and, if asked, its children, if all of them lie within `access`.
    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> CallResult<()>;
}

/// What a refused call says to people.
pub fn reason(error: JobError) -> String {
    match error {
        JobError::NotFound(reason)
        | JobError::LockLost(reason)
        | JobError::NotInState(reason)
        | JobError::ChildFailed(reason)
        | JobError::Denied(reason)
        | JobError::Limit(reason)
        | JobError::Invalid(reason)
        | JobError::Unavailable(reason) => reason,
    }
}

impl From<Refusal> for JobError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(reason) => JobError::Denied(reason),
            Refusal::Invalid(reason) => JobError::Invalid(reason),
        }
    }
}

/// The fields of a job, borrowed from the backend.
#[derive(Debug, Clone, Copy)]
pub struct JobView<'a> {
    /// Its id.
    pub id: &'a Arc<str>,
    /// Its name.
    pub name: &'a str,
    /// The name of its queue.
    pub queue: &'a Arc<str>,
    /// The prefix of its queue.
    pub prefix: &'a str,
    /// The data as stored: nothing vouches for their being JSON.
    pub data: &'a str,
    /// The options as stored, JSON.
    pub opts: &'a str,
    /// The progress as stored, JSON.
    pub progress: &'a str,
    /// Attempts that ended in completion or failure.
    pub attempts_made: u32,
    /// Times it was picked up, this one included.
    pub attempts_started: u32,
    /// Times it was given back because its worker had died.
    pub stalled_counter: u32,
    /// When it was added, in ms since the epoch.
    pub timestamp: u64,
    /// How long it was delayed, in ms.
    pub delay_ms: u64,
    /// 0 is none.
    pub priority: u32,
    /// How long an attempt may take, in ms, if its producer says: the option `timeout`.
    pub timeout_ms: Option<u64>,
    /// `prefix:queue:id` of its parent.
    pub parent_key: Option<&'a str>,
    /// The parent's record, JSON.
    pub parent: Option<&'a str>,
    /// The id of its scheduler.
    pub scheduler: Option<&'a str>,
    /// The deduplication id that it was added with.
    pub deduplication_id: Option<&'a str>,
    /// Why the attempt before failed, if there was one.
    pub failed_reason: Option<&'a str>,
    /// A JSON array with the stacks of the attempts that failed.
    pub stacktrace: &'a str,
    /// When this attempt began, in ms since the epoch.
    pub processed_on: u64,
}

/// How much of a flow to read.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowQuery {
    /// Levels, the root included.
    pub depth: usize,
    /// Children of each kind per job.
    pub max_children: u64,
}

impl Default for FlowQuery {
    fn default() -> Self {
        FlowQuery {
            depth: 10,
            max_children: 20,
        }
    }
}

/// Which kinds of children to read. None at all means all of every kind.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DependenciesQuery {
    /// Children that completed.
    pub processed: Option<Page>,
    /// Children that are pending.
    pub unprocessed: Option<Page>,
    /// Children whose failure does not fail the parent.
    pub ignored: Option<Page>,
    /// Children whose failure fails the parent.
    pub failed: Option<Page>,
}

/// A part of the children of one kind.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// 0, or what the last page gave as its next cursor.
    pub cursor: u64,
    /// About how many.
    pub count: u64,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            cursor: 0,
            count: 20,
        }
    }
}

/// Which children to count. None at all means all.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DependencyKinds {
    /// Children that completed.
    pub processed: bool,
    /// Children that are pending.
    pub unprocessed: bool,
    /// Children whose failure does not fail the parent.
    pub ignored: bool,
    /// Children whose failure fails the parent.
    pub failed: bool,
}
