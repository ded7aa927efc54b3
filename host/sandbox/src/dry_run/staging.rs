//! Jobs in the middle of their life, for tests that begin there.

use serde_json::value::RawValue;

use super::store::State;
use super::{DryRun, Ended, PREFIX};
use crate::names::{JobRef, QueueRef};
use crate::outcome::Outcome;
use crate::steps::{Kept, StepRecord};

impl DryRun {
    /// Ends a job as if its processor had left with this outcome. No guest runs.
    pub fn end(&self, queue: &str, id: &str, outcome: Outcome) {
        let Some(job) = job_ref(queue, id) else {
            return;
        };
        let mut store = self.store.lock();
        store.leave_line(&job);
        store.settle(&job, outcome);
    }

    /// Says that a queue has made so many ids: the next job that is added without one gets the number after it.
    pub fn set_ids_made(&self, queue: &str, count: u64) {
        if let Ok(queue) = QueueRef::new(PREFIX, queue) {
            self.store.lock().queue(&queue).counter = count;
        }
    }

    /// Says that a job had so many attempts, and why the last one failed.
    pub fn set_attempts(&self, queue: &str, id: &str, made: u32, failed_reason: Option<&str>) {
        let mut store = self.store.lock();
        let job = job_ref(queue, id).and_then(|job| store.jobs.get_mut(&job));
        if let Some(job) = job {
            (job.attempts_made, job.attempts_started) = (made, made);
            job.failed_reason = failed_reason.map(str::to_owned);
        }
    }

    /// Says that earlier attempts of a job ran a step, whose value is JSON.
    pub fn keep_step(&self, queue: &str, id: &str, name: &str, value: &str) {
        let mut store = self.store.lock();
        let at_ms = store.now_ms;
        let Some(job) = job_ref(queue, id).and_then(|job| store.jobs.get_mut(&job)) else {
            return;
        };
        let order = job.steps.len() as u64 + 1;
        let kept = RawValue::from_string(value.to_owned()).map(Kept::Value);
        let record =
            kept.and_then(|kept| serde_json::to_string(&StepRecord { order, at_ms, kept }));
        if let Ok(record) = record {
            job.steps.insert(name.to_owned(), record);
        }
    }

    /// Sets the progress of a job, JSON.
    pub fn set_progress(&self, queue: &str, id: &str, progress: &str) {
        let mut store = self.store.lock();
        if let Some(job) = job_ref(queue, id).and_then(|job| store.jobs.get_mut(&job)) {
            progress.clone_into(&mut job.progress);
        }
    }

    /// Runs one attempt of this job now, whatever it waits for. None: there is no such job that waits, or nothing works
    /// its queue.
    pub async fn run_job(&mut self, queue: &str, id: &str) -> Option<Ended> {
        let job = job_ref(queue, id)?;
        let served = self.served.get(&job.queue)?.clone();
        {
            let mut store = self.store.lock();
            let state = store.jobs.get(&job)?.state;
            if state == State::Active || state.is_finished() {
                return None;
            }
            store.leave_line(&job);
            store.start(&job)?;
        }
        self.attempt(job, served).await
    }
}

fn job_ref(queue: &str, id: &str) -> Option<JobRef> {
    let queue = QueueRef::new(PREFIX, queue).ok()?;
    let id = id.to_owned();
    Some(JobRef { queue, id })
}
