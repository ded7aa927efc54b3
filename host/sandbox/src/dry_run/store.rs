//! The queues and jobs of a dry run, in memory. Where a job goes is BullMQ's: the scripts in `host/queue/lua` say
//! the same of Redis.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};
use toril_options::{JobOptions, js};

use super::kv::Table;
use crate::backend::{HttpAnswers, KvStore, NewJob};
use crate::names::{JobRef, QueueRef};

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for a worker.
    Waiting,
    /// Waits, ordered by priority.
    Prioritized,
    /// Waits for its time, in ms since the epoch.
    Delayed(u64),
    /// Runs.
    Active,
    /// Waits for its children.
    WaitingChildren,
    /// Done, with a value.
    Completed,
    /// Done, with a reason.
    Failed,
}

impl State {
    /// Its name in BullMQ's words.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Prioritized => "prioritized",
            State::Delayed(_) => "delayed",
            State::Active => "active",
            State::WaitingChildren => "waiting-children",
            State::Completed => "completed",
            State::Failed => "failed",
        }
    }

    pub(super) fn is_finished(self) -> bool {
        matches!(self, State::Completed | State::Failed)
    }
}

/// A job of a dry run.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// Its name.
    pub name: String,
    /// Its data, JSON.
    pub data: String,
    /// BullMQ's options as they were given.
    pub options: Map<String, Value>,
    /// Where it is.
    pub state: State,
    /// Its progress, JSON.
    pub progress: String,
    /// Its log.
    pub logs: Vec<String>,
    /// Its value, JSON, once it completed.
    pub returnvalue: Option<String>,
    /// Why it failed last.
    pub failed_reason: Option<String>,
    /// One entry for each failed attempt.
    pub stacktrace: Vec<String>,
    /// Attempts that ended in completion or failure.
    pub attempts_made: u32,
    /// Times it was picked up.
    pub attempts_started: u32,
    /// When it was added, in ms since the epoch.
    pub timestamp: u64,
    /// What it keeps of its steps, by their names: JSON of [`StepRecord`](crate::StepRecord).
    pub steps: BTreeMap<String, String>,
    /// The job that waits for it.
    pub parent: Option<JobRef>,
    /// When its last attempt began, in ms since the epoch.
    pub(super) processed_on: u64,
    pub(super) deduplication_id: Option<String>,
    pub(super) delay_ms: u64,
    pub(super) priority: i64,
    /// The options as BullMQ stores them, JSON, and as its worker reads those.
    pub(super) stored_options: String,
    pub(super) read_options: JobOptions,
    /// What it carries of its parent, JSON.
    pub(super) parent_record: Option<String>,
    /// Why it must fail without running.
    pub(super) deferred_failure: Option<String>,
    pub(super) children: Children,
    /// Orders jobs of one priority or one time.
    pub(super) rank: u64,
}

/// The children of a job, by what became of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Children {
    pub(super) pending: BTreeSet<JobRef>,
    pub(super) processed: BTreeMap<JobRef, String>,
    pub(super) ignored: BTreeMap<JobRef, String>,
    pub(super) failed: Vec<JobRef>,
}

#[derive(Default)]
pub(super) struct QueueState {
    pub(super) counter: u64,
    pub(super) wait: VecDeque<String>,
    pub(super) limited_until_ms: u64,
    /// Deduplication id to its holder, and until when it holds.
    pub(super) deduplicated: BTreeMap<String, (String, Option<u64>)>,
    pub(super) schedulers: BTreeMap<String, Scheduler>,
}

/// A job scheduler.
pub(super) struct Scheduler {
    pub(super) schedule: Map<String, Value>,
    pub(super) template: NewJob,
    /// When its next job is due.
    pub(super) next_ms: u64,
}

/// All queues of a dry run, and its clock.
#[derive(Default)]
pub(super) struct Store {
    pub(super) now_ms: u64,
    pub(super) jobs: BTreeMap<JobRef, StoredJob>,
    pub(super) queues: BTreeMap<QueueRef, QueueState>,
    /// By the prefix or the queue that a store belongs to.
    pub(super) kv: BTreeMap<(String, KvStore), Table>,
    pub(super) ids_made: u64,
    ranks: u64,
    /// Guests, too, see this clock.
    pub(super) shows_clock: bool,
    pub(super) answers: Option<Arc<dyn HttpAnswers>>,
}

impl StoredJob {
    pub(super) fn flag(&self, option: &str) -> bool {
        self.options.get(option).is_some_and(js::is_truthy)
    }
}

impl Store {
    pub(super) fn new(now_ms: u64) -> Self {
        Store {
            now_ms,
            ..Store::default()
        }
    }

    pub(super) fn queue(&mut self, queue: &QueueRef) -> &mut QueueState {
        self.queues.entry(queue.clone()).or_default()
    }

    pub(super) fn next_rank(&mut self) -> u64 {
        self.ranks += 1;
        self.ranks
    }

    /// Puts a new job where its options say; `first` where it is to be the next one.
    pub(super) fn enqueue(&mut self, id: &JobRef, first: bool) {
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        if job.delay_ms > 0 {
            job.state = State::Delayed(job.timestamp.saturating_add(job.delay_ms));
        } else {
            self.make_ready(id, first);
        }
    }

    /// Puts a job where workers take it from; `first` where it is to be the next one.
    pub(super) fn make_ready(&mut self, id: &JobRef, first: bool) {
        let rank = self.next_rank();
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        job.rank = rank;
        job.delay_ms = 0;
        if job.priority != 0 {
            job.state = State::Prioritized;
            return;
        }
        job.state = State::Waiting;
        let wait = &mut self.queue(&id.queue).wait;
        match first {
            true => wait.push_front(id.id.clone()),
            false => wait.push_back(id.id.clone()),
        }
    }

    /// Delays a job by this time from now.
    pub(super) fn delay(&mut self, id: &JobRef, delay_ms: u64) {
        let (rank, due) = (self.next_rank(), self.now_ms.saturating_add(delay_ms));
        if let Some(job) = self.jobs.get_mut(id) {
            (job.rank, job.delay_ms, job.state) = (rank, delay_ms, State::Delayed(due));
        }
    }

    /// Makes delayed jobs ready whose time has come.
    fn promote_due(&mut self) {
        let now = self.now_ms;
        let mut due: Vec<(u64, u64, JobRef)> = self
            .jobs
            .iter()
            .filter_map(|(id, job)| match job.state {
                State::Delayed(due) if due <= now => Some((due, job.rank, id.clone())),
                _ => None,
            })
            .collect();
        due.sort_unstable();
        for (_, _, id) in due {
            self.make_ready(&id, false);
        }
    }

    /// When the next delayed job of these queues is due, or one that is limited works again.
    pub(super) fn next_due_ms(&self, of: &dyn Fn(&QueueRef) -> bool) -> Option<u64> {
        let delayed = self.jobs.iter().filter_map(|(id, job)| match job.state {
            State::Delayed(due) if of(&id.queue) => Some(due),
            _ => None,
        });
        let queues = self.queues.iter().filter(|(queue, _)| of(queue));
        let limited = queues
            .map(|(_, state)| state.limited_until_ms)
            .filter(|until| *until > self.now_ms);
        delayed.chain(limited).min()
    }

    /// Takes the next job of a queue.
    pub(super) fn take(&mut self, queue: &QueueRef) -> Option<JobRef> {
        self.promote_due();
        let now = self.now_ms;
        let state = self.queue(queue);
        if state.limited_until_ms > now {
            return None;
        }
        let waiting = state.wait.pop_front().map(|id| JobRef {
            queue: queue.clone(),
            id,
        });
        let id = waiting.or_else(|| self.first_prioritized(queue))?;
        self.start(&id)?;
        Some(id)
    }

    /// Begins an attempt of a job that has left its line.
    pub(super) fn start(&mut self, id: &JobRef) -> Option<()> {
        let now = self.now_ms;
        let job = self.jobs.get_mut(id)?;
        job.state = State::Active;
        job.attempts_started += 1;
        job.processed_on = now;
        Some(())
    }

    fn first_prioritized(&self, queue: &QueueRef) -> Option<JobRef> {
        let prioritized = self
            .jobs
            .iter()
            .filter(|(id, job)| id.queue == *queue && job.state == State::Prioritized);
        let first = prioritized.min_by_key(|(_, job)| (job.priority, job.rank))?;
        Some(first.0.clone())
    }

    /// Takes the id of a job out of the line.
    pub(super) fn leave_line(&mut self, id: &JobRef) {
        let wait = &mut self.queue(&id.queue).wait;
        wait.retain(|waiting| *waiting != id.id);
    }

    /// Takes a job away, and its id out of the line.
    pub(super) fn forget(&mut self, id: &JobRef) -> Option<StoredJob> {
        self.leave_line(id);
        let queue = self.queue(&id.queue);
        queue.deduplicated.retain(|_, (holder, _)| *holder != id.id);
        self.jobs.remove(id)
    }
}
