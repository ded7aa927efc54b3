//! What an attempt writes to its job. Its data and its steps are waited for: the guest goes on from what is stored. Lines of
//! the log and progress are sent at once, and not waited for.
//!
//! One call is under way at a time, and what is written meanwhile goes together in the next one. So nothing overtakes
//! what was written before it, and a guest that writes much makes few calls.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use super::calls::{Lock, job_error};
use crate::listeners::{Changes, Listeners};
use toril_queue::{Caller, Job, JobWrite, LockedAttempt, Queue, QueueError, Request, Writer};
use toril_sandbox::Cancel;
use toril_sandbox::backend::{CallResult, JobError};

/// How much may wait for the call under way: beyond it the guest waits, too.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 64 << 10;
/// For how long an attempt that was stopped waits for what it wrote.
const GRACE: Duration = Duration::from_secs(5);

/// What an attempt writes to its job.
pub(crate) struct JobWrites(Arc<Inner>);

/// Whose job it is, and who hears of its progress.
pub(super) struct Attempt {
    pub(super) queue: Queue,
    pub(super) job: Arc<Job>,
    pub(super) lock_ms: u64,
    pub(super) listeners: Listeners,
    pub(super) changes: Arc<Changes>,
    pub(super) moved: bool,
}

struct Inner {
    attempt: Attempt,
    state: Mutex<State>,
    /// Told whenever a call has ended.
    answered: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<JobWrite>,
    /// The task that sends, until nothing waits.
    sender: Option<AbortHandle>,
    /// Why the last call was refused. Nothing is sent until the guest, or at last the log of the host, has heard of it.
    refused: Option<JobError>,
    /// How many lines the job's log keeps, with those that wait.
    lines: Option<u64>,
    /// The guest moved the job: it has no lock of ours any more.
    moved: bool,
    /// Names the calls that must not be carried out twice.
    caller: Option<Caller>,
}

impl JobWrites {
    pub(super) fn new(attempt: Attempt) -> Self {
        let state = State {
            moved: attempt.moved,
            ..State::default()
        };
        JobWrites(Arc::new(Inner {
            attempt,
            state: Mutex::new(state),
            answered: Notify::new(),
        }))
    }

    /// Appends a line to the log; how many lines it keeps then. Lines of others that came since this attempt's last call
    /// was answered are not among them.
    pub(super) async fn log(&self, line: String) -> CallResult<u64> {
        let known = self.0.state.lock().lines;
        let line = JobWrite::Log(line);
        match known {
            Some(_) => self.later(line).await?,
            None => self.now(line).await?,
        }
        Ok(self.0.state.lock().lines.unwrap_or_default())
    }

    /// Writes without waiting, unless too much waits already.
    pub(super) async fn later(&self, write: JobWrite) -> CallResult<()> {
        self.until(State::has_room).await;
        self.0.push(write)
    }

    /// Writes, and waits until it is stored.
    pub(super) async fn now(&self, write: JobWrite) -> CallResult<()> {
        self.later(write).await?;
        self.until(State::is_idle).await;
        self.0.state.lock().refused.take().map_or(Ok(()), Err)
    }

    /// Waits for all that was written, before the job is moved.
    pub(super) async fn stored(&self) {
        self.until(State::is_idle).await;
    }

    pub(super) fn set_moved(&self) {
        self.0.state.lock().moved = true;
    }

    /// Waits for all that was written, before the outcome: that ends the hold on the job.
    pub(crate) async fn finish(&self, cancel: &Cancel) {
        tokio::select! {
            biased;
            () = self.stored() => {}
            _ = cancel.must_stop(GRACE) => self.give_up("it was stopped before redis answered"),
        }
        if let Some(error) = self.0.state.lock().refused.take() {
            self.0.warn(&error.to_string());
        }
    }

    fn give_up(&self, why: &str) {
        let sender = self.0.state.lock().sender.take();
        sender.inspect(AbortHandle::abort);
        self.0.warn(why);
    }

    async fn until(&self, ready: impl Fn(&State) -> bool) {
        loop {
            let answered = self.0.answered.notified();
            if ready(&self.0.state.lock()) {
                return;
            }
            answered.await;
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        let bytes: usize = self.waiting.iter().map(JobWrite::bytes).sum();
        self.waiting.len() < WAITING_MAX && bytes < WAITING_BYTES_MAX
    }

    fn is_idle(&self) -> bool {
        self.sender.is_none()
    }

    fn lines_waiting(&self) -> u64 {
        let is_line = |write: &&JobWrite| matches!(write, JobWrite::Log(_));
        self.waiting.iter().filter(is_line).count() as u64
    }
}

impl Inner {
    fn push(self: &Arc<Self>, write: JobWrite) -> CallResult<()> {
        let mut state = self.state.lock();
        if let Some(error) = state.refused.take() {
            return Err(error);
        }
        if let (JobWrite::Log(_), Some(lines)) = (&write, state.lines) {
            state.lines = Some(self.kept(lines + 1));
        }
        state.waiting.push(write);
        if state.sender.is_none() {
            state.sender = Some(tokio::spawn(Arc::clone(self).send_all()).abort_handle());
        }
        Ok(())
    }

    fn kept(&self, lines: u64) -> u64 {
        let keep = self.attempt.job.options.keep_logs;
        keep.unwrap_or(u64::MAX).min(lines)
    }

    async fn send_all(self: Arc<Self>) {
        while let Some((writes, request)) = self.next() {
            let sent = self.send(&writes, &request).await;
            if sent.is_ok() {
                writes.iter().for_each(|write| self.tell(write));
            }
            let mut state = self.state.lock();
            match sent {
                Ok(0) => {}
                Ok(lines) => state.lines = Some(self.kept(lines + state.lines_waiting())),
                Err(error) => {
                    state.refused = Some(job_error(error));
                    state.waiting.clear();
                }
            }
            drop(state);
            self.answered.notify_waiters();
        }
        self.answered.notify_waiters();
    }

    /// All that waits; with nothing, this was the last call for now.
    fn next(&self) -> Option<(Vec<JobWrite>, Request)> {
        let mut state = self.state.lock();
        let writes = std::mem::take(&mut state.waiting);
        if writes.is_empty() {
            state.sender = None;
            return None;
        }
        // Values that are set twice are the same; a line or an event would be there twice.
        let is_once = |write: &JobWrite| matches!(write, JobWrite::Log(_) | JobWrite::Progress(_));
        let request = if writes.iter().any(is_once) {
            let (queue, job) = (&self.attempt.queue, &self.attempt.job);
            let name = || format!("{}/{}/writes", job.token, job.id);
            let caller = || Caller::new(queue.redis().clone(), &name());
            state.caller.get_or_insert_with(caller).request()
        } else {
            Request::untracked()
        };
        Some((writes, request))
    }

    /// Repeats a call while Redis is unreachable.
    async fn send(&self, writes: &[JobWrite], request: &Request) -> Result<u64, QueueError> {
        let Attempt { queue, job, .. } = &self.attempt;
        let moved = self.state.lock().moved;
        let writer = Writer::attempt((!moved).then_some(&*job.token));
        let lock = Lock {
            queue,
            attempt: LockedAttempt::of(job),
            lock_ms: self.attempt.lock_ms,
        };
        let keep = job.options.keep_logs;
        let call = || queue.write_job(&job.id, writer, writes, keep, request);
        lock.retried(call).await
    }

    /// Tells those who listen what was stored.
    fn tell(&self, write: &JobWrite) {
        let Attempt {
            listeners,
            changes,
            job,
            ..
        } = &self.attempt;
        if !listeners.has_any() {
            return;
        }
        match write {
            JobWrite::Data(data) => changes.note_data(data),
            JobWrite::Progress(progress) => {
                changes.note_progress(progress);
                listeners.progress(job, changes, progress);
            }
            JobWrite::Log(_) | JobWrite::Step(..) => {}
        }
    }

    fn warn(&self, error: &str) {
        let Attempt { queue, job, .. } = &self.attempt;
        warn!(
            queue = queue.keys().name(),
            job_id = &*job.id,
            error,
            "log lines or progress of a job are lost"
        );
    }
}
