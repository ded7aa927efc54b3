//! Calls to Redis on behalf of a guest: repeated until they are answered, with errors that a guest understands.

use std::sync::atomic::{AtomicBool, Ordering};

use backon::Retryable as _;
use toril_queue::{ErrorCode, LockedAttempt, Moved, Queue, QueueError, Settlement};
use toril_sandbox::backend::{CallResult, JobError};
use toril_sandbox::names::QueueRef;
use toril_sandbox::policy::QueueAccess;

use crate::retries::pauses;

/// Repeats a call while Redis is unreachable, until the job's deadline.
pub(super) async fn until_answered<T, F: Future<Output = Result<T, QueueError>>>(
    call: impl FnMut() -> F,
) -> CallResult<T> {
    retried(call).await.map_err(job_error)
}

// If the memory of Redis is full, the guest decides what becomes of its job.
pub(super) use crate::retries::past_outages_unless_full as retried;

/// The lock of the job that an attempt runs, and how long it holds.
pub(super) struct Lock<'a> {
    pub(super) queue: &'a Queue,
    pub(super) attempt: LockedAttempt,
    pub(super) lock_ms: u64,
}

impl Lock<'_> {
    /// Repeats a call that is refused without the lock. One that ran out because nobody could renew it is taken again
    /// first, unless another worker has the job.
    pub(super) async fn retried<T, F: Future<Output = Result<T, QueueError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, QueueError> {
        match retried(&mut call).await {
            Err(error) if error.is_without_lock() => {
                let lost = retried(|| self.take_again()).await?;
                if lost {
                    Err(error)
                } else {
                    retried(call).await
                }
            }
            result => result,
        }
    }

    /// True: another worker has the job.
    async fn take_again(&self) -> Result<bool, QueueError> {
        let lock = std::slice::from_ref(&self.attempt);
        let lost = self.queue.extend_locks(lock, self.lock_ms).await?;
        Ok(!lost.is_empty())
    }

    /// Settles the job. A call whose reply was lost may have done it: then the job is not this attempt's any more at
    /// the next try, whichever worker has taken it since.
    pub(super) async fn settle(&self, settlement: Settlement) -> CallResult<Moved> {
        let (mut tries, reply_lost) = (0, AtomicBool::new(false));
        let settle = || {
            tries += 1;
            let (settlement, again) = (settlement.clone(), tries > 1);
            async move {
                if again {
                    // Nobody renewed it meanwhile, since it goes with the move.
                    self.take_again().await?;
                }
                self.queue.settle_one(settlement).await
            }
        };
        let mut without_lock = false;
        let result = settle
            .retry(pauses())
            .when(|error| {
                let transient = error.is_transient();
                reply_lost.fetch_or(transient, Ordering::Relaxed);
                transient || error.is_without_lock() && !std::mem::replace(&mut without_lock, true)
            })
            .await;
        match result {
            Err(QueueError::Job { code, .. })
                if reply_lost.load(Ordering::Relaxed) && code.is_lost() =>
            {
                Ok(Moved::Yes)
            }
            other => other.map_err(job_error),
        }
    }
}

pub(super) fn job_error(error: QueueError) -> JobError {
    let message = error.to_string();
    match error {
        QueueError::Job { code, .. } => match code {
            ErrorCode::JobNotExist | ErrorCode::ParentJobNotExist => JobError::NotFound(message),
            ErrorCode::JobLockNotExist | ErrorCode::JobLockMismatch => JobError::LockLost(message),
            ErrorCode::JobNotInState => JobError::NotInState(message),
            ErrorCode::JobHasFailedChildren => JobError::ChildFailed(message),
            _ => JobError::Invalid(message),
        },
        QueueError::BeyondAccess(_) => JobError::Denied(message),
        QueueError::Locked(_) | QueueError::NotInState { .. } => JobError::NotInState(message),
        QueueError::Invalid(_) | QueueError::Kv(_) => JobError::Invalid(message),
        QueueError::TooLarge { .. } => JobError::Limit(message),
        QueueError::Redis(_) | QueueError::Reply(_) => JobError::Unavailable(message),
    }
}

pub(super) fn error_within(access: &QueueAccess, error: QueueError) -> JobError {
    match error {
        QueueError::BeyondAccess(base) => match QueueRef::parse(&base) {
            Ok(queue) => access.denial(&queue).into(),
            Err(error) => JobError::Denied(error.to_string()),
        },
        other => job_error(other),
    }
}
