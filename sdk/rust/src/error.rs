//! Why a call on a job failed.

use std::error::Error as StdError;
use std::fmt;

use crate::__internal::bindings::toril::processor::jobs as raw;
use crate::failure::Exit;

/// Why a call on a [`Job`](crate::Job) failed.
///
/// With `?`, a [`ChildFailed`](Error::ChildFailed) fails the job for good, and any other error fails the attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The job, or one that the call names, does not exist.
    NotFound(String),
    /// This worker no longer has the job: stop working on it.
    LockLost(String),
    /// The job is not in a state in which it can be moved.
    NotInState(String),
    /// A child failed, and its failure fails this job: the job can no longer succeed.
    ChildFailed(String),
    /// The operator did not grant this.
    Denied(String),
    /// A limit of the operator was reached.
    Limit(String),
    /// An argument is invalid.
    Invalid(String),
    /// Redis did not answer.
    Unavailable(String),
    /// JSON does not fit the type that was asked for, or a value cannot be written as JSON.
    Json {
        /// Which value it is, such as `job data`.
        what: &'static str,
        /// The error of serde.
        source: serde_json::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // `Json` shows its source.
            Error::ChildFailed(_) => Some(&Exit::Child),
            _ => None,
        }
    }
}

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
