//! The one table of what a worker holds: each job from the reply that brought it to the answer that settled it.
//!
//! A job goes `Taken → Running → Ended → Settling → gone`, and back from `Settling` to `Ended` where its call was
//! lost. An entry is one *start* of a job: the same job taken again has an entry of its own, so whatever concerns a
//! start names it by id and token. Only the [schedule](super::schedule) writes here; the renewal and the views read.

use std::sync::Arc;
use std::sync::OnceLock;

use crate::listeners::Changes;
use toril_queue::Job;
use toril_sandbox::attempt::Kept;
use toril_sandbox::{Cancel, Digest};

/// One start of a job that this worker holds. Shared by the table and by the attempt that runs it.
pub(super) struct Held {
    pub(super) job: Arc<Job>,
    /// Asks the attempt to stop.
    pub(super) cancel: Arc<Cancel>,
    /// The digest that it runs on, once that is decided.
    pub(super) version: OnceLock<Digest>,
    /// What its attempt changes. While its guest moves it, the lock goes with the move: nobody renews or misses it from
    /// then on.
    changes: Arc<Changes>,
    /// Counts a large outcome until it is settled.
    pub(super) kept: OnceLock<Kept>,
    /// Where it is in the table.
    place: usize,
}

impl Held {
    pub(super) fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    fn is_moving(&self) -> bool {
        self.changes.is_moving()
    }

    pub(super) fn is(&self, id: &str, token: &str) -> bool {
        *self.job.id == *id && *self.job.token == *token
    }
}

/// How far a start of a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It came with a reply; nothing has begun.
    Taken,
    /// Its attempt runs, or waits for its turn to.
    Running,
    /// Its outcome is decided and waits for a call.
    Ended,
    /// A call with its outcome was sent.
    Settling,
}

struct Entry {
    held: Arc<Held>,
    phase: Phase,
    /// Another worker has the job: whatever the attempt comes to is dropped.
    lock_lost: bool,
    /// A call with its outcome may have been carried out.
    uncertain: bool,
}

/// The table.
#[derive(Default)]
pub(super) struct Jobs {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    len: usize,
    /// Those taken or running: they fill the worker's slots.
    executing: usize,
    bytes: usize,
}

impl Jobs {
    /// Enters a job that was taken.
    pub(super) fn take(&mut self, job: Arc<Job>) -> Arc<Held> {
        let place = self.free.pop().unwrap_or(self.entries.len());
        let held = Arc::new(Held {
            job,
            cancel: Arc::default(),
            version: OnceLock::new(),
            changes: Arc::default(),
            kept: OnceLock::new(),
            place,
        });
        let entry = Entry {
            held: Arc::clone(&held),
            phase: Phase::Taken,
            lock_lost: false,
            uncertain: false,
        };
        match self.entries.get_mut(place) {
            Some(slot) => *slot = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.len += 1;
        self.executing += 1;
        self.bytes += bytes(&held.job);
        held
    }

    fn entry(&mut self, held: &Arc<Held>) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(held.place)?.as_mut()?;
        Arc::ptr_eq(&entry.held, held).then_some(entry)
    }

    /// Notes how far a start has come. A start that is gone stays so.
    pub(super) fn advance(&mut self, held: &Arc<Held>, phase: Phase) {
        let Some(entry) = self.entry(held) else {
            return;
        };
        let executed = is_executing(entry.phase);
        entry.phase = phase;
        if executed && !is_executing(phase) {
            self.executing -= 1;
        }
    }

    /// Takes a start out: it was settled, or is not this worker's any more.
    pub(super) fn remove(&mut self, held: &Arc<Held>) {
        let Some(entry) = self.entry(held) else {
            return;
        };
        let executed = is_executing(entry.phase);
        self.entries[held.place] = None;
        self.free.push(held.place);
        self.len -= 1;
        self.bytes -= bytes(&held.job);
        self.executing -= usize::from(executed);
    }

    /// Notes that a call with its outcome may have been carried out.
    pub(super) fn set_uncertain(&mut self, held: &Arc<Held>) {
        if let Some(entry) = self.entry(held) {
            entry.uncertain = true;
        }
    }

    pub(super) fn is_uncertain(&mut self, held: &Arc<Held>) -> bool {
        self.entry(held).is_some_and(|entry| entry.uncertain)
    }

    pub(super) fn is_lost(&mut self, held: &Arc<Held>) -> bool {
        self.entry(held).is_none_or(|entry| entry.lock_lost)
    }

    /// Notes that another worker has a job, if this very start of it still runs here.
    pub(super) fn lose(&mut self, id: &str, token: &str) -> Option<Arc<Held>> {
        let entry = self.entries.iter_mut().flatten().find(|entry| {
            let runs = is_executing(entry.phase) && !entry.lock_lost;
            runs && entry.held.is(id, token) && !entry.held.is_moving()
        })?;
        entry.lock_lost = true;
        Some(Arc::clone(&entry.held))
    }

    /// The starts that have no outcome yet.
    pub(super) fn executing(&self) -> impl Iterator<Item = &Arc<Held>> {
        let executing = self.entries.iter().flatten();
        executing
            .filter(|entry| is_executing(entry.phase))
            .map(|entry| &entry.held)
    }

    /// The starts whose locks must be kept: those that no call settles yet.
    pub(super) fn to_renew(&self) -> impl Iterator<Item = &Arc<Held>> {
        let entries = self.entries.iter().flatten();
        let kept = entries.filter(|entry| entry.phase != Phase::Settling && !entry.lock_lost);
        kept.map(|entry| &entry.held)
            .filter(|held| !held.is_moving())
    }

    /// The starts that have an outcome. Their locks may have run out in an outage.
    pub(super) fn to_settle(&self) -> impl Iterator<Item = &Arc<Held>> {
        let entries = self.entries.iter().flatten();
        entries
            .filter(|entry| !is_executing(entry.phase))
            .map(|entry| &entry.held)
    }

    /// All starts that are held.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.entries.iter().flatten().map(|entry| &entry.held)
    }

    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many fill a slot: those without an outcome.
    pub(super) fn slots(&self) -> usize {
        self.executing
    }

    /// What the data and options of all of them take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn is_executing(phase: Phase) -> bool {
    matches!(phase, Phase::Taken | Phase::Running)
}

/// What a job takes in memory, its fixed part aside.
pub(super) fn bytes(job: &Job) -> usize {
    let steps = job
        .steps
        .iter()
        .map(|(name, record)| name.len() + record.len());
    job.data.len() + job.opts_json.len() + steps.sum::<usize>()
}
