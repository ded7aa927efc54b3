//! Calls to Redis on behalf of a guest: repeated until they are answered, with errors that a guest understands.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use toril_queue::{ErrorCode, LockedAttempt, Moved, Queue, QueueError, Settlement};
use toril_sandbox::backend::{CallResult, JobError};
use toril_sandbox::names::QueueRef;
use toril_sandbox::policy::QueueAccess;

/// Repeats a call while Redis is unreachable, until the job's deadline.
pub(super) async fn until_answered<T, F: Future<Output = Result<T, QueueError>>>(
    call: impl FnMut() -> F,
) -> CallResult<T> {
    retried(call).await.map_err(job_error)
}

pub(super) async fn retried<T, F: Future<Output = Result<T, QueueError>>>(
    call: impl FnMut() -> F,
) -> Result<T, QueueError> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times();
    call.retry(backoff).when(QueueError::is_transient).await
}

/// Settles one job. A call whose reply was lost may have done it: then the job is not this attempt's any more at the
/// next try, whichever worker has taken it since.
pub(super) async fn settle_until_answered(
    queue: &Queue,
    settlement: Settlement,
    lock: &LockedAttempt,
    lock_ms: u64,
) -> CallResult<Moved> {
    let mut tries = 0;
    let result = retried(|| {
        tries += 1;
        let (settlement, again) = (settlement.clone(), tries > 1);
        async move {
            if again {
                // Nobody renewed it meanwhile, since it goes with the move.
                queue
                    .extend_locks(std::slice::from_ref(lock), lock_ms)
                    .await?;
            }
            queue.settle_one(settlement).await
        }
    })
    .await;
    match result {
        Err(QueueError::Job { code, .. }) if tries > 1 && code.is_lost() => Ok(Moved::Yes),
        other => other.map_err(job_error),
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
