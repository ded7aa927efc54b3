//! How an attempt ends other than with a value, and why a call on a job failed.

use std::any::Any;
use std::time::Duration;

use crate::__internal::bindings::toril::processor::jobs as raw;

/// Why a call on a [`Job`](crate::Job) failed.
///
/// Leaves a processor with `?`; a [`ChildFailed`](Error::ChildFailed) makes the job fail for good,
/// every other one fails the attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The job, or one that the call names, does not exist.
    NotFound(String),
    /// Another worker has the job now, or nobody: stop working on it.
    LockLost(String),
    /// The job is not in a state in which it can be moved.
    NotInState(String),
    /// A child failed that fails its parent too.
    ChildFailed(String),
    /// The operator did not grant this.
    Denied(String),
    /// A limit of the operator was reached.
    Limit(String),
    /// An argument is not what it should be.
    Invalid(String),
    /// Redis did not answer.
    Unavailable(String),
    /// JSON does not fit the type that was asked for, or a value cannot be written as JSON.
    Json {
        /// What was read or written, such as `job data`.
        what: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NotFound(message)
            | Error::LockLost(message)
            | Error::NotInState(message)
            | Error::ChildFailed(message)
            | Error::Denied(message)
            | Error::Limit(message)
            | Error::Invalid(message)
            | Error::Unavailable(message) => f.write_str(message),
            Error::Json { what, source } => write!(f, "{what} does not fit: {source}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<raw::JobError> for Error {
    fn from(error: raw::JobError) -> Self {
        match error {
            raw::JobError::NotFound(message) => Error::NotFound(message),
            raw::JobError::LockLost(message) => Error::LockLost(message),
            raw::JobError::NotInState(message) => Error::NotInState(message),
            raw::JobError::ChildFailed(message) => Error::ChildFailed(message),
            raw::JobError::Denied(message) => Error::Denied(message),
            raw::JobError::Limit(message) => Error::Limit(message),
            raw::JobError::Invalid(message) => Error::Invalid(message),
            raw::JobError::Unavailable(message) => Error::Unavailable(message),
        }
    }
}

/// How an attempt ends other than with a value: BullMQ's special errors, as values.
///
/// Any error becomes [`Failed`](Failure::Failed) through `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The attempt failed; the job runs again if it has attempts left.
    Failed {
        /// Becomes `failedReason`.
        message: String,
        /// Is appended to `stacktrace`.
        stack: Option<String>,
    },
    /// The job fails now, whatever attempts it has left (`UnrecoverableError`).
    Unrecoverable {
        /// Becomes `failedReason`.
        message: String,
        /// Is appended to `stacktrace`.
        stack: Option<String>,
    },
    /// The job was delayed (`DelayedError`), see [`Job::move_to_delayed`](crate::Job::move_to_delayed).
    Delayed,
    /// The job waits for its children (`WaitingChildrenError`), see
    /// [`Job::move_to_waiting_children`](crate::Job::move_to_waiting_children).
    WaitingChildren,
    /// The job goes back to wait; no attempt is spent (`WaitingError`).
    Waiting,
    /// The queue is limited for this long, the job goes back to wait; no attempt is spent
    /// (`RateLimitError`).
    RateLimited(Duration),
}

impl Failure {
    /// Fails the attempt.
    pub fn new(message: impl Into<String>) -> Self {
        Failure::Failed {
            message: message.into(),
            stack: None,
        }
    }

    /// Fails the job now, whatever attempts it has left.
    pub fn unrecoverable(message: impl Into<String>) -> Self {
        Failure::Unrecoverable {
            message: message.into(),
            stack: None,
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let message = error.to_string();
        let stack = Some(error_chain(&error));
        match (&error as &dyn Any).downcast_ref::<Error>() {
            Some(Error::ChildFailed(_)) => Failure::Unrecoverable { message, stack },
            _ => Failure::Failed { message, stack },
        }
    }
}

/// Writes an error and its sources the way a stack trace reads.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut chain = format!("Error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(&format!("\n    caused by: {cause}"));
        source = cause.source();
    }
    chain
}

impl From<Failure> for raw::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed { message, stack } => {
                raw::Failure::Failed(raw::FailureDetail { message, stack })
            }
            Failure::Unrecoverable { message, stack } => {
                raw::Failure::Unrecoverable(raw::FailureDetail { message, stack })
            }
            Failure::Delayed => raw::Failure::Delayed,
            Failure::WaitingChildren => raw::Failure::WaitingChildren,
            Failure::Waiting => raw::Failure::Waiting,
            Failure::RateLimited(wait) => {
                raw::Failure::RateLimited(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_a_failed_attempt() {
        let failure: Failure = "x".parse::<u32>().unwrap_err().into();
        let Failure::Failed { message, stack } = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(message, "invalid digit found in string");
        assert_eq!(
            stack.as_deref(),
            Some("Error: invalid digit found in string")
        );
    }

    #[test]
    fn failed_child_is_unrecoverable() {
        let failure: Failure = Error::ChildFailed("child failed".into()).into();
        assert!(
            matches!(failure, Failure::Unrecoverable { .. }),
            "{failure:?}"
        );
    }
}
