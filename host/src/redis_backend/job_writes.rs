//! What an attempt writes to its job. Its data and its steps are waited for: the guest goes on from what is stored. Lines of
//! the log and progress are notes, sent at once and not waited for.
//!
//! One call is under way at a time, and what is written meanwhile goes together in the next one. So nothing overtakes
//! what was written before it, and a guest that writes much makes few calls. Notes that are refused take nothing else
//! with them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::calls::{Lock, job_error};
use crate::listeners::{Changes, Listeners};
use toril_queue::{Caller, Job, JobWrite, LockedAttempt, Queue, QueueError, Request, Writer};
use toril_sandbox::backend::CallResult;
use toril_sandbox::{Cancel, Stop};

/// How much may wait for the call under way: beyond it the guest waits, too. What waits counts as nobody's memory.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 16 << 10;
/// For how long an attempt that was stopped waits for what it wrote, and one of a host that shuts down.
const GRACE: Duration = Duration::from_secs(5);
const GRACE_OF_A_SHUTDOWN: Duration = Duration::from_secs(1);

/// What an attempt writes to its job.
pub(crate) struct JobWrites(Arc<Inner>);

/// The attempt that writes, and who hears of its progress.
pub(super) struct Author {
    pub(super) queue: Queue,
    pub(super) job: Arc<Job>,
    pub(super) lock_ms: u64,
    pub(super) listeners: Listeners,
    pub(super) changes: Arc<Changes>,
}

struct Inner {
    author: Author,
    state: Mutex<State>,
    /// Told whenever a call has ended.
    answered: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<JobWrite>,
    /// The task that sends, until nothing waits.
    sender: Option<AbortHandle>,
    /// Why notes were refused: the answer to the next one, or a line in the log of the host.
    refused: Option<QueueError>,
    /// Why the write that is waited for was refused.
    failed: Option<QueueError>,
    /// How many lines the job's log keeps, with those that wait.
    lines: Option<u64>,
    /// Names the calls that must not be carried out twice.
    caller: Option<Caller>,
}

impl JobWrites {
    pub(super) fn new(author: Author) -> Self {
        JobWrites(Arc::new(Inner {
            author,
            state: Mutex::default(),
            answered: Notify::new(),
        }))
    }

    /// Appends a line to the log; how many lines it keeps then. Lines of others that came since this attempt's last call
    /// was answered are not among them. The first line is waited for: its answer is the count.
    pub(super) async fn log(&self, line: String) -> CallResult<u64> {
        if let Some(lines) = self.note(JobWrite::Log(line)).await? {
            return Ok(lines);
        }
        self.stored().await;
        self.told()?;
        Ok(self.0.state.lock().lines.unwrap_or_default())
    }

    /// Writes without waiting, unless it is large or too much waits already. If notes were refused before, the guest hears of it now, and
    /// this one is not written. Returns how many lines the log keeps with it, where that is known.
    pub(super) async fn note(&self, write: JobWrite) -> CallResult<Option<u64>> {
        let bytes = write.bytes();
        self.until(|state| state.has_room(bytes)).await;
        self.told()?;
        let lines = self.0.push(write);
        if bytes > WAITING_BYTES_MAX {
            self.stored().await;
            self.told()?;
        }
        Ok(lines)
    }

    fn told(&self) -> CallResult<()> {
        let refused = self.0.state.lock().refused.take();
        refused.map_or(Ok(()), |error| Err(job_error(error)))
    }

    /// Writes, and waits until it is stored.
    pub(super) async fn keep(&self, write: JobWrite) -> CallResult<()> {
        let bytes = write.bytes();
        self.until(|state| state.has_room(bytes)).await;
        self.0.push(write);
        self.stored().await;
        let failed = self.0.state.lock().failed.take();
        failed.map_or(Ok(()), |error| Err(job_error(error)))
    }

    /// Waits for all that was written.
    pub(super) async fn stored(&self) {
        self.until(State::is_idle).await;
    }

    /// Waits for all that was written, before the outcome: that ends the hold on the job. The error: notes are lost, and the
    /// guest will not hear of it.
    pub(crate) async fn finish(&self, cancel: &Cancel) -> Result<(), QueueError> {
        let stopped = async {
            if cancel.must_stop(GRACE).await == Stop::Shutdown {
                tokio::time::sleep(GRACE_OF_A_SHUTDOWN).await;
            }
        };
        tokio::select! {
            biased;
            () = self.stored() => {}
            () = stopped => self.give_up(),
        }
        self.0.state.lock().refused.take().map_or(Ok(()), Err)
    }

    fn give_up(&self) {
        let mut state = self.0.state.lock();
        state.sender.take().inspect(AbortHandle::abort);
        let why = "attempt was stopped before redis answered";
        state.refused = Some(QueueError::Invalid(why.to_owned()));
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
    fn has_room(&self, bytes: usize) -> bool {
        let waiting: usize = self.waiting.iter().map(JobWrite::bytes).sum();
        let fits = waiting + bytes <= WAITING_BYTES_MAX || self.is_idle();
        self.waiting.len() < WAITING_MAX && fits
    }

    fn is_idle(&self) -> bool {
        self.sender.is_none()
    }

    /// Adds a write. True: no task sends it, and one must be started before the lock is released.
    fn push(&mut self, write: JobWrite) -> bool {
        self.waiting.push(write);
        self.is_idle()
    }

    /// All that waits, for one call. With nothing, the task that asks ends: a later write has one of its own.
    fn take_waiting(&mut self) -> Vec<JobWrite> {
        if self.waiting.is_empty() {
            self.sender = None;
        }
        std::mem::take(&mut self.waiting)
    }
}

impl Inner {
    fn push(self: &Arc<Self>, write: JobWrite) -> Option<u64> {
        let mut state = self.state.lock();
        if is_line(&write) {
            state.lines = state.lines.map(|lines| self.kept(lines + 1));
        }
        if state.push(write) {
            state.sender = Some(tokio::spawn(Arc::clone(self).send_all()).abort_handle());
        }
        state.lines
    }

    fn kept(&self, lines: u64) -> u64 {
        let keep = self.author.job.options.keep_logs;
        keep.unwrap_or(u64::MAX).min(lines)
    }

    async fn send_all(self: Arc<Self>) {
        let sending = Sending {
            state: &self.state,
            answered: &self.answered,
        };
        while let Some((writes, request)) = self.next() {
            match self.send(&writes, &request).await {
                Ok(lines) => self.note_stored(&writes, lines),
                Err(error) => self.note_refused(writes, error, request.is_over()),
            }
            self.answered.notify_waiters();
        }
        sending.end();
    }

    /// All that waits; with nothing, this was the last call for now.
    fn next(&self) -> Option<(Vec<JobWrite>, Request)> {
        let mut state = self.state.lock();
        let writes = state.take_waiting();
        if writes.is_empty() {
            return None;
        }
        // A line would be there twice. Anything else is the same when it is written again, but for one event.
        let request = if writes.iter().any(is_line) {
            let (queue, job) = (&self.author.queue, &self.author.job);
            let name = || format!("writes/{}/{}", job.token, job.id);
            let caller = || Caller::new(queue.redis().clone(), &name());
            state.caller.get_or_insert_with(caller).request()
        } else {
            Request::untracked()
        };
        Some((writes, request))
    }

    fn note_stored(&self, writes: &[JobWrite], lines: u64) {
        writes.iter().for_each(|write| self.tell(write));
        if lines > 0 {
            let mut state = self.state.lock();
            let waiting = state.waiting.iter().filter(|write| is_line(write)).count();
            state.lines = Some(self.kept(lines + waiting as u64));
        }
    }

    /// What is waited for is sent once more, without the notes beside it, unless it was refused alone.
    fn note_refused(&self, mut writes: Vec<JobWrite>, error: QueueError, is_over: bool) {
        let mut state = self.state.lock();
        state.lines = None;
        let sent = writes.len();
        // What may not be repeated any more are the lines.
        writes.retain(|write| {
            if is_over {
                !is_line(write)
            } else {
                is_kept(write)
            }
        });
        if sent == writes.len() {
            state.failed = Some(error);
            return;
        }
        state.refused = Some(error);
        state.waiting.retain(is_kept);
        state.waiting.splice(0..0, writes);
    }

    /// Repeats a call while Redis is unreachable.
    async fn send(&self, writes: &[JobWrite], request: &Request) -> Result<u64, QueueError> {
        let Author {
            queue,
            job,
            changes,
            ..
        } = &self.author;
        let writer = Writer::attempt((!changes.is_moved()).then_some(&*job.token));
        let lock = Lock {
            queue,
            attempt: LockedAttempt::of(job),
            lock_ms: self.author.lock_ms,
        };
        let keep = job.options.keep_logs;
        let call = || queue.write_job(&job.id, writer, writes, keep, request);
        lock.retried(call).await
    }

    /// Tells those who listen what was stored.
    fn tell(&self, write: &JobWrite) {
        let Author {
            listeners,
            changes,
            job,
            ..
        } = &self.author;
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
}

fn is_line(write: &JobWrite) -> bool {
    matches!(write, JobWrite::Log(_))
}

/// True of what a guest goes on from.
fn is_kept(write: &JobWrite) -> bool {
    matches!(write, JobWrite::Data(_) | JobWrite::Step(..))
}

/// The task that sends. Wakes those who wait if it ends by a panic.
struct Sending<'a> {
    state: &'a Mutex<State>,
    answered: &'a Notify,
}

impl Sending<'_> {
    /// Nothing waited when it last looked. Another one may send by now, so nothing is taken back.
    fn end(self) {
        self.answered.notify_waiters();
        std::mem::forget(self);
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.sender.take().is_some() {
            let broken = || QueueError::Invalid("writes to the job were interrupted".to_owned());
            (state.refused, state.failed) = (Some(broken()), Some(broken()));
            state.waiting.clear();
        }
        drop(state);
        self.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// Stands for a task that sends.
    fn sender() -> Option<AbortHandle> {
        Some(tokio::spawn(pending::<()>()).abort_handle())
    }

    fn line(text: &str) -> JobWrite {
        JobWrite::Log(text.to_owned())
    }

    #[derive(Default)]
    struct Shared {
        state: Mutex<State>,
        answered: Notify,
    }

    impl Shared {
        fn sending(&self) -> Sending<'_> {
            self.state.lock().sender = sender();
            Sending {
                state: &self.state,
                answered: &self.answered,
            }
        }
    }

    #[tokio::test]
    async fn write_that_comes_while_a_call_is_under_way_goes_with_the_next_one() {
        let shared = Shared::default();
        let sending = shared.sending();
        assert!(!shared.state.lock().push(line("a")), "one sends already");
        assert!(!shared.state.lock().push(line("b")));
        assert_eq!(shared.state.lock().take_waiting().len(), 2);
        assert!(!shared.state.lock().is_idle(), "they are not stored yet");
        sending.end();
    }

    /// The task found nothing that waits, and has not come to its end.
    #[tokio::test]
    async fn write_that_comes_when_the_task_that_sends_ends_is_sent_by_another_one() {
        let shared = Shared::default();
        let ending = shared.sending();
        assert!(shared.state.lock().take_waiting().is_empty());
        assert!(shared.state.lock().push(line("late")), "no task sends it");
        let next = shared.sending();
        ending.end();
        let mut state = shared.state.lock();
        assert!(!state.is_idle(), "the second task is still there");
        assert!(state.refused.is_none() && state.failed.is_none());
        assert_eq!(state.take_waiting().len(), 1);
        drop(state);
        next.end();
    }

    #[tokio::test]
    async fn what_waits_is_refused_where_the_task_that_sends_panics() {
        let shared = Shared::default();
        let sending = shared.sending();
        shared.state.lock().push(line("lost"));
        let mut woken = std::pin::pin!(shared.answered.notified());
        woken.as_mut().enable();
        drop(sending);
        woken.await;
        let state = shared.state.lock();
        assert!(state.is_idle() && state.waiting.is_empty());
        assert!(state.refused.is_some() && state.failed.is_some());
    }
}
