//! What a guest does to jobs, queues and schedulers beside its own job. As everywhere, the policy was asked before.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::CallResult;
pub use crate::bindings::toril::processor::queues::Finished;
use crate::names::{JobRef, QueueRef};
use crate::new_jobs::NewJob;
use crate::policy::QueueAccess;

/// What can be done to jobs and queues that were granted.
#[async_trait]
pub trait QueueBackend: Send {
    /// Changes when a delayed job is due, in ms from now.
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()>;
    /// Changes the priority of a job; `lifo` puts it before its equals.
    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()>;
    /// Makes a delayed job wait no longer.
    async fn promote(&mut self, job: &JobRef) -> CallResult<()>;
    /// Puts a job back in line that ended in this way, if its parent lies within `access`.
    async fn retry(
        &mut self,
        job: &JobRef,
        ended: Finished,
        access: &QueueAccess,
    ) -> CallResult<()>;
    /// The number of jobs by state, JSON.
    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String>;
    /// Frees a deduplication id. False: no job held it.
    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool>;
    /// Limits the queue for so many ms.
    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()>;
    /// Emits an event.
    async fn publish_event(&mut self, queue: &QueueRef, event: &CustomEvent) -> CallResult<()>;
}

/// What can be done to the job schedulers of queues that were granted.
#[async_trait]
pub trait SchedulerBackend: Send {
    /// Adds a scheduler or changes it; returns the id of its next job, if there is one.
    async fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>>;
    /// Removes a scheduler and its next job. False: there is none.
    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool>;
    /// Reads a scheduler; JSON, `null` for none.
    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String>;
    /// Reads schedulers in the order of their next jobs; JSON.
    async fn schedulers(&mut self, queue: &QueueRef, range: SchedulerRange) -> CallResult<String>;
}

/// An event of a guest's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomEvent {
    /// Its name.
    pub name: String,
    /// What else it says.
    pub fields: Vec<(String, String)>,
}

/// A job scheduler to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewScheduler {
    /// Its id.
    pub id: String,
    /// BullMQ's `RepeatOptions`.
    pub schedule: Map<String, Value>,
    /// What its jobs are like.
    pub template: NewJob,
}

/// Which schedulers to read, counted from the first or, below zero, from the last one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerRange {
    /// The first.
    pub start: i64,
    /// The last.
    pub end: i64,
    /// The next job that is due first comes first.
    pub asc: bool,
}

impl Default for SchedulerRange {
    fn default() -> Self {
        SchedulerRange {
            start: 0,
            end: -1,
            asc: false,
        }
    }
}
