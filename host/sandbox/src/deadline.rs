//! How long an attempt may take: the smallest of what its queue, its name and its job say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::JobView;
use crate::limits::Limits;

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
    /// That of a queue.
    pub fn of_queue(limits: &Limits) -> Self {
        Deadline {
            ms: limits.deadline_ms,
            set_by: DeadlineSource::Queue,
        }
    }

    /// The one that counts for a job: the smallest. What is said first counts where two are the same.
    pub(crate) fn of(limits: &Limits, job: JobView<'_>) -> Self {
        let of_name = limits.names.get(job.name);
        let of_name = of_name.and_then(|limits| limits.deadline_ms);
        let mut deadline = Self::of_queue(limits);
        if let Some(ms) = of_name.filter(|ms| *ms < deadline.ms) {
            let set_by = DeadlineSource::Name(job.name.into());
            deadline = Deadline { ms, set_by };
        }
        if let Some(ms) = job.timeout_ms.filter(|ms| *ms < deadline.ms) {
            let set_by = DeadlineSource::Job;
            deadline = Deadline { ms, set_by };
        }
        deadline
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::JobBackend as _;
    use crate::limits::NameLimits;
    use crate::lone_job::LoneJob;

    #[test]
    fn smallest_time_limit_counts_and_is_named() {
        let names = [("slow", Some(500)), ("quick", Some(50)), ("any", None)];
        let names = names.map(|(name, deadline_ms)| (name.to_owned(), NameLimits { deadline_ms }));
        let limits = Limits {
            deadline_ms: 300,
            names: names.into(),
            ..Limits::default()
        };
        for (name, timeout_ms, expected) in [
            ("other", None, "300 ms"),
            ("other", Some(300), "300 ms"),
            ("other", Some(u64::MAX), "300 ms"),
            ("other", Some(10), "10 ms from the job's option `timeout`"),
            ("slow", None, "300 ms"),
            ("any", None, "300 ms"),
            ("quick", None, "50 ms for jobs named `quick`"),
            ("quick", Some(60), "50 ms for jobs named `quick`"),
            ("quick", Some(10), "10 ms from the job's option `timeout`"),
        ] {
            let job = LoneJob::new(name, "{}");
            let job = JobView {
                timeout_ms,
                ..job.job()
            };
            let deadline = Deadline::of(&limits, job).to_string();
            assert_eq!(deadline, expected, "{name} {timeout_ms:?}");
        }
    }
}
