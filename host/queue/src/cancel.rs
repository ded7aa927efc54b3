//! Cancelling jobs that no worker has. Only the worker that runs a job can stop it.

use std::sync::Arc;

use crate::error::QueueError;
use crate::job::Job;
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::settle::{FailedAttempt, Fetch, Settlement, SettlementKind};
use toril_options::KeepJobs;

/// For how long a job is locked while it is settled, in ms. Where that fails, it waits again once this is over.
const LOCK_MS: u64 = 10_000;

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
    /// any other failure, and its scheduler goes on. `token` must be of this call alone.
    pub async fn cancel_waiting(
        &self,
        id: &str,
        reason: &str,
        token: &str,
    ) -> Result<CancelledJob, QueueError> {
        self.let_scheduler_go_on(id).await?;
        let script = script!("take_job", "ids");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(token).arg(LOCK_MS);
        let (state, lock): (String, String) = self.redis.run(script, &call).await?;
        let state: JobState = state.parse().map_err(|_| QueueError::Reply("take_job"))?;
        match state {
            JobState::Active => return Ok(CancelledJob::Runs(lock.into())),
            JobState::Completed | JobState::Failed | JobState::Unknown => {
                return Ok(CancelledJob::Ended(state));
            }
            _ => {}
        }
        let taken = self.reclaim(&Fetch::of_token(token, LOCK_MS)).await?;
        let job = taken
            .into_iter()
            .next()
            .ok_or(QueueError::Reply("reclaim"))?;
        let failed = SettlementKind::Failed {
            attempt: FailedAttempt {
                made: job.attempts_made,
                reason: reason.to_owned(),
                stacktrace: job.stacktrace.clone().unwrap_or_else(|| "[]".to_owned()),
            },
            // It is not that its attempts were used up.
            attempts: f64::INFINITY,
            keep: job.options.remove_on_fail.unwrap_or(KeepJobs::ALL),
        };
        self.settle_one(Settlement::new(&job, failed)).await?;
        Ok(CancelledJob::Failed(state))
    }

    /// As when it is picked up: the next job of its scheduler is added, unless it was. Before the job is taken, so that
    /// one whose schedule cannot be read stays where it is.
    async fn let_scheduler_go_on(&self, id: &str) -> Result<(), QueueError> {
        let record = self.job(id).await?.unwrap_or_default();
        if !record.contains_key("rjk") {
            return Ok(());
        }
        let fields = record
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let job = Job::from_hash(id.as_bytes(), fields, &Arc::from(""));
        self.advance_scheduler(&job).await.map(drop)
    }

    /// True while a job is locked with this token.
    pub async fn is_locked_by(&self, id: &str, token: &str) -> Result<bool, QueueError> {
        let mut command = redis::cmd("GET");
        command.arg(format!("{}:lock", self.keys.job(id)));
        let holder: Option<String> = command.query_async(&mut self.redis.shared()).await?;
        Ok(holder.is_some_and(|holder| holder == token))
    }

    /// The children that a job waits for: their queues and ids.
    pub async fn pending_children(&self, id: &str) -> Result<Vec<(Queue, String)>, QueueError> {
        if self.is_foreign(id).await? {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("SMEMBERS");
        command.arg(format!("{}:dependencies", self.keys.job(id)));
        let keys: Vec<String> = command.query_async(&mut self.redis.shared()).await?;
        let flows = self.flows();
        Ok(keys.iter().filter_map(|key| flows.locate(key)).collect())
    }
}
