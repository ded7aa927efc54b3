//! Cancelling jobs that no worker has. Only the worker that runs a job can stop it.

use std::sync::Arc;

use crate::error::QueueError;
use crate::job::Job;
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::redis::text;
use crate::settle::wire::keep_rule;
use crate::time::now_ms;
use toril_options::KeepJobs;

/// What was done about a job that should not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelledJob {
    /// It waited, in this state, and has failed.
    Failed(JobState),
    /// It runs, under the lock with this token; empty where the lock ran out.
    Runs(Arc<str>),
    /// It had come to an end, or there is no such job.
    Ended(JobState),
}

impl Queue {
    /// Fails a job that waits, for its turn, its time or its children, with this reason. Its parent learns of it as of
    /// any other failure, and its scheduler goes on.
    pub async fn cancel_waiting(&self, id: &str, reason: &str) -> Result<CancelledJob, QueueError> {
        let Some(job) = self.job_as_taken(id).await? else {
            return Ok(CancelledJob::Ended(JobState::Unknown));
        };
        if job.scheduler.is_some() {
            // As when it is picked up: the next job of its scheduler is added, unless it was. Before the job fails, so
            // that one whose schedule cannot be read stays where it is.
            self.advance_scheduler(&job).await?;
        }
        let keep = job.options.remove_on_fail.unwrap_or(KeepJobs::ALL);
        let script = script!("cancel_job", "ids"; "chunks", "events", "line", "parent", "remove", "store", "deduplication", "outcomes");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(now_ms()).arg(reason).arg(keep_rule(&keep));
        let reply = self.redis.run(script, &call).await?;
        let (state, lock): (String, String) =
            text::read(reply).map_err(|_| QueueError::Reply("cancel_job"))?;
        let state: JobState = state.parse().map_err(|_| QueueError::Reply("cancel_job"))?;
        Ok(match state {
            JobState::Active => CancelledJob::Runs(lock.into()),
            JobState::Completed | JobState::Failed | JobState::Unknown => {
                CancelledJob::Ended(state)
            }
            _ => CancelledJob::Failed(state),
        })
    }

    async fn job_as_taken(&self, id: &str) -> Result<Option<Job>, QueueError> {
        let record = self.job(id).await?;
        Ok(record.map(|record| {
            let fields = record
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            Job::from_hash(id.as_bytes(), fields, &Arc::from(""))
        }))
    }

    /// True while a job is locked with this token.
    pub async fn is_locked_by(&self, id: &str, token: &str) -> Result<bool, QueueError> {
        let mut command = redis::cmd("GET");
        command.arg(format!("{}:lock", self.keys.job(id)));
        let holder: Option<String> = self.redis.ask(&command).await?;
        Ok(holder.is_some_and(|holder| holder == token))
    }

    /// The children that a job waits for: their queues and ids.
    pub async fn pending_children(&self, id: &str) -> Result<Vec<(Queue, String)>, QueueError> {
        if self.is_foreign(id).await? {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("SMEMBERS");
        command.arg(format!("{}:dependencies", self.keys.job(id)));
        let keys: Vec<String> = self.redis.ask(&command).await?;
        let flows = self.flows();
        Ok(keys.iter().filter_map(|key| flows.locate(key)).collect())
    }
}
