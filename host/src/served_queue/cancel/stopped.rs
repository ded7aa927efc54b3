//! Waits until running jobs that should stop have stopped, and finds out what became of them.

use std::time::{Duration, Instant};

use super::{Cancellation, Running};
use crate::served_queue::deployment::{CancelRequest, Deployments};
use toril_queue::{CancelledJob, JobState, Lock, Queue, QueueError};
use toril_sandbox::cancellation;

/// A host is to stop a job within a second, and gives it its grace time.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// The same where nobody renews the lock of the job: its host may have died, and the job is failed once the lock expires.
const LOCK_EXPIRES_WITHIN: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Two looks at a lock that nobody renews find the same end, but for the time that a look takes.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// What became of a job that was asked to stop.
pub(super) struct End {
    pub(super) outcome: Cancellation,
    /// Afterwards.
    pub(super) state: JobState,
    /// If they were asked for: those that it waits for, or waited for when it failed.
    pub(super) children: Vec<(Queue, String)>,
}

/// Waits for a start that was asked to stop.
pub(super) async fn stopped(mut running: Running, with_children: bool) -> Result<End, QueueError> {
    let mut patience = Patience::since(running.asked_at);
    loop {
        let lock = running.queue.lock_of(&running.request.id).await?;
        match lock.filter(|lock| lock.token == running.request.token) {
            Some(lock) if patience.is_over(&lock, Instant::now()) => {
                return Ok(End {
                    outcome: Cancellation::StillRuns,
                    state: JobState::Active,
                    children: Vec::new(),
                });
            }
            Some(_) => {}
            None => {
                if let Some(end) = after_its_start(&mut running, with_children).await? {
                    return Ok(end);
                }
                // It has started again, and that start was asked to stop.
                patience.started_again();
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What became of a job whose start has ended. If nobody has it and its attempt has not ended, it fails now. None: it has
/// started again.
async fn after_its_start(
    running: &mut Running,
    with_children: bool,
) -> Result<Option<End>, QueueError> {
    let Running { queue, request, .. } = running;
    let (id, only) = (&request.id, Some(&request.attempt));
    let reason = cancellation(&request.said);
    let (found, children) = queue
        .cancel_unheld_of_flow(id, &reason, only, with_children)
        .await?;
    let (outcome, state) = match found {
        CancelledJob::Failed(_) => (Cancellation::Stopped, JobState::Failed),
        CancelledJob::AnotherAttempt(state) => (Cancellation::FailedByItself, state),
        // For good, with the host's reason or one of its own: it heard of the request.
        CancelledJob::Ended(state)
            if state != JobState::Completed && queue.failure_of(id).await?.is_some() =>
        {
            (Cancellation::Stopped, JobState::Failed)
        }
        CancelledJob::Ended(state) => (Cancellation::EndedByItself, state),
        CancelledJob::Runs { token, .. } => {
            running.ask_again(&token).await?;
            return Ok(None);
        }
    };
    Ok(Some(End {
        outcome,
        state,
        children,
    }))
}

impl Running {
    /// The job has started again: that start is asked, too, once.
    async fn ask_again(&mut self, token: &str) -> Result<(), QueueError> {
        if token == self.request.token {
            return Ok(());
        }
        let request = CancelRequest {
            token: token.to_owned(),
            ..self.request.clone()
        };
        Deployments::of(&self.queue).ask_to_cancel(&request).await?;
        self.request = request;
        Ok(())
    }
}

/// How long to wait for a job that keeps its lock.
struct Patience {
    asked_at: Instant,
    /// When the lock expires unless it is renewed, as it was first seen.
    expires_at: Option<Instant>,
}

impl Patience {
    fn since(asked_at: Instant) -> Self {
        Patience {
            asked_at,
            expires_at: None,
        }
    }

    fn started_again(&mut self) {
        self.expires_at = None;
    }

    /// A lock that is renewed has a worker that is alive and does not stop the job. One that is not may be that of a worker
    /// that died: it is worth waiting for its end.
    fn is_over(&mut self, lock: &Lock, now: Instant) -> bool {
        let expires_at = lock.expires_in.map(|left| now + left);
        let first = *self.expires_at.get_or_insert(expires_at.unwrap_or(now));
        let is_renewed = expires_at.is_none_or(|at| at > first + LOOK_TIME_MAX);
        let waited = now.saturating_duration_since(self.asked_at);
        waited >= LOCK_EXPIRES_WITHIN || is_renewed && waited >= STOPPED_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(left_ms: u64) -> Lock {
        Lock {
            token: "worker:1".to_owned(),
            expires_in: Some(Duration::from_millis(left_ms)),
        }
    }

    #[test]
    fn lock_that_nobody_renews_is_waited_for_and_one_that_is_renewed_is_not() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut dead = Patience::since(start);
        for ms in (0..29_000).step_by(1_000) {
            assert!(!dead.is_over(&lock(30_000 - ms), at(ms)), "{ms}");
        }
        let mut alive = Patience::since(start);
        assert!(!alive.is_over(&lock(30_000), at(0)));
        assert!(!alive.is_over(&lock(30_000), at(9_000)), "within its time");
        assert!(alive.is_over(&lock(30_000), at(10_000)));
        let mut endless = Patience::since(start);
        let lock = Lock {
            expires_in: None,
            ..lock(0)
        };
        assert!(endless.is_over(&lock, at(10_000)));
    }

    #[test]
    fn lock_that_holds_for_long_is_not_waited_for() {
        let start = Instant::now();
        let mut patience = Patience::since(start);
        assert!(!patience.is_over(&lock(3_600_000), start));
        let later = start + LOCK_EXPIRES_WITHIN;
        assert!(patience.is_over(&lock(3_540_000), later));
    }
}
