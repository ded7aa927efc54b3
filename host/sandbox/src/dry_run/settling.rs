//! Where a job of a dry run goes after an attempt.

use toril_options::{JobOptions, KeepJobs, Retry};

use super::store::{State, Store};
use crate::names::JobRef;
use crate::outcome::Outcome;

impl Store {
    /// Why a job must fail without being run, if it must.
    pub(super) fn must_not_run(&self, id: &JobRef) -> Option<String> {
        self.jobs.get(id)?.deferred_failure.clone()
    }

    /// Settles an attempt as BullMQ's worker does; returns the outcome that counts.
    pub(super) fn settle(&mut self, id: &JobRef, outcome: Outcome) -> Outcome {
        let outcome = self.checked(id, outcome);
        match &outcome {
            Outcome::Completed(value) => self.complete(id, value.clone()),
            Outcome::Failed {
                message,
                stack,
                unrecoverable,
            } => self.fail(id, message, stack, *unrecoverable),
            Outcome::Wait | Outcome::GivenBack | Outcome::HostFailed(_) => self.put_back(id),
            Outcome::RateLimited(duration_ms) => {
                let until = self.now_ms.saturating_add(*duration_ms);
                self.queue(&id.queue).limited_until_ms = until;
                self.put_back(id);
            }
            Outcome::Moved(_) | Outcome::Lost => {}
        }
        outcome
    }

    /// A job whose children are pending or failed cannot complete.
    fn checked(&self, id: &JobRef, outcome: Outcome) -> Outcome {
        let (Outcome::Completed(_), Some(job)) = (&outcome, self.jobs.get(id)) else {
            return outcome;
        };
        let id = &id.id;
        if !job.children.pending.is_empty() {
            return Outcome::failed(format!("Job {id} has pending dependencies. moveToFinished"));
        }
        if !job.children.failed.is_empty() {
            return Outcome::unrecoverable(format!(
                "Cannot complete job {id} because it has at least one failed child. moveToFinished"
            ));
        }
        outcome
    }

    fn put_back(&mut self, id: &JobRef) {
        self.make_ready(id, true);
    }

    fn complete(&mut self, id: &JobRef, value: String) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.state = State::Completed;
        job.attempts_made += 1;
        job.returnvalue = Some(value.clone());
        let keep = job.read_options.remove_on_complete;
        if let Some(parent) = job.parent.clone() {
            self.child_completed(&parent, id, value);
        }
        self.finish(id, keep);
    }

    fn fail(&mut self, id: &JobRef, message: &str, stack: &str, unrecoverable: bool) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts_made += 1;
        job.failed_reason = Some(message.to_owned());
        job.stacktrace.push(stack.to_owned());
        let dropped = job.read_options.dropped_traces(job.stacktrace.len());
        job.stacktrace.drain(..dropped);
        if !unrecoverable {
            let lifo = job.read_options.lifo;
            match retry(&job.read_options, job.attempts_made) {
                Retry::Never => {}
                Retry::AtOnce => return self.make_ready(id, lifo),
                Retry::After(delay_ms) => return self.delay(id, delay_ms),
            }
        }
        job.state = State::Failed;
        let keep = job.read_options.remove_on_fail;
        if let Some(parent) = job.parent.clone() {
            self.child_failed(&parent, id, message);
        }
        self.finish(id, keep);
    }

    /// Frees what the job held, and removes it where its options keep none.
    fn finish(&mut self, id: &JobRef, keep: Option<KeepJobs>) {
        let held = &mut self.queue(&id.queue).deduplicated;
        held.retain(|_, (holder, until)| *holder != id.id || until.is_some());
        let Some(job) = self.jobs.get(id) else { return };
        let keeps_none = keep.is_some_and(|keep| keep.count == Some(0));
        if keeps_none {
            let parent = job.parent.clone();
            self.forget(id);
            if let Some(parent) = parent
                && let Some(job) = self.jobs.get_mut(&parent)
                && job.children.pending.remove(id)
            {
                self.release_if_free(&parent);
            }
        }
    }
}

/// When a job that failed is tried again, without jitter: a dry run gives the same each time.
fn retry(options: &JobOptions, attempts_made: u32) -> Retry {
    if !options.has_attempts_left(attempts_made) {
        return Retry::Never;
    }
    let backoff = options.backoff.clone();
    backoff.map_or(Retry::AtOnce, |backoff| {
        backoff.without_jitter().retry(attempts_made, 0.0)
    })
}
