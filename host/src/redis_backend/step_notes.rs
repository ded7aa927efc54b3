//! What this host has seen kept of the steps of jobs that go on: a Redis that comes back without its last writes loses some of
//! it, and somebody should know that these steps run again.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use toril_queue::Job;

/// Bytes that are remembered. Beyond, a job is forgotten.
const BYTES_MAX: usize = 4 << 20;
/// What a name takes beside its bytes.
const ENTRY_BYTES: usize = 64;

/// The names of kept steps, by job.
#[derive(Default)]
pub(crate) struct StepNotes {
    notes: Mutex<Notes>,
    /// How many jobs there are, for those who have none to ask of.
    len: AtomicUsize,
}

#[derive(Default)]
struct Notes {
    /// By id, with when the job was added: another one may get its id.
    jobs: HashMap<Arc<str>, (u64, BTreeSet<String>)>,
    bytes: usize,
}

impl Notes {
    fn remove(&mut self, id: &str) {
        if let Some((_, steps)) = self.jobs.remove(id) {
            let bytes = steps.iter().map(|step| ENTRY_BYTES + step.len());
            self.bytes -= bytes.sum::<usize>();
        }
    }
}

impl StepNotes {
    /// A step was kept.
    pub(crate) fn keep(&self, job: &Job, step: &str) {
        let mut notes = self.notes.lock();
        if notes
            .jobs
            .get(&job.id)
            .is_some_and(|(added, _)| *added != job.timestamp)
        {
            notes.remove(&job.id);
        }
        let entry = notes.jobs.entry(Arc::clone(&job.id));
        let (_, steps) = entry.or_insert_with(|| (job.timestamp, BTreeSet::new()));
        if steps.insert(step.to_owned()) {
            notes.bytes += ENTRY_BYTES + step.len();
        }
        while notes.bytes > BYTES_MAX
            && let Some(any) = notes.jobs.keys().next().cloned()
        {
            notes.remove(&any);
        }
        self.len.store(notes.jobs.len(), Ordering::Relaxed);
    }

    /// The steps that were kept and that a job which starts again has no more.
    pub(crate) fn lost_by(&self, job: &Job) -> Vec<String> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let notes = self.notes.lock();
        let Some((added, steps)) = notes.jobs.get(&job.id) else {
            return Vec::new();
        };
        let is_kept = |step: &&String| job.steps.iter().any(|(name, _)| name == *step);
        let lost = steps.iter().filter(|step| !is_kept(step));
        lost.filter(|_| *added == job.timestamp).cloned().collect()
    }

    /// A job is over: its steps may be dropped now, by a person who retries it.
    pub(crate) fn forget(&self, job_id: &str) {
        if self.len.load(Ordering::Relaxed) > 0 {
            let mut notes = self.notes.lock();
            notes.remove(job_id);
            self.len.store(notes.jobs.len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_a_job_has_no_more_are_lost() {
        let notes = StepNotes::default();
        let mut job = Job::lone("paint", "{}");
        assert!(notes.lost_by(&job).is_empty());
        notes.keep(&job, "a");
        notes.keep(&job, "b");
        job.steps = vec![("a".into(), "{}".into())];
        assert_eq!(notes.lost_by(&job), ["b"]);
        job.timestamp += 1;
        assert!(notes.lost_by(&job).is_empty(), "it is another job");
        job.timestamp -= 1;
        notes.forget(&job.id);
        assert!(notes.lost_by(&job).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let notes = StepNotes::default();
        let mut job = Job::lone("paint", "{}");
        for id in 0..100_000 {
            job.id = id.to_string().into();
            notes.keep(&job, "a");
        }
        assert!(notes.notes.lock().bytes <= BYTES_MAX);
        for id in 0..100_000 {
            notes.forget(&id.to_string());
        }
        assert_eq!(notes.notes.lock().bytes, 0);
    }
}
