//! Takes in what happened: ends of attempts, answers, markers, outages, what the worker was asked to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use toril_queue::{ErrorCode, Job, Marker, Moved, QueueError, Settled, Settlement};

use super::super::jobs::{Held, Phase};
use super::super::{Control, Stage, settlement};
use super::{
    Actions, Call, Flight, MarkerWait, Notice, Now, Outage, REFUSED_PAUSE, RETRY_MIN, Schedule,
    Start,
};
use toril_sandbox::Outcome;

/// An attempt that ended.
pub(in super::super) struct AttemptEnd {
    pub(in super::super) held: Arc<Held>,
    pub(in super::super) outcome: Outcome,
    /// The processor time that it took.
    pub(in super::super) cpu: Duration,
}

/// Something that happened.
pub(in super::super) enum Input {
    /// Some of the jobs for the worker's own thread were begun.
    BegunInline(usize),
    /// A call was answered, or was lost.
    Answered(Call, Result<Settled, QueueError>),
    /// The first of the lost calls was looked into: the jobs that it took, or Redis is still unreachable.
    Recovered(Result<Vec<Job>, QueueError>),
    /// The wait for a marker is over.
    Marker(Result<Option<Marker>, QueueError>),
    /// The worker is asked for something else.
    Control(Control),
    /// Time passed.
    Time,
}

impl Schedule {
    pub(super) fn absorb(&mut self, input: Input, now: Now, actions: &mut Actions) {
        self.absorb_time(now);
        match input {
            Input::BegunInline(count) => self.inline.begun(count),
            Input::Answered(call, answer) => self.answered(call, answer, now, actions),
            Input::Recovered(found) => self.recovered(found, now, actions),
            Input::Marker(marker) => self.marker(marker, now, actions),
            Input::Control(control) => self.control(control, actions),
            Input::Time => {}
        }
    }

    /// Another worker has a job. Returns the start that must stop: this one, and only while it runs here.
    pub(in super::super) fn lock_lost(&mut self, id: &str, token: &str) -> Option<Arc<Held>> {
        self.jobs.lose(id, token)
    }

    fn absorb_time(&mut self, now: Now) {
        for until in [&mut self.limited_until, &mut self.refused_until] {
            if until.is_some_and(|until| now.instant >= until) {
                *until = None;
                self.work_may_wait = true;
            }
        }
        if let MarkerWait::FailedUntil(until) = self.marker
            && now.instant >= until
        {
            self.marker = MarkerWait::AtRest;
            self.work_may_wait = true;
        }
    }

    fn control(&mut self, control: Control, actions: &mut Actions) {
        self.control = control;
        self.work_may_wait = true;
        let executing = self.jobs.executing().cloned();
        match control.stage {
            Stage::Work => {}
            Stage::Drain => actions.give_back_at_step.extend(executing),
            Stage::GiveBack => actions.give_back.extend(executing),
        }
    }

    pub(super) fn end(&mut self, ended: AttemptEnd, now: Now, actions: &mut Actions) {
        let AttemptEnd { held, outcome, cpu } = ended;
        self.inline.note(cpu);
        if self.jobs.is_lost(&held) {
            return self.drop_lost(held, &outcome, actions);
        }
        if let Outcome::RateLimited(duration_ms) = outcome {
            actions.limit_ms = actions.limit_ms.max(Some(duration_ms));
            self.limited_until = Some(now.instant + self.limited(duration_ms));
        }
        self.decide(held, outcome);
    }

    /// Drops what an attempt came to after its lock was lost. A guest that moved its job has settled it before.
    fn drop_lost(&mut self, held: Arc<Held>, outcome: &Outcome, actions: &mut Actions) {
        self.jobs.remove(&held);
        // A producer that removes a job sets no marker. If the queue limits its active jobs, another job may start now.
        self.work_may_wait = true;
        if !matches!(outcome, Outcome::Moved(_)) {
            let error = QueueError::lock_lost(&held.job.id);
            actions.notices.push(Notice::Dropped {
                held,
                error,
                expected: false,
            });
        }
    }

    /// Turns an outcome into a settlement for the next call.
    fn decide(&mut self, held: Arc<Held>, outcome: Outcome) {
        match settlement::of(&held.job, outcome, &self.options) {
            Some(kind) => {
                self.jobs.advance(&held, Phase::Ended);
                let settlement = Settlement::new(&held.job, kind);
                self.ended_bytes += settlement.bytes();
                self.ended.push_back((held, settlement));
            }
            None => self.jobs.remove(&held),
        }
    }

    fn answered(
        &mut self,
        call: Call,
        answer: Result<Settled, QueueError>,
        now: Now,
        actions: &mut Actions,
    ) {
        let landed = self.flights.iter().position(|at| at.number == call.number);
        let flight = landed.map(|at| self.flights.remove(at));
        match (answer, flight) {
            (Ok(settled), Some(flight)) => self.settled(call, settled, &flight, now, actions),
            (Err(error), Some(_)) if error.is_transient() => self.lost(call, now),
            (Err(_), Some(_)) => self.refused(call, now, actions),
            // No call is answered twice.
            (_, None) => {}
        }
    }

    fn settled(
        &mut self,
        call: Call,
        settled: Settled,
        flight: &Flight,
        now: Now,
        actions: &mut Actions,
    ) {
        if self.outage_pause > RETRY_MIN {
            self.outage_pause = RETRY_MIN;
            actions.notices.push(Notice::Recovered);
        }
        let starts = call.held.into_iter().zip(call.settlements);
        for ((held, settlement), result) in starts.zip(settled.results) {
            self.note_result((held, settlement), result, settled.at_ms, actions);
        }
        if settled.jobless > 0 {
            actions.notices.push(Notice::Jobless {
                count: settled.jobless,
                ids: settled.jobless_ids,
            });
        }
        if flight.want > 0 {
            let is_newer = flight.number > self.sent_before_marker;
            if settled.more || settled.jobs.len() >= flight.want {
                self.work_may_wait = true;
            } else if is_newer {
                self.work_may_wait = false;
            }
            self.next_delayed_ms = match (settled.next_delayed_ms, self.next_delayed_ms) {
                // The marker that came meanwhile tells of an earlier one.
                (Some(found), Some(known)) if !is_newer => Some(found.min(known)),
                (None, known) if !is_newer => known,
                (found, _) => found,
            };
            if settled.limited_ms > 0 {
                self.limited_until = Some(now.instant + self.limited(settled.limited_ms));
            }
            let drained = settled.jobs.is_empty() && !settled.more;
            if drained && !self.drained {
                actions.notices.push(Notice::Drained);
            }
            self.drained = drained;
        }
        self.start(settled.jobs, actions);
    }

    fn note_result(
        &mut self,
        (held, settlement): (Arc<Held>, Settlement),
        result: Result<Moved, QueueError>,
        at_ms: u64,
        actions: &mut Actions,
    ) {
        let error = match result {
            Ok(_) => {
                self.jobs.remove(&held);
                let kind = settlement.kind;
                let notice = Notice::Settled { held, kind, at_ms };
                return actions.notices.push(notice);
            }
            Err(error) => error,
        };
        match code_of(&error) {
            Some(ErrorCode::JobPendingChildren) => {
                self.decide(held, Outcome::failed(error.to_string()));
            }
            Some(ErrorCode::JobHasFailedChildren) => {
                self.decide(held, Outcome::unrecoverable(error.to_string()));
            }
            code => {
                let expected =
                    code.is_some_and(ErrorCode::is_lost) && self.jobs.is_uncertain(&held);
                self.jobs.remove(&held);
                let dropped = Notice::Dropped {
                    held,
                    error,
                    expected,
                };
                actions.notices.push(dropped);
            }
        }
    }

    /// Redis refused a call for good. Its outcomes are settled one by one, since most of them are not the reason;
    /// one that is refused alone runs again when its lock has run out.
    fn refused(&mut self, call: Call, now: Now, actions: &mut Actions) {
        if call.held.is_empty() {
            // Such as a key of the wrong type, which needs a person.
            self.refused_until = Some(now.instant + REFUSED_PAUSE);
        }
        let was_alone = call.held.len() == 1 && call.want == 0;
        for (held, settlement) in call.held.into_iter().zip(call.settlements) {
            if was_alone {
                self.jobs.remove(&held);
                actions.notices.push(Notice::Unsettled(held));
            } else {
                // It may have been settled before the one that was refused.
                self.jobs.set_uncertain(&held);
                self.jobs.advance(&held, Phase::Ended);
                self.alone.push_back((held, settlement));
            }
        }
        if call.want > 0 {
            // It may have taken jobs before it was refused.
            self.lost(
                Call {
                    held: Vec::new(),
                    settlements: Vec::new(),
                    ..call
                },
                now,
            );
        }
    }

    fn lost(&mut self, call: Call, now: Now) {
        if self.outage.is_none() {
            self.outage = Some(Outage {
                lost: VecDeque::new(),
                recovering: false,
                retry_at: now.instant + self.next_pause(),
            });
        }
        if let Some(outage) = &mut self.outage {
            outage.lost.push_back(call);
        }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.outage_pause;
        self.outage_pause = (pause * 2).min(self.retry_max());
        pause
    }

    /// The longest pause between two tries.
    fn retry_max(&self) -> Duration {
        Duration::from_millis(self.options.run_retry_delay_ms).max(RETRY_MIN)
    }

    /// How long to rest while the queue is limited for so long: delayed jobs are promoted meanwhile, and a limit that
    /// was lifted is noticed.
    fn limited(&self, duration_ms: u64) -> Duration {
        Duration::from_millis(duration_ms.min(self.options.maximum_rate_limit_delay_ms))
    }

    fn recovered(&mut self, found: Result<Vec<Job>, QueueError>, now: Now, actions: &mut Actions) {
        let retry_at = match &found {
            Ok(_) => now.instant,
            Err(_) => now.instant + self.next_pause(),
        };
        let Some(outage) = &mut self.outage else {
            return;
        };
        (outage.recovering, outage.retry_at) = (false, retry_at);
        let Ok(jobs) = found else {
            if self.control.stage == Stage::GiveBack {
                self.abandon(actions);
            }
            return;
        };
        let call = outage.lost.pop_front();
        if outage.lost.is_empty() {
            self.outage = None;
            self.work_may_wait = true;
        }
        let Some(call) = call else { return };
        // In front, so that outcomes keep their order.
        for (held, settlement) in call.held.into_iter().zip(call.settlements).rev() {
            self.jobs.set_uncertain(&held);
            self.jobs.advance(&held, Phase::Ended);
            self.ended_bytes += settlement.bytes();
            self.ended.push_front((held, settlement));
        }
        self.start(jobs, actions);
    }

    /// Gives up what waits for a Redis that is unreachable.
    fn abandon(&mut self, actions: &mut Actions) {
        let lost = self
            .outage
            .take()
            .into_iter()
            .flat_map(|outage| outage.lost);
        let lost = lost.flat_map(|call| call.held);
        let ended = self.ended.drain(..).chain(self.alone.drain(..));
        let given_up: Vec<Arc<Held>> = lost.chain(ended.map(|(held, _)| held)).collect();
        self.ended_bytes = 0;
        given_up.iter().for_each(|held| self.jobs.remove(held));
        if !given_up.is_empty() {
            actions.notices.push(Notice::Abandoned(given_up.len()));
        }
    }

    fn marker(
        &mut self,
        marker: Result<Option<Marker>, QueueError>,
        now: Now,
        actions: &mut Actions,
    ) {
        self.marker = MarkerWait::AtRest;
        // Also where the wait failed: a marker may have been lost with the connection.
        self.sent_before_marker = self.sent;
        if marker.is_ok() {
            self.marker_pause = RETRY_MIN;
        }
        match marker {
            Ok(Some(marker @ Marker::Delayed(due))) if due > now.epoch_ms => {
                self.next_delayed_ms = Some(due);
                if self.want() == 0 {
                    actions.return_marker = Some(marker);
                }
            }
            Ok(marker) => {
                self.next_delayed_ms = None;
                self.work_may_wait = true;
                if self.want() == 0 {
                    // Other workers may have room for what it announces.
                    actions.return_marker = marker;
                }
            }
            Err(_) => {
                self.marker = MarkerWait::FailedUntil(now.instant + self.marker_pause);
                self.marker_pause = (self.marker_pause * 2).min(self.retry_max());
            }
        }
    }

    /// Enters jobs that a call brought, and says where they begin.
    fn start(&mut self, jobs: Vec<Job>, actions: &mut Actions) {
        actions.taken += jobs.len();
        let mut starts = Vec::with_capacity(jobs.len());
        for job in jobs {
            let held = self.jobs.take(Arc::new(job));
            if self.control.stage == Stage::GiveBack {
                // The call that brought it was under way when the others were stopped.
                self.decide(held, Outcome::GivenBack);
                continue;
            }
            let refusal = settlement::must_not_run(&held.job, &self.options);
            match refusal {
                // The attempt lets a scheduler go on before it ends.
                Some(reason) if held.job.scheduler.is_none() => {
                    actions.notices.push(Notice::Refused(Arc::clone(&held)));
                    self.decide(held, Outcome::unrecoverable(reason));
                }
                refusal => {
                    self.jobs.advance(&held, Phase::Running);
                    if self.control.stage == Stage::Drain {
                        actions.give_back_at_step.push(Arc::clone(&held));
                    }
                    starts.push(Start { held, refusal });
                }
            }
        }
        let inline = self.inline.admit(starts.len());
        actions.start_inline.extend(starts.drain(..inline));
        actions.start.append(&mut starts);
    }
}

fn code_of(error: &QueueError) -> Option<ErrorCode> {
    match error {
        QueueError::Job { code, .. } => Some(*code),
        _ => None,
    }
}
