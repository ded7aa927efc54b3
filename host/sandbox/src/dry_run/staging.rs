//! Jobs in the middle of their life, for tests that begin there.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::backend::DryBackend;
use super::store::{State, Store};
use super::{DryRun, DryRunAttempt, PREFIX};
use crate::backend::{JobBackend, NewJob};
use crate::lone_job::LoneJob;
use crate::names::{JobRef, QueueRef};
use crate::outcome::Outcome;
use crate::recording::RecordedJob;
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
    pub async fn run_job(&mut self, queue: &str, id: &str) -> Option<DryRunAttempt> {
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

/// A running job of a dry run of its own: this one.
pub(crate) fn backend_of(recorded: &RecordedJob) -> Box<dyn JobBackend> {
    let mut store = Store::new(recorded.processed_on);
    let queue = QueueRef::new(&recorded.prefix, &recorded.queue);
    // What no queue is called was never recorded, unless by hand.
    let queue = queue.or_else(|_| QueueRef::new(PREFIX, "replay"));
    // A number is no id that a producer may choose: the queue has counted to it.
    let number = recorded.id.parse::<u64>().ok().filter(|number| *number > 0);
    let own_id = [("jobId".to_owned(), recorded.id.to_string().into())];
    let options = own_id.into_iter().filter(|_| number.is_none());
    let job = NewJob {
        name: recorded.name.clone(),
        data: recorded.data.clone(),
        options: options.collect(),
        parent: None,
    };
    let added = queue.ok().and_then(|queue| {
        store.queue(&queue).counter = number.map_or(0, |number| number - 1);
        store.add(&queue, vec![job]).ok()?;
        let id = recorded.id.to_string();
        Some(JobRef { queue, id })
    });
    let Some(job) = added else {
        return Box::new(LoneJob::new(&recorded.name, &recorded.data));
    };
    store.leave_line(&job);
    store.start(&job);
    let Some(stored) = store.jobs.get_mut(&job) else {
        return Box::new(LoneJob::new(&recorded.name, &recorded.data));
    };
    stored.attempts_made = recorded.attempts_made;
    stored.attempts_started = recorded.attempts_started;
    stored.steps = recorded.steps.iter().cloned().collect();
    let taken = stored.clone();
    Box::new(DryBackend::new(Arc::new(Mutex::new(store)), job, taken))
}

fn job_ref(queue: &str, id: &str) -> Option<JobRef> {
    let queue = QueueRef::new(PREFIX, queue).ok()?;
    let id = id.to_owned();
    Some(JobRef { queue, id })
}
