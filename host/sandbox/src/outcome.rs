//! What came of an attempt.

use serde::{Deserialize, Serialize};

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The processor returned a value, JSON text.
    Completed(String),
    /// The attempt failed.
    Failed {
        /// `failedReason`.
        message: String,
        /// One entry of `stacktrace`.
        stack: String,
        /// No further attempt can help.
        unrecoverable: bool,
    },
    /// The processor moved the job itself; nothing is left to settle.
    Moved(MovedTo),
    /// The processor gives the job back, and no attempt is spent.
    Wait,
    /// The host gives the job back before its processor came to an end: neither an attempt nor a start is spent.
    GivenBack,
    /// The job goes back untouched, and the queue is limited for this many ms.
    RateLimited(u64),
    /// The job is another worker's now: nothing may be written.
    Lost,
    /// The host failed, not the job: it runs again some time later, and neither an attempt nor a start is spent.
    HostFailed(String),
}

impl Outcome {
    /// A failed attempt without a stack of its own.
    pub fn failed(message: impl Into<String>) -> Self {
        Outcome::failure(message.into(), None, false)
    }

    /// A failure that no further attempt can help.
    pub fn unrecoverable(message: impl Into<String>) -> Self {
        Outcome::failure(message.into(), None, true)
    }

    /// How many bytes of text it has.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Outcome::Completed(value) => value.len(),
            Outcome::Failed { message, stack, .. } => message.len() + stack.len(),
            _ => 0,
        }
    }

    pub(crate) fn failure(message: String, stack: Option<String>, unrecoverable: bool) -> Self {
        let stack = stack.unwrap_or_else(|| format!("Error: {message}"));
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        }
    }
}

/// Where a guest moved its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MovedTo {
    /// To `delayed`.
    Delayed,
    /// To `waiting-children`.
    WaitingChildren,
    /// Back to wait.
    Wait,
}

impl MovedTo {
    /// The state's name in BullMQ's words.
    pub fn state(self) -> &'static str {
        match self {
            MovedTo::Delayed => "delayed",
            MovedTo::WaitingChildren => "waiting-children",
            MovedTo::Wait => "waiting",
        }
    }
}
