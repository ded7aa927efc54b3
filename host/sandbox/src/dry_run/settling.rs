//! Where a job of a dry run goes after an attempt.

use serde_json::Value;

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
        if let Some(parent) = job.parent.clone() {
            self.child_completed(&parent, id, value);
        }
        self.finish(id, "removeOnComplete");
    }

    fn fail(&mut self, id: &JobRef, message: &str, stack: &str, unrecoverable: bool) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.attempts_made += 1;
        job.failed_reason = Some(message.to_owned());
        job.stacktrace.push(stack.to_owned());
        let attempts = job.options.get("attempts").and_then(Value::as_f64);
        let is_last = f64::from(job.attempts_made) >= attempts.unwrap_or(0.0);
        if !unrecoverable && !is_last {
            let lifo = job.flag("lifo");
            match backoff_ms(job.options.get("backoff"), job.attempts_made) {
                0 => self.make_ready(id, lifo),
                delay_ms => self.delay(id, delay_ms),
            }
            return;
        }
        job.state = State::Failed;
        if let Some(parent) = job.parent.clone() {
            self.child_failed(&parent, id, message);
        }
        self.finish(id, "removeOnFail");
    }

    /// Frees what the job held, and removes it where its options keep none.
    fn finish(&mut self, id: &JobRef, rule: &str) {
        let held = &mut self.queue(&id.queue).deduplicated;
        held.retain(|_, (holder, until)| *holder != id.id || until.is_some());
        let Some(job) = self.jobs.get(id) else { return };
        let keeps_none = match job.options.get(rule) {
            Some(Value::Bool(remove)) => *remove,
            Some(Value::Number(count)) => count.as_u64() == Some(0),
            Some(Value::Object(keep)) => keep.get("count").and_then(Value::as_u64) == Some(0),
            _ => false,
        };
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

/// BullMQ's `fixed` and `exponential`, without jitter: a dry run gives the same each time.
fn backoff_ms(backoff: Option<&Value>, attempts_made: u32) -> u64 {
    let (kind, delay) = match backoff {
        Some(Value::Number(delay)) => ("fixed", delay.as_f64()),
        Some(backoff) => (
            backoff
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("fixed"),
            backoff.get("delay").and_then(Value::as_f64),
        ),
        None => return 0,
    };
    let delay = delay.unwrap_or(0.0);
    match kind {
        "exponential" => {
            let factor = 2f64.powi(i32::try_from(attempts_made).unwrap_or(i32::MAX) - 1);
            (factor * delay).round() as u64
        }
        _ => delay as u64,
    }
}
