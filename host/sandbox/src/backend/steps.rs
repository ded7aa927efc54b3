//! The steps that a job keeps.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::CallResult;
use crate::names::JobRef;

/// What became of a child of a job, as the job knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildOutcome {
    /// It is no child of the job, or of no kind that leaves a trace.
    Unknown,
    /// The job waits for it.
    Pending,
    /// Its value, JSON.
    Completed(String),
    /// Why it failed; the job may go on.
    Failed(String),
    /// It failed, and the job fails with it.
    FailsParent,
}

/// What a job can do with its steps.
#[async_trait]
pub trait StepBackend: Send {
    /// The time by which the job's delays are reckoned, in ms since the epoch.
    fn now_ms(&self) -> u64;
    /// The names of the steps and what is kept of each, as it was when the attempt began.
    fn steps(&self) -> &[(String, String)];
    /// How many steps of the job were dropped so far: a job that is called after that is another one.
    fn steps_dropped(&self) -> u64 {
        0
    }
    /// Keeps something of a step, in place of what is there.
    async fn keep_step(&mut self, name: &str, record: &str) -> CallResult<()>;
    /// What became of a child, if its value has at most so many bytes.
    async fn child_outcome(&mut self, child: &JobRef, bytes_max: usize)
    -> CallResult<ChildOutcome>;
}
