//! Decides what a worker does next. Pure: no tokio, no Redis, no clock. [`io`](super::io) tells it what happened
//! and carries out what it says.
//!
//! Under load calls fill by themselves: each carries the outcomes that came since the last one and asks for as many
//! jobs as there are free slots. A second call goes out while Redis works on the first. On an idle queue a call
//! carries one job. An outage is a state ([`Outage`]): calls whose answer was lost are recovered one by one, and
//! everything else goes on.
//!
//! What must hold, whatever happens in whichever order (`schedule/tests.rs` has the model that says so):
//! every job taken is settled, given back or lost exactly once; what is decided of a start is never decided again;
//! slots and bytes are never exceeded and never leak; the worker never rests while there may be work.

mod absorb;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use toril_queue::{Marker, QueueError, Settlement, SettlementKind};

use super::inline::Inline;
use super::jobs::{Held, Jobs, Phase};
use super::{Control, Stage, WorkerOptions};
pub(super) use absorb::{AttemptEnd, Input};

/// The most outcomes, and the most jobs, that one call carries. Keeps Redis responsive: at about 30 µs
/// per job a call holds it for some 2 ms. Fewer where fewer run at once, so that no call carries them all:
/// guests work on one half while Redis works on the other.
const BATCH_MAX: usize = 64;
/// The most bytes of outcomes, and of jobs, that one call carries. Redis reads and packs about 300 MB/s, so that a
/// call holds it for less than 10 ms. One job may be larger, and then has a call of its own.
const CALL_BYTES_MAX: usize = 1 << 20;
/// Calls under way at once. Two keep Redis busy; more would only make the batches smaller.
const CALLS_MAX: usize = 2;
/// A second call must be worth its round: this many outcomes, or half as many as the first one carries.
const SECOND_CALL_MIN: usize = 4;
/// The longest that one wait for a marker lasts, as in BullMQ: a connection that died silently is noticed.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How soon a lost call is recovered. The pause between two tries grows up to `run_retry_delay_ms`.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// How long nothing is taken after Redis refused a call for good.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// When something is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    /// Milliseconds since the epoch.
    pub(super) epoch_ms: u64,
}

/// A call: what it settles, and how many jobs it takes.
pub(super) struct Call {
    /// Counts the calls of a worker from 1. The lock token of the jobs that it takes is made of it.
    pub(super) number: u64,
    /// The starts that it settles.
    pub(super) held: Vec<Arc<Held>>,
    /// What becomes of them, in the same order.
    pub(super) settlements: Vec<Settlement>,
    /// How many jobs it takes at most.
    pub(super) want: usize,
    /// How many bytes of jobs it takes at most, the first job aside.
    pub(super) bytes_max: usize,
}

/// A start that begins now. `refusal` ends it before its processor runs.
pub(super) struct Start {
    pub(super) held: Arc<Held>,
    pub(super) refusal: Option<String>,
}

/// Something that others may want to hear of.
pub(super) enum Notice {
    /// A start that must not run ends at once.
    Refused(Arc<Held>),
    /// A start was settled, at `at_ms` since the epoch.
    Settled {
        held: Arc<Held>,
        kind: SettlementKind,
        at_ms: u64,
    },
    /// An outcome is dropped: the job is not this worker's any more. `expected` where an earlier call, whose
    /// answer was lost, may have settled it.
    Dropped {
        held: Arc<Held>,
        error: QueueError,
        expected: bool,
    },
    /// Redis refused to settle a start, for good. The job runs again when its lock has run out.
    Unsettled(Arc<Held>),
    /// So many ids that waited have no job, and are dropped; the first of them.
    Jobless { count: u64, ids: Vec<String> },
    /// The queue became empty.
    Drained,
    /// Redis is unreachable, and the host stops: the outcomes of so many jobs are given up. They run again.
    Abandoned(usize),
    /// The calls that were lost are recovered.
    Recovered,
}

/// What is to be done now.
#[derive(Default)]
pub(super) struct Actions {
    /// So many jobs were taken.
    pub(super) taken: usize,
    /// Begin on the worker's own thread.
    pub(super) start_inline: Vec<Start>,
    /// Begin on the guests' threads.
    pub(super) start: Vec<Start>,
    /// Limit the rate of the queue for so many ms; before the calls below are sent.
    pub(super) limit_ms: Option<u64>,
    /// Send these calls.
    pub(super) calls: Vec<Call>,
    /// Recover a lost call: find the jobs that it took.
    pub(super) recover: Option<LostCall>,
    /// Wait for a marker, for so long.
    pub(super) wait_for_marker: Option<Duration>,
    /// Put back a marker that this worker took and has no room to follow.
    pub(super) return_marker: Option<Marker>,
    /// Stop the attempts of these starts, which the host gives back.
    pub(super) give_back: Vec<Arc<Held>>,
    /// Give these back where they reach a boundary between two steps.
    pub(super) give_back_at_step: Vec<Arc<Held>>,
    /// Tell others.
    pub(super) notices: Vec<Notice>,
    /// Nothing is left to do, now and later.
    pub(super) finished: bool,
}

/// A call whose answer did not come, as far as recovering it needs to know it.
pub(super) struct LostCall {
    pub(super) number: u64,
    pub(super) want: usize,
    pub(super) bytes_max: usize,
}

/// A call under way.
struct Flight {
    number: u64,
    want: usize,
    bytes_max: usize,
    /// How many outcomes it carries, and how large they are.
    outcomes: usize,
    outcome_bytes: usize,
}

/// Redis did not answer some calls. Each may have been carried out.
struct Outage {
    lost: VecDeque<Call>,
    /// The first one is being recovered now.
    recovering: bool,
    retry_at: Instant,
}

/// The wait for a marker. There is at most one, and it is never given up: it may have taken a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkerWait {
    AtRest,
    UnderWay,
    /// It failed: it is tried again then.
    FailedUntil(Instant),
}

/// Everything that a worker knows.
pub(super) struct Schedule {
    options: WorkerOptions,
    control: Control,
    jobs: Jobs,
    /// Outcomes that wait for a call.
    ended: VecDeque<(Arc<Held>, Settlement)>,
    ended_bytes: usize,
    /// Outcomes that Redis refused together with others: each has a call of its own.
    alone: VecDeque<(Arc<Held>, Settlement)>,
    flights: Vec<Flight>,
    /// The number of the last call that was sent.
    sent: u64,
    outage: Option<Outage>,
    /// The pause before the next try to recover a call. It grows until a call is answered.
    outage_pause: Duration,
    /// There may be jobs that no call has looked for.
    work_may_wait: bool,
    /// The last call that was sent before the last marker came. What it and those before it did not find may have
    /// come after them.
    sent_before_marker: u64,
    marker: MarkerWait,
    /// The pause after the next wait that fails.
    marker_pause: Duration,
    next_delayed_ms: Option<u64>,
    limited_until: Option<Instant>,
    /// Redis refused a call that takes jobs: nothing is taken before.
    refused_until: Option<Instant>,
    /// The last call found nothing, and nobody was told of jobs since.
    drained: bool,
    inline: Inline,
}

impl Schedule {
    pub(super) fn new(options: WorkerOptions, control: Control) -> Self {
        Schedule {
            options,
            control,
            jobs: Jobs::default(),
            ended: VecDeque::new(),
            ended_bytes: 0,
            alone: VecDeque::new(),
            flights: Vec::new(),
            sent: 0,
            outage: None,
            outage_pause: RETRY_MIN,
            work_may_wait: true,
            sent_before_marker: 0,
            marker: MarkerWait::AtRest,
            marker_pause: RETRY_MIN,
            next_delayed_ms: None,
            limited_until: None,
            refused_until: None,
            drained: true,
            inline: Inline::default(),
        }
    }

    /// Takes in what happened, first the attempts that ended meanwhile, and adds what is to be done to `actions`.
    pub(super) fn step(
        &mut self,
        ended: Vec<AttemptEnd>,
        input: Input,
        now: Now,
        actions: &mut Actions,
    ) {
        for ended in ended {
            self.end(ended, now, actions);
        }
        self.absorb(input, now, actions);
        self.plan(now, actions);
    }

    /// What is held.
    pub(super) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// How many further outcomes would make a difference now.
    pub(super) fn wake_threshold(&self) -> usize {
        self.call_threshold()
            .saturating_sub(self.ended.len())
            .max(1)
    }

    /// When time alone makes a difference, if it does.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let failed = match self.marker {
            MarkerWait::FailedUntil(until) => Some(until),
            MarkerWait::AtRest | MarkerWait::UnderWay => None,
        };
        let retry = self.outage.as_ref().filter(|outage| !outage.recovering);
        let retry = retry.map(|outage| outage.retry_at);
        let times = [self.limited_until, self.refused_until, failed, retry];
        times.into_iter().flatten().min()
    }

    fn plan(&mut self, now: Now, actions: &mut Actions) {
        self.plan_recovery(now, actions);
        while let Some(call) = self.next_call() {
            actions.calls.push(call);
        }
        self.plan_wait(now, actions);
        actions.finished = self.control.stage != Stage::Work
            && self.jobs.len() == 0
            && self.flights.is_empty()
            && self.outage.is_none();
    }

    /// Recovers lost calls one after the other. A host that stops does not wait for a Redis that is unreachable:
    /// the locks run out, and other workers take over.
    fn plan_recovery(&mut self, now: Now, actions: &mut Actions) {
        if let Some(outage) = &mut self.outage
            && !outage.recovering
            && now.instant >= outage.retry_at
        {
            outage.recovering = true;
            actions.recover = outage.lost.front().map(|call| LostCall {
                number: call.number,
                want: call.want,
                bytes_max: call.bytes_max,
            });
        }
    }

    /// The next call that is worth sending, if one is.
    fn next_call(&mut self) -> Option<Call> {
        if self.outage.is_some() || self.flights.len() == CALLS_MAX {
            return None;
        }
        if let Some((held, settlement)) = self.alone.pop_front() {
            return Some(self.send(vec![held], vec![settlement], 0));
        }
        let want = self.want();
        let fetches = want > 0 && self.work_may_wait && self.flights.is_empty();
        let settles =
            self.ended.len() >= self.call_threshold() || self.ended_bytes >= CALL_BYTES_MAX;
        if !(settles || fetches && self.inline.is_empty()) {
            return None;
        }
        let (held, settlements) = self.next_batch();
        Some(self.send(held, settlements, want))
    }

    fn send(&mut self, held: Vec<Arc<Held>>, settlements: Vec<Settlement>, want: usize) -> Call {
        for held in &held {
            self.jobs.advance(held, Phase::Settling);
        }
        self.sent += 1;
        let bytes_max = if want > 0 { self.fetch_bytes() } else { 0 };
        self.flights.push(Flight {
            number: self.sent,
            want,
            bytes_max,
            outcomes: held.len(),
            outcome_bytes: settlements.iter().map(Settlement::bytes).sum(),
        });
        Call {
            number: self.sent,
            held,
            settlements,
            want,
            bytes_max,
        }
    }

    /// The outcomes for one call: so many, and so many bytes, but one at least.
    fn next_batch(&mut self) -> (Vec<Arc<Held>>, Vec<Settlement>) {
        let mut room = CALL_BYTES_MAX;
        let mut count = 0;
        for (_, settlement) in self.ended.iter().take(self.batch_max()) {
            let size = settlement.bytes();
            if size > room && count > 0 {
                break;
            }
            room = room.saturating_sub(size);
            self.ended_bytes -= size;
            count += 1;
        }
        self.ended.drain(..count).unzip()
    }

    fn batch_max(&self) -> usize {
        let share = self.control.concurrency.div_ceil(CALLS_MAX);
        share.clamp(SECOND_CALL_MIN, BATCH_MAX)
    }

    /// How many outcomes are worth a call now.
    fn call_threshold(&self) -> usize {
        match (&self.flights[..], self.inline.is_empty()) {
            ([], true) => 1,
            // Redis has nothing to do, but this thread has.
            ([], false) => self.batch_max() / 2 + 1,
            ([first], true) => SECOND_CALL_MIN.max(first.outcomes / 2),
            ([_], false) => self.batch_max(),
            // `CALLS_MAX` are under way.
            _ => usize::MAX,
        }
    }

    /// What calls may still bring: jobs and bytes. Those that were lost may have taken jobs, too.
    fn reserved(&self) -> (usize, usize) {
        let flights = self.flights.iter().map(|call| (call.want, call.bytes_max));
        let lost = self.outage.iter().flat_map(|outage| &outage.lost);
        let lost = lost.map(|call| (call.want, call.bytes_max));
        flights
            .chain(lost)
            .fold((0, 0), |sum, call| (sum.0 + call.0, sum.1 + call.1))
    }

    /// The bytes of outcomes that were decided and are not settled.
    fn outcome_bytes(&self) -> usize {
        let flights = self.flights.iter().map(|call| call.outcome_bytes);
        self.ended_bytes + flights.sum::<usize>()
    }

    /// How many jobs to take with the next call. Outcomes that are too large for one call keep their slots, so that
    /// they cannot pile up; small ones leave as fast as jobs come.
    fn want(&self) -> usize {
        let Control {
            stage,
            paused,
            ready,
            concurrency,
        } = self.control;
        let waits = self.limited_until.is_some() || self.refused_until.is_some();
        if stage != Stage::Work || paused || !ready || waits {
            return 0;
        }
        let (jobs, bytes) = self.reserved();
        let bytes = self.jobs.bytes() + bytes + self.outcome_bytes();
        if self.jobs.len() > 0 && bytes >= self.options.held_bytes_max {
            return 0;
        }
        let large = self.ended_bytes > CALL_BYTES_MAX;
        let backlog = self.alone.len() + if large { self.ended.len() } else { 0 };
        concurrency
            .saturating_sub(self.jobs.slots() + jobs + backlog)
            .min(self.batch_max())
    }

    /// How many bytes the next call may bring.
    fn fetch_bytes(&self) -> usize {
        let held = self.jobs.bytes() + self.reserved().1 + self.outcome_bytes();
        let room = self.options.held_bytes_max.saturating_sub(held);
        room.clamp(1, CALL_BYTES_MAX)
    }

    /// Waits for a marker where no call would find a job.
    fn plan_wait(&mut self, now: Now, actions: &mut Actions) {
        let looks = !self.flights.is_empty() || self.outage.is_some() || self.work_may_wait;
        if looks || self.marker != MarkerWait::AtRest || self.want() == 0 {
            return;
        }
        let timeout = match self.next_delayed_ms {
            Some(due) => Duration::from_millis(due.saturating_sub(now.epoch_ms)).min(WAIT_MAX),
            None => Duration::from_millis(self.options.drain_delay_ms),
        };
        // A zero timeout would wait for ever.
        actions.wait_for_marker = Some(timeout.max(Duration::from_millis(1)));
        self.marker = MarkerWait::UnderWay;
    }
}
