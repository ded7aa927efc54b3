//! The loop of one queue: carries out what the [schedule](super::schedule) says, and tells it what came of it.
//! Decides nothing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::attempt::Attempt;
use super::failures;
use super::inline::TURN;
use super::outbox::Outbox;
use super::schedule::{Actions, Call, Input, LostCall, Notice, Now, Start};
use super::{Control, Observers, Stage, State, WorkerOptions};
use crate::retries::past_outages;
use crate::versions::Versions;
use toril_queue::{
    Fetch, Job, LockedAttempt, Marker, MarkerWait, Queue, QueueError, Settled, now_ms,
};
use toril_sandbox::{AttemptFuture, Engine, Stop};

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A call, what Redis said of it, and the limit of the queue's rate that it should have stored before and did not.
type Answer = (Call, Result<Settled, QueueError>, Option<u64>);
type MarkerAnswer = (Box<MarkerWait>, Result<Option<Marker>, QueueError>);

/// How long a worker that gives its jobs back tries to return the marker that it took.
const LEAVE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Io {
    pub(super) queue: Queue,
    /// Over a connection of its own.
    guests_queue: Queue,
    pub(super) options: WorkerOptions,
    pub(super) versions: Arc<Versions>,
    pub(super) engine: Arc<Engine>,
    pub(super) observers: Arc<Observers>,
    pub(super) control: watch::Receiver<Control>,
    pub(super) state: State,
    outbox: Arc<Outbox>,
    /// Attempts to begin on this thread.
    inline: VecDeque<AttemptFuture>,
    /// Tokens of locks are this, a colon, and the number of the call.
    token_base: uuid::Uuid,
    /// Calls under way. They are not dropped while the queue is worked: each may be carried out.
    calls: Vec<Later<Answer>>,
    /// Redis did not answer, and that was said.
    unreachable: bool,
    /// For how long the rate of the queue is to be limited, in ms; with the next call.
    limit_ms: Option<u64>,
    recovery: Option<Later<Result<Vec<Job>, QueueError>>>,
    /// At rest, or out waiting. It is never dropped while it waits: it may have taken a marker.
    marker: Option<Box<MarkerWait>>,
    marker_answer: Option<Later<MarkerAnswer>>,
    /// What nobody waits for.
    beside: Vec<Later<()>>,
}

impl Io {
    pub(super) fn new(
        queue: Queue,
        options: WorkerOptions,
        versions: Arc<Versions>,
        engine: Arc<Engine>,
        observers: Arc<Observers>,
        control: watch::Receiver<Control>,
        state: State,
    ) -> Self {
        Io {
            marker: Some(Box::new(queue.marker_wait(options.name.as_deref()))),
            // What guests send must not hold up what settles their jobs.
            guests_queue: queue.on_own_connection(),
            queue,
            options,
            versions,
            engine,
            observers,
            control,
            state,
            outbox: Arc::default(),
            inline: VecDeque::new(),
            token_base: uuid::Uuid::new_v4(),
            calls: Vec::new(),
            unreachable: false,
            limit_ms: None,
            recovery: None,
            marker_answer: None,
            beside: Vec::new(),
        }
    }

    /// Works the queue until it is drained or given back.
    pub(super) async fn run(mut self) {
        self.announce().await;
        let mut actions = Actions::default();
        self.step(Input::Time, &mut actions);
        loop {
            self.carry_out(&mut actions);
            if actions.finished {
                break;
            }
            let input = self.next_input().await;
            self.step(input, &mut actions);
        }
        self.leave().await;
    }

    /// Ends what is under way beside the calls: other workers rest until the marker that this one took is back. A worker
    /// that gives its jobs back does not wait for a Redis that is unreachable.
    async fn leave(&mut self) {
        let Io {
            beside, control, ..
        } = self;
        let done = async {
            while !beside.is_empty() {
                first_of(beside).await;
            }
        };
        let given_up = async {
            // An error: the worker was dropped, which gives its jobs back.
            let _ = control
                .wait_for(|control| control.stage == Stage::GiveBack)
                .await;
            tokio::time::sleep(LEAVE_MAX).await;
        };
        tokio::select! {
            biased;
            () = done => {}
            () = given_up => {}
        }
    }

    fn step(&mut self, input: Input, actions: &mut Actions) {
        let now = Now {
            instant: Instant::now(),
            epoch_ms: now_ms(),
        };
        let ended = self.outbox.take();
        self.state.lock().step(ended, input, now, actions);
    }

    /// Opens the blocking connection at once, so that the worker is seen even while it is busy.
    async fn announce(&mut self) {
        if let Some(marker) = &mut self.marker
            && let Err(error) = marker.connect().await
        {
            warn!(queue = self.queue.keys().name(), %error, "the blocking connection failed; the worker tries again");
        }
    }

    /// What happens next. Between two turns of jobs on this thread it looks without waiting.
    async fn next_input(&mut self) -> Input {
        if self.inline.is_empty() {
            return self.wait().await;
        }
        tokio::select! {
            biased;
            input = self.wait() => return input,
            () = std::future::ready(()) => {}
        }
        // What was sent leaves now, not when the jobs are done.
        tokio::task::yield_now().await;
        let turn = self.inline.drain(..self.inline.len().min(TURN));
        let count = turn.len();
        let threads = self.engine.guest_threads();
        threads.begin_here(turn).await;
        Input::BegunInline(count)
    }

    /// Waits until something happens. Loses nothing when dropped.
    async fn wait(&mut self) -> Input {
        let (awaited, wake_at) = {
            let state = self.state.lock();
            (state.wake_threshold(), state.wake_at())
        };
        tokio::select! {
            (call, answer, owed_ms) = first_of(&mut self.calls) => {
                self.limit_ms = self.limit_ms.max(owed_ms);
                self.note_answer(call, answer)
            }
            // The step takes them in.
            () = self.outbox.has(awaited) => Input::Time,
            (marker, answer) = poll_some(&mut self.marker_answer) => {
                self.marker = Some(marker);
                self.marker_answer = None;
                if let Err(error) = &answer {
                    warn!(queue = self.queue.keys().name(), %error, "waiting for work failed; the worker tries again");
                }
                Input::Marker(answer)
            }
            found = poll_some(&mut self.recovery) => self.note_recovery(found),
            () = until(wake_at) => Input::Time,
            Ok(()) = self.control.changed() => Input::Control(*self.control.borrow_and_update()),
            () = first_of(&mut self.beside) => Input::Time,
        }
    }

    fn note_answer(&mut self, call: Call, answer: Result<Settled, QueueError>) -> Input {
        let error = match &answer {
            Ok(_) => return Input::Answered(call, answer),
            Err(error) => error,
        };
        let queue = self.queue.keys().name();
        self.observers.metrics.redis_errors.inc();
        if error.is_transient() {
            if !std::mem::replace(&mut self.unreachable, true) {
                self.observers.listeners.error(error);
                warn!(queue, %error, "redis executes no call; the worker repeats settling until it does");
            }
        } else {
            self.observers.listeners.error(error);
            let jobs = call.held.len();
            error!(queue, %error, jobs, "redis refused a call; the worker settles its jobs one by one");
        }
        Input::Answered(call, answer)
    }

    fn note_recovery(&mut self, found: Result<Vec<Job>, QueueError>) -> Input {
        self.recovery = None;
        let queue = self.queue.keys().name();
        match &found {
            Ok(jobs) => debug!(queue, jobs = jobs.len(), "a lost call was recovered"),
            Err(error) if error.is_transient() => {
                debug!(queue, %error, "redis still executes no call")
            }
            Err(error) => {
                self.observers.listeners.error(error);
                error!(queue, %error, "redis refused to look for the jobs of a lost call; they run again when their locks expire");
                return Input::Recovered(Ok(Vec::new()));
            }
        }
        Input::Recovered(found)
    }

    fn carry_out(&mut self, actions: &mut Actions) {
        for held in actions.give_back.drain(..) {
            held.cancel.stop(Stop::Shutdown);
        }
        for held in actions.give_back_at_step.drain(..) {
            held.cancel.give_back_at_step();
        }
        self.limit_ms = self.limit_ms.max(actions.limit_ms.take());
        for call in actions.calls.drain(..) {
            self.send(call);
        }
        if let Some(lost) = actions.recover.take() {
            self.recover(&lost);
        }
        if let Some(timeout) = actions.wait_for_marker.take()
            && let Some(mut marker) = self.marker.take()
        {
            self.marker_answer = Some(Box::pin(async move {
                let answer = marker.next(timeout).await;
                (marker, answer)
            }));
        }
        if let Some(marker) = actions.return_marker.take() {
            let queue = self.queue.clone();
            self.beside.push(Box::pin(async move {
                // Other workers rest until it is back.
                let returned = past_outages(|| queue.return_marker(marker)).await;
                returned.unwrap_or_else(|error| debug!(%error, "marker could not be returned"));
            }));
        }
        let taken = std::mem::take(&mut actions.taken) as u64;
        self.observers.metrics.taken.inc_by(taken);
        let inline = actions.start_inline.drain(..);
        let inline: Vec<AttemptFuture> = inline.map(|start| self.attempt(start)).collect();
        self.inline.extend(inline);
        let runs: Vec<AttemptFuture> = actions
            .start
            .drain(..)
            .map(|start| self.attempt(start))
            .collect();
        if !runs.is_empty() {
            let threads = self.engine.guest_threads();
            threads.start_all(runs.into_iter());
        }
        for notice in actions.notices.drain(..) {
            self.tell(notice);
        }
    }

    fn attempt(&self, start: Start) -> AttemptFuture {
        self.observers.listeners.active(&start.held.job);
        let attempt = Attempt {
            held: start.held,
            queue: self.guests_queue.clone(),
            versions: Arc::clone(&self.versions),
            engine: Arc::clone(&self.engine),
            observers: Arc::clone(&self.observers),
            lock_ms: self.options.lock_duration_ms,
        };
        Box::pin(attempt.run(start.refusal, Arc::clone(&self.outbox)))
    }

    fn fetch(&self, number: u64, want: usize, bytes_max: usize) -> Fetch {
        Fetch {
            worker: self.options.name.clone(),
            lock_ms: self.options.lock_duration_ms,
            want,
            bytes_max,
            token: format!("{}:{number}", self.token_base).into(),
            limiter: self.options.limiter,
            metrics_points: self.options.metrics_points(),
            pin: self.versions.pin(),
        }
    }

    fn send(&mut self, call: Call) {
        self.observers.metrics.calls.inc();
        let fetch = self.fetch(call.number, call.want, call.bytes_max);
        let (queue, limit_ms) = (self.queue.clone(), self.limit_ms.take());
        let observers = Arc::clone(&self.observers);
        self.calls.push(Box::pin(async move {
            if let Some(duration_ms) = limit_ms
                && let Err(error) = limit(&queue, duration_ms, &observers).await
            {
                // The jobs that it is for must not go back before it: the call counts as lost, and both are sent again.
                return (call, Err(error), limit_ms);
            }
            let answer = settle(&queue, &call, &fetch).await;
            (call, answer, None)
        }));
    }

    /// Finds the jobs that a lost call took, then takes again locks that ran out while nobody could renew them.
    fn recover(&mut self, lost: &LostCall) {
        let fetch = self.fetch(lost.number, lost.want, lost.bytes_max);
        let locks: Vec<_> = {
            let state = self.state.lock();
            let held = state.jobs().to_settle();
            held.map(|held| LockedAttempt::of(&held.job)).collect()
        };
        let queue = self.queue.clone();
        let lock_ms = self.options.lock_duration_ms;
        self.recovery = Some(Box::pin(async move {
            let jobs = match fetch.want {
                0 => Vec::new(),
                _ => queue.reclaim(&fetch).await?,
            };
            match queue.extend_locks(&locks, lock_ms).await {
                Err(error) if error.is_transient() => Err(error),
                _ => Ok(jobs),
            }
        }));
    }

    fn tell(&mut self, notice: Notice) {
        let queue = self.queue.keys().name();
        let Observers {
            listeners,
            metrics,
            telemetry,
            ..
        } = &*self.observers;
        match notice {
            Notice::Refused(held) => listeners.active(&held.job),
            Notice::Settled { held, kind, at_ms } => {
                if let Some(telemetry) = telemetry {
                    telemetry.settled(queue, &held.job, &kind);
                }
                failures::log(queue, &held, &kind, &self.options);
                listeners.settled(&held.job, held.changes(), &kind, at_ms);
            }
            Notice::Dropped {
                held,
                error,
                expected: true,
            } => {
                debug!(queue, job_id = &*held.job.id, %error, "job was settled by the call whose answer was lost");
            }
            Notice::Dropped { held, error, .. } => {
                metrics.outcomes_dropped.inc();
                listeners.error(&error);
                warn!(queue, job_id = &*held.job.id, %error, "outcome was dropped: the job is not this worker's any more");
            }
            Notice::Unsettled(held) => {
                let job_id = &*held.job.id;
                metrics.outcomes_dropped.inc();
                error!(
                    queue,
                    job_id, "job could not be settled, it runs again when its lock has run out"
                );
            }
            Notice::Jobless { count, ids } => {
                metrics.ids_without_job.inc_by(count);
                listeners.error(&format_args!("{count} waiting ids have no job: {ids:?}"));
                warn!(queue, count, ?ids, "waiting ids without a job were dropped");
            }
            Notice::Drained => listeners.drained(),
            Notice::Abandoned(jobs) => {
                const REASON: &str = "host stops while redis is unreachable; the jobs run again";
                metrics.outcomes_dropped.inc_by(jobs as u64);
                listeners.error(&format_args!("{REASON}: {jobs}"));
                error!(queue, jobs, "{REASON}");
            }
            Notice::Recovered => {
                if std::mem::take(&mut self.unreachable) {
                    info!(queue, "redis answers again");
                }
            }
        }
    }
}

/// Limits the rate of the queue, before the call that gives the job back is sent. An error: Redis may take it later.
async fn limit(queue: &Queue, duration_ms: u64, observers: &Observers) -> Result<(), QueueError> {
    match queue.rate_limit(duration_ms).await {
        // A full memory must not hold up what is settled.
        Err(error) if error.is_transient() && !error.is_out_of_memory() => Err(error),
        Err(error) => {
            observers.metrics.redis_errors.inc();
            observers.listeners.error(&error);
            warn!(queue = queue.keys().name(), %error, "rate limit could not be stored");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Sends a call. Locks may have run out because nobody could renew them: jobs that nobody else took since are still
/// this worker's, so their locks are taken again, and they are settled.
async fn settle(queue: &Queue, call: &Call, fetch: &Fetch) -> Result<Settled, QueueError> {
    let mut settled = queue.settle_and_fetch(&call.settlements, fetch).await?;
    let without_lock: Vec<usize> = settled
        .results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.as_ref().is_err_and(QueueError::is_without_lock))
        .map(|(at, _)| at)
        .collect();
    if without_lock.is_empty() {
        return Ok(settled);
    }
    let locks: Vec<LockedAttempt> = without_lock
        .iter()
        .map(|at| LockedAttempt::of(&call.held[*at].job))
        .collect();
    let lost = queue.extend_locks(&locks, fetch.lock_ms).await?;
    for (at, lock) in without_lock.into_iter().zip(&locks) {
        if lost.contains(lock) {
            continue;
        }
        let result = queue.settle_one(call.settlements[at].clone()).await;
        match result {
            Err(error) if error.is_transient() => return Err(error),
            result => settled.results[at] = result,
        }
    }
    Ok(settled)
}

/// The output of whichever future ends first; never ends where there is none. Loses nothing when dropped.
async fn first_of<T>(futures: &mut Vec<Later<T>>) -> T {
    std::future::poll_fn(|context| {
        for at in 0..futures.len() {
            if let Poll::Ready(output) = futures[at].as_mut().poll(context) {
                drop(futures.remove(at));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

async fn poll_some<T>(future: &mut Option<Later<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Never ends where there is no time to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
