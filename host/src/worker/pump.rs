//! The pump of one queue: sends calls to Redis, each with the outcomes that came in since the last one and the
//! number of free slots. Under load the batches fill by themselves, and a second call is under way while Redis
//! works on the first; on an idle queue a call carries one job. Only the pump settles. Short jobs it begins itself.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::attempt::Attempt;
use super::locks::Running;
use super::outbox::{Ended, Outbox};
use super::{Control, Observers, Phase, WorkerOptions, outcome};
use crate::execution::Outcome;
use crate::fleet::Member;
use crate::runtime::{Run, Stop};
use toril_queue::{
    ErrorCode, Fetch, Job, Marker, MarkerWait, Moved, Queue, QueueError, Settled, Settlement,
    SettlementKind, now_ms,
};

/// The most outcomes, and the most jobs, that one call carries. Keeps Redis responsive: at about 30 µs
/// per job a call holds it for some 2 ms. Fewer where fewer run at once, so that no call carries them all:
/// guests work on one half while Redis works on the other.
const BATCH_MAX: usize = 64;
/// The longest that one wait for a marker lasts, as in BullMQ: a connection that died silently is noticed.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest that a rate-limited worker sleeps, so that delayed jobs are promoted meanwhile.
const LIMITED_MAX: Duration = Duration::from_secs(30);
/// Calls under way at once. Two keep Redis busy; more would only make the batches smaller.
const CALLS_MAX: usize = 2;
/// A second call must be worth its round: this many outcomes, or half as many as the first one carries.
const SECOND_CALL_MIN: usize = 4;
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Jobs are begun on the pump's own thread as long as all of them take less than this, in microseconds of
/// processor time: waking another thread and being woken by it takes some 40 us, in which neither Redis nor a guest
/// works. Long enough for half of the usual concurrency, short enough that no answer of Redis waits for long.
const OWN_WORK_US: f64 = 400.0;
/// How many of them between two looks at what else is to be done.
const OWN_TURN: usize = 8;
/// What the newest attempt counts in the average: a long one sends the jobs of its queue to other threads at once,
/// and some twenty short ones bring them back.
const COST_WEIGHT: f64 = 0.125;
/// What a job is taken to cost before any was seen: too much for the pump's thread.
const COST_UNKNOWN_US: f64 = 1e3;

type MarkerFuture =
    Pin<Box<dyn Future<Output = (Box<MarkerWait>, Result<Option<Marker>, QueueError>)> + Send>>;

type CallFuture = Pin<Box<dyn Future<Output = (Call, Result<Settled, QueueError>)> + Send>>;

/// A call to Redis: what it settles, with the jobs for the case that one is refused, and what it takes.
struct Call {
    jobs: Vec<Arc<Job>>,
    settlements: Vec<Settlement>,
    fetch: Fetch,
}

pub(super) struct Pump {
    queue: Queue,
    options: WorkerOptions,
    member: Arc<Member>,
    observers: Arc<Observers>,
    control: watch::Receiver<Control>,
    running: Arc<Running>,
    /// Jobs that were started and whose outcome was not taken in.
    executing: usize,
    outbox: Arc<Outbox>,
    /// Jobs to begin on this thread.
    own: VecDeque<Run>,
    /// The processor time that a job takes, in microseconds: a moving average.
    cost_us: f64,
    /// Outcomes that wait for the next call.
    pending: Vec<(Arc<Job>, Settlement)>,
    /// Calls under way. They are not dropped while the queue is worked: each may be carried out.
    calls: Vec<CallFuture>,
    /// Jobs that they may bring.
    asked: usize,
    /// Outcomes that the last of them carries.
    carried: usize,
    /// Tokens of locks are this, a colon, and the number of the call.
    token_base: uuid::Uuid,
    fetches: u64,
    /// The last fetch got less than it asked for: wait for a marker.
    idle: bool,
    /// A marker came while calls were under way: what they do not find may have come after them.
    news: bool,
    limited_until: Option<Instant>,
    next_delayed_ms: Option<u64>,
    /// The last fetch found nothing, and nobody was told of jobs since.
    drained: bool,
    /// At rest, or out waiting. It is never dropped while it waits: it may have taken a marker.
    marker: Option<Box<MarkerWait>>,
    marker_future: Option<MarkerFuture>,
}

enum Event {
    Outcomes,
    Answered(Box<Call>, Result<Settled, QueueError>),
    Marker(Box<MarkerWait>, Result<Option<Marker>, QueueError>),
    LimitOver,
    Control,
}

impl Pump {
    pub(super) fn new(
        queue: Queue,
        options: WorkerOptions,
        member: Arc<Member>,
        observers: Arc<Observers>,
        running: Arc<Running>,
        control: watch::Receiver<Control>,
    ) -> Self {
        Pump {
            marker: Some(Box::new(queue.marker_wait(options.name.as_deref()))),
            queue,
            options,
            member,
            observers,
            control,
            running,
            executing: 0,
            own: VecDeque::new(),
            cost_us: COST_UNKNOWN_US,
            outbox: Arc::default(),
            pending: Vec::new(),
            calls: Vec::new(),
            asked: 0,
            carried: 0,
            token_base: uuid::Uuid::new_v4(),
            fetches: 0,
            idle: false,
            news: false,
            limited_until: None,
            next_delayed_ms: None,
            drained: true,
            marker_future: None,
        }
    }

    pub(super) async fn run(mut self) {
        self.announce().await;
        loop {
            for ended in self.outbox.take() {
                self.note_end(ended).await;
            }
            let want = self.want();
            if self.should_call(want) {
                self.call(want);
            } else if self.has_ended() {
                break;
            } else if self.own.is_empty() {
                let event = self.next_event(want).await;
                self.handle(event).await;
            } else {
                self.handle_if_any(want).await;
                // What was sent leaves now, not when the jobs are done.
                tokio::task::yield_now().await;
                self.begin_own().await;
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.phase() != Phase::Work && self.executing == 0 && self.calls.is_empty()
    }

    fn should_call(&self, want: usize) -> bool {
        let fetches = want > 0 && !self.idle && self.calls.is_empty() && self.own.is_empty();
        fetches || self.pending.len() >= self.enough()
    }

    fn batch_max(&self) -> usize {
        let share = self.control.borrow().concurrency.div_ceil(CALLS_MAX);
        share.clamp(SECOND_CALL_MIN, BATCH_MAX)
    }

    /// How many outcomes are worth a call now.
    fn enough(&self) -> usize {
        match (self.calls.len(), self.own.is_empty()) {
            (0, true) => 1,
            // Redis rests; this thread has more to do.
            (0, false) => self.batch_max() / 2 + 1,
            (1, true) => SECOND_CALL_MIN.max(self.carried / 2),
            (1, false) => self.batch_max(),
            // `CALLS_MAX` are under way.
            _ => usize::MAX,
        }
    }

    /// How many outcomes would make a difference now.
    fn awaited(&self) -> usize {
        self.enough().saturating_sub(self.pending.len()).max(1)
    }

    fn phase(&self) -> Phase {
        self.control.borrow().phase
    }

    /// How many jobs to take with the next call.
    fn want(&self) -> usize {
        let Control {
            phase,
            paused,
            ready,
            concurrency,
        } = *self.control.borrow();
        if phase != Phase::Work || paused || !ready || self.limited_until.is_some() {
            return 0;
        }
        concurrency
            .saturating_sub(self.executing + self.asked)
            .min(self.batch_max())
    }

    /// Opens the blocking connection at once, so that the worker is seen even while it is busy.
    async fn announce(&mut self) {
        if let Some(marker) = &mut self.marker
            && let Err(error) = marker.connect().await
        {
            warn!(queue = self.queue.keys().name(), %error, "blocking connection failed, it is tried again");
        }
    }

    async fn next_event(&mut self, want: usize) -> Event {
        if want > 0 && self.calls.is_empty() {
            self.start_waiting();
        }
        let (limited_until, awaited) = (self.limited_until, self.awaited());
        tokio::select! {
            Some((call, answer)) = next_answer(&mut self.calls) => Event::Answered(Box::new(call), answer),
            () = self.outbox.has(awaited) => Event::Outcomes,
            Some((wait, marker)) = poll_marker(&mut self.marker_future) => Event::Marker(wait, marker),
            () = until(limited_until) => Event::LimitOver,
            Ok(()) = self.control.changed() => Event::Control,
        }
    }

    /// Takes in an event that is there. Also sends the calls that were made.
    async fn handle_if_any(&mut self, want: usize) {
        let event = tokio::select! {
            biased;
            event = self.next_event(want) => event,
            () = std::future::ready(()) => return,
        };
        self.handle(event).await;
    }

    /// Begins some of the jobs that are kept for this thread.
    async fn begin_own(&mut self) {
        let turn = self.own.drain(..self.own.len().min(OWN_TURN));
        self.member.runtime().guest_threads().begin_here(turn).await;
    }

    async fn handle(&mut self, event: Event) {
        match event {
            // The loop takes them in.
            Event::Outcomes => {}
            Event::Answered(call, answer) => {
                self.asked -= call.fetch.want;
                self.note_answer(*call, answer).await;
            }
            Event::Marker(wait, marker) => {
                self.marker = Some(wait);
                self.marker_future = None;
                self.note_marker(marker).await;
            }
            Event::LimitOver => {
                self.limited_until = None;
                self.idle = false;
            }
            Event::Control => {
                self.idle = false;
                if self.phase() == Phase::GiveBack {
                    self.running.stop_all(Stop::Shutdown);
                }
            }
        }
    }

    /// Begins to wait for a marker, unless that is under way.
    fn start_waiting(&mut self) {
        let Some(mut wait) = self.marker.take() else {
            return;
        };
        let drain_delay = Duration::from_millis(self.options.drain_delay_ms);
        let timeout = match self.next_delayed_ms {
            Some(due) => Duration::from_millis(due.saturating_sub(now_ms())).min(WAIT_MAX),
            None => drain_delay,
        };
        // A zero timeout would wait for ever.
        let timeout = timeout.max(Duration::from_millis(1));
        self.marker_future = Some(Box::pin(async move {
            let marker = wait.next(timeout).await;
            (wait, marker)
        }));
    }

    async fn note_marker(&mut self, marker: Result<Option<Marker>, QueueError>) {
        self.news = !self.calls.is_empty();
        match marker {
            Ok(Some(Marker::Delayed(due))) if due > now_ms() => self.next_delayed_ms = Some(due),
            Ok(marker) => {
                self.next_delayed_ms = None;
                self.idle = false;
                if let Some(marker) = marker
                    && self.want() == 0
                {
                    // Whoever has room may take what it announces.
                    let returned = self.queue.return_marker(marker).await;
                    returned.unwrap_or_else(|error| debug!(%error, "marker could not be returned"));
                }
            }
            Err(error) => {
                debug!(queue = self.queue.keys().name(), %error, "waiting for work failed, it is tried again");
                tokio::time::sleep(RETRY_MIN).await;
                self.idle = false;
            }
        }
    }

    /// Turns the end of an execution into a settlement for the next call.
    async fn note_end(&mut self, ended: Ended) {
        let Ended { held, outcome, cpu } = ended;
        self.executing -= 1;
        self.cost_us += (cpu.as_nanos() as f64 / 1e3 - self.cost_us) * COST_WEIGHT;
        if let Outcome::HostFailed(reason) = &outcome {
            error!(
                queue = self.queue.keys().name(),
                reason, "host failed a job, which runs again later"
            );
        }
        if let Outcome::RateLimited(duration_ms) = outcome {
            self.limit(duration_ms).await;
        }
        self.push_outcome(Arc::clone(&held.job), outcome);
    }

    fn push_outcome(&mut self, job: Arc<Job>, outcome: Outcome) {
        match outcome::settlement(&job, outcome, &self.options) {
            Some(kind) => {
                let settlement = Settlement::new(&job, kind);
                self.pending.push((job, settlement));
            }
            None => self.running.remove(&job),
        }
    }

    async fn limit(&mut self, duration_ms: u64) {
        if let Err(error) = self.queue.rate_limit(duration_ms).await {
            warn!(queue = self.queue.keys().name(), %error, "rate limit could not be stored");
        }
        self.limited_until =
            Some(Instant::now() + Duration::from_millis(duration_ms).min(LIMITED_MAX));
    }

    /// Sends a call: settles what waits, takes up to `want` jobs.
    fn call(&mut self, want: usize) {
        let batch = self.pending.len().min(self.batch_max());
        let (jobs, settlements) = self.pending.drain(..batch).unzip();
        let call = Call {
            jobs,
            settlements,
            fetch: self.fetch(want),
        };
        (self.asked, self.carried) = (self.asked + want, batch);
        self.observers.metrics.calls.inc();
        let queue = self.queue.clone();
        self.calls.push(Box::pin(async move {
            let answer = queue.settle_and_fetch(&call.settlements, &call.fetch).await;
            (call, answer)
        }));
    }

    /// Takes in the answer of a call, and repeats the call while Redis is away.
    async fn note_answer(&mut self, mut call: Call, mut answer: Result<Settled, QueueError>) {
        let mut uncertain = false;
        let mut pause = RETRY_MIN;
        loop {
            match answer {
                Ok(settled) => return self.apply(call, settled, uncertain),
                Err(error) if error.is_transient() => {
                    self.observers.metrics.redis_errors.inc();
                    if !uncertain {
                        self.observers.listeners.error(&error);
                        warn!(queue = self.queue.keys().name(), %error, "redis is away, settling is repeated until it is back");
                    }
                    uncertain = true;
                    // This thread waits for Redis from here on; jobs need not.
                    let threads = self.member.runtime().guest_threads();
                    threads.start_all(self.own.drain(..));
                    if self.phase() == Phase::GiveBack {
                        // Nobody is left to wait: locks run out and other workers take over.
                        error!(
                            jobs = call.jobs.len(),
                            "host stops while redis is away; the jobs run again"
                        );
                        return self.forget(&call.jobs);
                    }
                    call.fetch = self
                        .recover_lost_call(call.fetch, &call.settlements, &mut pause)
                        .await;
                }
                Err(error) if !call.settlements.is_empty() => {
                    warn!(queue = self.queue.keys().name(), %error, "redis refused a call, its jobs are settled one by one");
                    return self.settle_one_by_one(call).await;
                }
                Err(error) => {
                    // What Redis refuses for good, such as a key of the wrong type, needs a person.
                    error!(queue = self.queue.keys().name(), %error, "redis refused a call that takes jobs");
                    tokio::time::sleep(RETRY_MAX).await;
                    return;
                }
            }
            self.observers.metrics.calls.inc();
            answer = self
                .queue
                .settle_and_fetch(&call.settlements, &call.fetch)
                .await;
        }
    }

    fn forget(&self, jobs: &[Arc<Job>]) {
        jobs.iter().for_each(|job| self.running.remove(job));
    }

    fn fetch(&mut self, want: usize) -> Fetch {
        self.fetches += 1;
        Fetch {
            worker: self.options.name.clone(),
            lock_ms: self.options.lock_duration_ms,
            want,
            token: format!("{}:{}", self.token_base, self.fetches).into(),
            limiter: self.options.limiter,
            metrics_points: self.options.metrics_points,
            pin: self.member.slot().pin(),
        }
    }

    /// Waits for Redis, then starts the jobs that the lost call took, and takes locks again that ran out
    /// meanwhile. Returns the fetch for the next try.
    async fn recover_lost_call(
        &mut self,
        lost: Fetch,
        settlements: &[Settlement],
        pause: &mut Duration,
    ) -> Fetch {
        let jobs = loop {
            tokio::time::sleep(*pause + *pause * fastrand::u32(0..50) / 100).await;
            *pause = (*pause * 2).min(RETRY_MAX);
            match self.queue.reclaim(&lost).await {
                Ok(jobs) => break jobs,
                Err(_) if self.phase() == Phase::GiveBack => break Vec::new(),
                Err(error) => debug!(%error, "redis is still away"),
            }
        };
        let locks = settlements
            .iter()
            .map(|settlement| (&*settlement.job_id, &*settlement.token));
        if let Err(error) = self
            .queue
            .extend_locks(locks, self.options.lock_duration_ms)
            .await
        {
            debug!(%error, "locks could not be renewed");
        }
        let want = lost.want.saturating_sub(jobs.len());
        info!(
            queue = self.queue.keys().name(),
            jobs = jobs.len(),
            "redis is back"
        );
        self.start_all(jobs);
        self.fetch(want)
    }

    async fn settle_one_by_one(&mut self, call: Call) {
        for (job, settlement) in call.jobs.into_iter().zip(call.settlements) {
            match self.queue.settle_one(settlement.clone()).await {
                Err(error @ QueueError::Redis(_)) => {
                    error!(queue = self.queue.keys().name(), job_id = &*job.id, %error, "job could not be settled, it runs again when its lock has run out");
                    self.running.remove(&job);
                }
                // Most were settled by the call that was refused.
                result => self.note_settled(job, &settlement.kind, result, true),
            }
        }
    }

    /// Takes in what a call did. `uncertain`: an earlier try may have been carried out.
    fn apply(&mut self, call: Call, settled: Settled, uncertain: bool) {
        let settled_jobs = call.jobs.into_iter().zip(call.settlements);
        for ((job, settlement), result) in settled_jobs.zip(settled.results) {
            self.note_settled(job, &settlement.kind, result, uncertain);
        }
        let want = call.fetch.want;
        if want > 0 {
            self.idle = settled.jobs.len() < want && !std::mem::take(&mut self.news);
            self.tell_if_drained(settled.jobs.is_empty());
            self.next_delayed_ms = settled.next_delayed_ms;
            if settled.limited_ms > 0 {
                let wait = Duration::from_millis(settled.limited_ms).min(LIMITED_MAX);
                self.limited_until = Some(Instant::now() + wait);
            }
        }
        self.start_all(settled.jobs);
    }

    fn note_settled(
        &mut self,
        job: Arc<Job>,
        kind: &SettlementKind,
        result: Result<Moved, QueueError>,
        uncertain: bool,
    ) {
        let queue = self.queue.keys().name();
        let error = match result {
            Ok(_) => {
                self.running.remove(&job);
                return self.tell_settled(&job, kind);
            }
            Err(error) => error,
        };
        match &error {
            QueueError::Job {
                code: ErrorCode::JobPendingChildren,
                ..
            } => {
                self.push_outcome(job, Outcome::failed(error.to_string()));
            }
            QueueError::Job {
                code: ErrorCode::JobHasFailedChildren,
                ..
            } => {
                self.push_outcome(job, Outcome::unrecoverable(error.to_string()));
            }
            QueueError::Job { code, .. } if code.is_lost() && uncertain => {
                debug!(queue, job_id = &*job.id, %error, "job was settled by the call whose reply was lost");
                self.running.remove(&job);
            }
            _ => {
                warn!(queue, job_id = &*job.id, %error, "outcome was dropped: the job is not this worker's any more");
                self.running.remove(&job);
            }
        }
    }

    fn tell_settled(&self, job: &Job, kind: &SettlementKind) {
        let listeners = &self.observers.listeners;
        match kind {
            SettlementKind::Completed { value, .. } => listeners.completed(job, value),
            SettlementKind::Failed { attempt, .. }
            | SettlementKind::Retry { attempt, .. }
            | SettlementKind::Delayed {
                attempt: Some(attempt),
                ..
            } => listeners.failed(job, &attempt.reason, &attempt.stacktrace),
            _ => {}
        }
    }

    fn tell_if_drained(&mut self, nothing_found: bool) {
        if nothing_found && !self.drained {
            self.observers.listeners.drained();
        }
        self.drained = nothing_found;
    }

    fn start_all(&mut self, jobs: Vec<Job>) {
        self.observers.metrics.taken.inc_by(jobs.len() as u64);
        let mut runs: Vec<Run> = jobs
            .into_iter()
            .filter_map(|job| self.start(Arc::new(job)))
            .collect();
        self.executing += runs.len();
        let room = (OWN_WORK_US / self.cost_us) as usize;
        let own = room.saturating_sub(self.own.len()).min(runs.len());
        self.own.extend(runs.drain(..own));
        let threads = self.member.runtime().guest_threads();
        threads.start_all(runs.into_iter());
    }

    /// Holds a job. Returns what is to be run for it.
    fn start(&mut self, job: Arc<Job>) -> Option<Run> {
        let held = self.running.hold(Arc::clone(&job));
        if self.phase() == Phase::GiveBack {
            // The call that brings it was under way when the running ones were stopped.
            self.push_outcome(job, Outcome::Wait);
            return None;
        }
        self.observers.listeners.active(&job);
        let refusal = outcome::must_not_run(&job, &self.options);
        if let (Some(reason), None) = (&refusal, &job.scheduler) {
            self.push_outcome(job, Outcome::unrecoverable(reason));
            return None;
        }
        let attempt = Attempt {
            held,
            queue: self.queue.clone(),
            member: Arc::clone(&self.member),
            observers: Arc::clone(&self.observers),
        };
        Some(Box::pin(attempt.run(refusal, Arc::clone(&self.outbox))))
    }
}

/// The answer of whichever call is answered first; none where none is under way. Loses nothing when dropped.
async fn next_answer(calls: &mut Vec<CallFuture>) -> Option<(Call, Result<Settled, QueueError>)> {
    if calls.is_empty() {
        return None;
    }
    let (at, answered) = std::future::poll_fn(|context| {
        for (at, call) in calls.iter_mut().enumerate() {
            if let Poll::Ready(answered) = call.as_mut().poll(context) {
                return Poll::Ready((at, answered));
            }
        }
        Poll::Pending
    })
    .await;
    drop(calls.remove(at));
    Some(answered)
}

async fn poll_marker(
    future: &mut Option<MarkerFuture>,
) -> Option<(Box<MarkerWait>, Result<Option<Marker>, QueueError>)> {
    Some(future.as_mut()?.await)
}

/// Never ends where there is no time to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
