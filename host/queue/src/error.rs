//! Why an operation on a queue failed. The texts are the ones that BullMQ's users know.

use std::fmt;

use redis::{ErrorKind, RedisError};

use crate::job_state::JobState;
use crate::kv::KvRefusal;

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

    /// The code of the server's answer, such as `WRONGTYPE`; none where it did not answer.
    pub fn code(&self) -> Option<&str> {
        self.error.code()
    }

    fn is_final(&self) -> bool {
        match self.error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => self.is_final_answer(),
            ErrorKind::UnexpectedReturnType
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Client
            | ErrorKind::EmptySentinelList
            | ErrorKind::RESP3NotSupported => true,
            // Io, Parse (the stream is broken), AuthenticationFailed (a password is being changed), sentinels and
            // clusters that know no master, and kinds to come.
            _ => false,
        }
    }

    fn is_final_answer(&self) -> bool {
        match self.error.code() {
            Some("ERR") => self.is_final_text(self.error.detail().unwrap_or_default()),
            Some(code) => FINAL_CODES.contains(&code),
            None => false,
        }
    }

    /// An answer without a code of its own.
    fn is_final_text(&self, text: &str) -> bool {
        if text.contains("user_script") {
            // Redis before 7 wraps what a command in a script answers, code included.
            let mut codes = text
                .split_whitespace()
                .filter_map(|word| word.strip_prefix('-'));
            return !codes.any(|code| is_code(code) && !FINAL_CODES.contains(&code));
        }
        FINAL_TEXTS.iter().any(|start| text.starts_with(start))
    }
}

/// Codes of answers that repeating does not change.
const FINAL_CODES: [&str; 6] = [
    "WRONGTYPE",
    "NOPERM",
    "CROSSSLOT",
    "EXECABORT",
    "NOPROTO",
    "ERR",
];
/// How answers with the code `ERR` begin that repeating does not change.
const FINAL_TEXTS: [&str; 9] = [
    "unknown command",
    "unknown subcommand",
    "wrong number of arguments",
    "syntax error",
    "Protocol error",
    "value is ",
    "invalid expire time",
    "DB index is out of range",
    "Error compiling script",
];

fn is_code(word: &str) -> bool {
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
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
    /// The job is not in the state that it would leave.
    #[error("Job {id} is not in the {state} state. {command}")]
    NotInState {
        /// The id of the job.
        id: String,
        /// The state.
        state: JobState,
        /// The operation by BullMQ's name.
        command: &'static str,
    },
    /// The call would reach a queue beyond the access that it was given.
    #[error("queue `{0}` is not granted")]
    BeyondAccess(String),
    /// An argument is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// What was to be read is larger than the caller wants it.
    #[error("{what} have more than {bytes_max} bytes")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How large it may be.
        bytes_max: usize,
    },
    /// A write into a key-value store was refused.
    #[error(transparent)]
    Kv(#[from] KvRefusal),
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

    /// True where nobody holds the lock of the job that the call needs.
    pub fn is_without_lock(&self) -> bool {
        matches!(
            self,
            QueueError::Job {
                code: ErrorCode::JobLockNotExist,
                ..
            }
        )
    }

    /// True where Redis has no memory left for what was to be written.
    pub fn is_out_of_memory(&self) -> bool {
        const CODE: &str = "OOM";
        let QueueError::Redis(failure) = self else {
            return false;
        };
        // Redis before 7 wraps what a command in a script answers, code included.
        let wrapped = || failure.error.detail().unwrap_or_default();
        failure.code() == Some(CODE) || wrapped().contains("-OOM ")
    }

    /// The lock of a job ran out while it ran, so that it cannot be settled any more.
    pub fn lock_lost(job_id: &str) -> Self {
        QueueError::Job {
            code: ErrorCode::JobLockNotExist,
            subject: job_id.to_owned(),
            command: "moveToFinished",
        }
    }

    pub(super) fn not_in_state(id: &str, state: JobState, command: &'static str) -> Self {
        QueueError::NotInState {
            id: id.to_owned(),
            state,
            command,
        }
    }

    /// True when the same call may succeed later: Redis is unreachable, starting, failing over, short of memory or
    /// replicas, or answers something unknown. Only what is known to be for good is not.
    pub fn is_transient(&self) -> bool {
        match self {
            QueueError::Redis(failure) => !failure.is_final(),
            QueueError::Job { .. }
            | QueueError::Locked(_)
            | QueueError::NotInState { .. }
            | QueueError::BeyondAccess(_)
            | QueueError::TooLarge { .. }
            | QueueError::Invalid(_)
            | QueueError::Kv(_)
            | QueueError::Reply(_) => false,
        }
    }

    /// True when the same call fails in the same way for ever.
    pub fn is_final(&self) -> bool {
        !self.is_transient()
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
            format!("Job id {subject} names something that is not a job of the queue. {command}")
        }
        ErrorCode::Unknown(code) => format!("Unknown code {code} error for {subject}. {command}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> QueueError {
        let parsed = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        let error = match parsed {
            Ok(redis::Value::ServerError(error)) => RedisError::from(error),
            other => panic!("{line}: {other:?}"),
        };
        error.into()
    }

    #[test]
    fn answers_are_transient_unless_they_are_known_to_be_for_good() {
        const TRANSIENT: [&str; 22] = [
            "NOREPLICAS Not enough good replicas to write.",
            "ERR max number of clients reached",
            "ERR max number of clients + cluster connections reached",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "ERR invalid password",
            "ERR AUTH <password> called without any password configured for the default user.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "READONLY You can't write against a read only replica. script: f00, on @user_script:3.",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "OOM command not allowed when used memory > 'maxmemory'. script: f00, on @user_script:3.",
            "MOVED 1234 127.0.0.1:1",
            "ASK 1234 127.0.0.1:1",
            "UNBLOCKED client unblocked via CLIENT UNBLOCK",
            "NOGOODSLAVE No suitable replica to promote",
            "SOMETHINGNEW that no version of Redis says yet",
            "ERR the service is being moved, wait",
            "ERR Error running script (call to f_f00): @user_script:3: @user_script: 3: -OOM command not allowed",
        ];
        const FINAL: [&str; 12] = [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "WRONGTYPE Operation against a key script: f00, on @user_script:3.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOPERM No permissions to access a key script: f00, on @user_script:3.",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "ERR user_script:3: attempt to index a nil value script: f00, on @user_script:3.",
            "ERR Error running script (call to f_f00): @user_script:3: @user_script: 3: -WRONGTYPE Operation",
            "ERR Error running script (call to f_f00): @user_script:3: user_script:3: attempt to index a nil value",
            "ERR Error compiling script (new function): user_script:1: '=' expected",
            "ERR unknown command 'EVALSHA', with args beginning with:",
            "ERR value is not an integer or out of range",
            "ERR Protocol error: invalid bulk length",
        ];
        for line in TRANSIENT {
            assert!(
                answer(line).is_transient() && !answer(line).is_final(),
                "{line}"
            );
        }
        for line in FINAL {
            assert!(
                answer(line).is_final() && !answer(line).is_transient(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_connection_that_fails_is_transient_and_a_wrong_call_is_not() {
        let io = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(QueueError::from(io).is_transient());
        let kind = |kind| QueueError::from(RedisError::from((kind, "no")));
        for transient in [
            ErrorKind::Parse,
            ErrorKind::AuthenticationFailed,
            ErrorKind::MasterNameNotFoundBySentinel,
            ErrorKind::ClusterConnectionNotFound,
        ] {
            assert!(kind(transient).is_transient(), "{transient:?}");
        }
        for final_kind in [
            ErrorKind::UnexpectedReturnType,
            ErrorKind::InvalidClientConfig,
        ] {
            assert!(kind(final_kind).is_final(), "{final_kind:?}");
        }
        assert!(QueueError::Locked("1".into()).is_final());
        assert!(QueueError::job(-2, "1", "x").is_final());
    }
}
