//! Keeping the locks of running jobs, and giving back the jobs of workers that died.

use std::sync::Arc;

use crate::error::QueueError;
use crate::job::Job;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::time::{SAFE_INTEGER_MAX, now_ms};

/// A running attempt at a job, and the lock that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockedAttempt {
    /// The job's id.
    pub job_id: Arc<str>,
    /// The token of its lock.
    pub token: Arc<str>,
    /// How often the job had started, this attempt included: [`Job::attempts_started`].
    pub attempts_started: u32,
    /// When it started, in ms since the epoch: [`Job::processed_on`].
    pub processed_on: u64,
}

impl LockedAttempt {
    /// The attempt that a job was taken for.
    pub fn of(job: &Job) -> Self {
        LockedAttempt {
            job_id: Arc::clone(&job.id),
            token: Arc::clone(&job.token),
            attempts_started: job.attempts_started,
            processed_on: job.processed_on,
        }
    }
}

impl Queue {
    /// Renews the locks of running attempts in one call and returns those that have none any more.
    ///
    /// A lock that ran out is taken again if the job is still active and has not started since.
    pub async fn extend_locks(
        &self,
        attempts: &[LockedAttempt],
        lock_ms: u64,
    ) -> Result<Vec<LockedAttempt>, QueueError> {
        let script = script!("extend_locks", "chunks");
        let mut call = script.call(self.keys.meta());
        call.arg(lock_ms.min(SAFE_INTEGER_MAX));
        for attempt in attempts {
            call.arg(&*attempt.job_id)
                .arg(&*attempt.token)
                .arg(attempt.attempts_started)
                .arg(attempt.processed_on);
        }
        let lost: Vec<usize> = self.redis.run(script, &call).await?;
        let lost = lost.into_iter().map(|number| {
            let attempt = number.checked_sub(1).and_then(|at| attempts.get(at));
            attempt.cloned().ok_or(QueueError::Reply("extend_locks"))
        });
        lost.collect()
    }

    /// Gives back jobs that were active at the last check and have no lock now; returns their ids.
    ///
    /// At most one check per interval takes effect, whichever worker of the queue makes it. A job that
    /// stalled more than `stalled_max` times fails when it is picked up next.
    pub async fn recover_stalled(
        &self,
        interval_ms: u64,
        stalled_max: u32,
    ) -> Result<Vec<String>, QueueError> {
        let script = script!("recover_stalled", "chunks", "events", "ids", "line");
        let mut call = script.call(self.keys.meta());
        call.arg(now_ms())
            .arg(interval_ms.clamp(1, SAFE_INTEGER_MAX))
            .arg(stalled_max);
        self.redis.run(script, &call).await
    }
}
