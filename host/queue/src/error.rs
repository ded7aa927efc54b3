//! Why an operation on a queue failed. The texts are the ones that BullMQ's users know.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// A script's answer that is not success, numbered as BullMQ numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// -1: the job's hash is gone.
    JobNotExist,
    /// -2: nobody holds the job's lock.
    JobLockNotExist,
    /// -3: the job is not in the state that the operation needs.
    JobNotInState,
    /// -4: the job still has pending children.
    JobPendingChildren,
    /// -5: the parent's hash is gone.
    ParentJobNotExist,
    /// -6: another worker holds the job's lock.
    JobLockMismatch,
    /// -7: the job has another parent that still exists.
    ParentJobCannotBeReplaced,
    /// -8: the job is the next one of a scheduler.
    JobBelongsToJobScheduler,
    /// -9: a child failed that fails its parent, too.
    JobHasFailedChildren,
    /// -10, ours: the job would become its own ancestor.
    ParentsInACircle,
    /// -11, ours: the id is the name of something else in the queue, or of a key of another queue.
    IdTaken,
    /// A number that no script of ours answers.
    Unknown(i64),
}

impl ErrorCode {
    pub(super) fn from_reply(code: i64) -> Self {
        match code {
            -1 => ErrorCode::JobNotExist,
            -2 => ErrorCode::JobLockNotExist,
            -3 => ErrorCode::JobNotInState,
            -4 => ErrorCode::JobPendingChildren,
            -5 => ErrorCode::ParentJobNotExist,
            -6 => ErrorCode::JobLockMismatch,
            -7 => ErrorCode::ParentJobCannotBeReplaced,
            -8 => ErrorCode::JobBelongsToJobScheduler,
            -9 => ErrorCode::JobHasFailedChildren,
            -10 => ErrorCode::ParentsInACircle,
            -11 => ErrorCode::IdTaken,
            other => ErrorCode::Unknown(other),
        }
    }

    /// True when the job is no longer this worker's: whatever was to be written must not be.
    pub fn is_lost(self) -> bool {
        matches!(
            self,
            ErrorCode::JobNotExist
                | ErrorCode::JobLockNotExist
                | ErrorCode::JobLockMismatch
                | ErrorCode::JobNotInState
        )
    }
}

/// An error of Redis or of the way to it.
#[derive(Debug, Clone)]
pub struct RedisFailure {
    error: RedisError,
    /// The text with files and lines of a script, where it has such.
    located: Option<String>,
}

impl RedisFailure {
    pub(crate) fn new(error: RedisError, located: Option<String>) -> Self {
        RedisFailure { error, located }
    }
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.located {
            Some(text) => f.write_str(text),
            None => self.error.fmt(f),
        }
    }
}

/// Why an operation on a queue failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis did not answer, or refused. `Display` carries the whole text: callers print it alone.
    #[error("redis: {0}")]
    Redis(RedisFailure),
    /// The job, or its parent, is not as the operation needs it.
    #[error("{}", describe(*code, subject, command))]
    Job {
        /// What is wrong.
        code: ErrorCode,
        /// The id of the job, or the key of the parent.
        subject: String,
        /// The operation by BullMQ's name.
        command: &'static str,
    },
    /// The job, or a child of it, is being worked on.
    #[error("Job {0} could not be removed because it is locked by another worker")]
    Locked(String),
    /// An argument is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// A script answered in a form that it never should.
    #[error("unexpected reply from redis to `{0}`")]
    Reply(&'static str),
}

impl QueueError {
    pub(super) fn job(reply: i64, subject: impl Into<String>, command: &'static str) -> Self {
        QueueError::Job {
            code: ErrorCode::from_reply(reply),
            subject: subject.into(),
            command,
        }
    }

    /// True when the same call may succeed later: Redis is away, starting, or failing over.
    pub fn is_transient(&self) -> bool {
        let QueueError::Redis(RedisFailure { error, .. }) = self else {
            return false;
        };
        error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_connection_refusal()
            || error.is_cluster_error()
            || matches!(
                error.kind(),
                ErrorKind::ClusterConnectionNotFound | ErrorKind::MasterNameNotFoundBySentinel
            )
            || matches!(
                error.code(),
                Some(
                    "LOADING"
                        | "READONLY"
                        | "MASTERDOWN"
                        | "CLUSTERDOWN"
                        | "TRYAGAIN"
                        | "BUSY"
                        | "MISCONF"
                        | "OOM"
                )
            )
    }
}

impl From<RedisError> for QueueError {
    fn from(error: RedisError) -> Self {
        QueueError::Redis(RedisFailure::new(error, None))
    }
}

fn describe(code: ErrorCode, subject: &str, command: &str) -> String {
    match code {
        ErrorCode::JobNotExist => format!("Missing key for job {subject}. {command}"),
        ErrorCode::JobLockNotExist => format!("Missing lock for job {subject}. {command}"),
        ErrorCode::JobNotInState => format!("Job {subject} is not in the active state. {command}"),
        ErrorCode::JobPendingChildren => {
            format!("Job {subject} has pending dependencies. {command}")
        }
        ErrorCode::ParentJobNotExist => format!("Missing key for parent job {subject}. {command}"),
        ErrorCode::JobLockMismatch => {
            format!("Lock mismatch for job {subject}. Cmd {command} from active")
        }
        ErrorCode::ParentJobCannotBeReplaced => {
            format!("The parent job {subject} cannot be replaced. {command}")
        }
        ErrorCode::JobHasFailedChildren => {
            format!(
                "Cannot complete job {subject} because it has at least one failed child. {command}"
            )
        }
        ErrorCode::JobBelongsToJobScheduler => {
            format!(
                "Job {subject} belongs to a job scheduler and cannot be removed directly. {command}"
            )
        }
        ErrorCode::ParentsInACircle => {
            format!("The parent job {subject} is a descendant of its new child. {command}")
        }
        ErrorCode::IdTaken => {
            format!("Job id {subject} names something that is no job of the queue. {command}")
        }
        ErrorCode::Unknown(code) => format!("Unknown code {code} error for {subject}. {command}"),
    }
}
