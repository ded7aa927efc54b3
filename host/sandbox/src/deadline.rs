//! How long an attempt may take: the smallest of what its queue, its name and its job say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The time limit of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// Wall time, in ms.
    pub ms: u64,
    /// Who set it.
    pub set_by: DeadlineSource,
}

/// Who set a time limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadlineSource {
    /// The operator, for all jobs of the queue: `limits.deadline_ms`.
    Queue,
    /// The operator, for jobs of this name: `limits.names.NAME.deadline_ms`.
    Name(Arc<str>),
    /// The producer of the job, in its option `timeout`.
    Job,
}

impl Deadline {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

/// The part of a reason that says which limit it was. For the queue's own nothing is added.
impl fmt::Display for Deadline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ms", self.ms)?;
        match &self.set_by {
            DeadlineSource::Queue => Ok(()),
            DeadlineSource::Name(name) => write!(formatter, " for jobs named `{name}`"),
            DeadlineSource::Job => formatter.write_str(" from the job's option `timeout`"),
        }
    }
}
