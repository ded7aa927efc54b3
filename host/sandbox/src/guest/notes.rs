//! What the host's log says of what a guest did: with queue and job, without secrets, and not without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::backend::JobBackend;
use crate::policy::{Grants, Policy};

/// Lines of one attempt: a guest that tries again and again fills no log.
const LINES_MAX: u32 = 100;

/// The lines of one attempt. Clones count together.
#[derive(Clone)]
pub(super) struct Notes(Arc<Lines>);

struct Lines {
    queue: Arc<str>,
    job_id: Arc<str>,
    grants: Arc<Grants>,
    written: AtomicU32,
}

impl Notes {
    pub(super) fn of(backend: &dyn JobBackend, policy: &Policy) -> Self {
        let job = backend.job();
        Notes(Arc::new(Lines {
            queue: Arc::clone(job.queue),
            job_id: Arc::clone(job.id),
            grants: Arc::clone(&policy.grants),
            written: AtomicU32::new(0),
        }))
    }

    pub(super) fn queue(&self) -> &str {
        &self.0.queue
    }

    pub(super) fn write(&self, what: impl FnOnce() -> String) {
        let Notes(lines) = self;
        if lines.written.fetch_add(1, Ordering::Relaxed) < LINES_MAX {
            let text = what();
            let text = lines.grants.secrets.redact(&text);
            let (queue, job_id) = (&*lines.queue, &*lines.job_id);
            tracing::info!(queue, job_id, "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lone_job::LoneJob;

    #[test]
    fn lines_of_an_attempt_have_an_end() {
        let notes = Notes::of(&LoneJob::new("one", "{}"), &Policy::default());
        let mut written = 0;
        for _ in 0..150 {
            notes.clone().write(|| {
                written += 1;
                String::new()
            });
        }
        assert_eq!(written, LINES_MAX);
    }
}
