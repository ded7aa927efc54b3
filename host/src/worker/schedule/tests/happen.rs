//! What happens around the schedule, one event at a time.

use std::sync::Arc;
use std::time::Duration;

use toril_queue::{Marker, QueueError, Settled, Settlement};
use toril_sandbox::{MovedTo, Outcome, Stop};

use super::super::super::{Control, Stage};
use super::super::{AttemptEnd, Input};
use super::Event;
use super::model::{Model, OnItsWay};
use super::redis::{Start, start_of, token, unreachable_redis};

impl Model {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Produce { jobs, bytes } => {
                self.largest_job = self.largest_job.max(bytes);
                for _ in 0..jobs {
                    self.produced += 1;
                    self.redis.produce(self.produced, bytes);
                }
            }
            Event::CarryOut(which) => self.carry_out(which),
            Event::Answer(which) => self.answer(which),
            Event::LoseCall(which) => self.lose_call(which),
            Event::RefuseCall(which) => self.refuse_call(which),
            Event::RefuseFetch => self.redis.refuses_fetch = true,
            Event::Stage(stage) => self.ask(Control {
                stage: self.control.stage.max(stage),
                ..self.control
            }),
            Event::End(which, how) => self.end(which, how),
            Event::Marker(works) => self.marker(works),
            Event::MarkerTimeout if self.waits_for_marker => {
                self.waits_for_marker = false;
                self.step(Input::Marker(Ok(None)));
            }
            Event::MarkerTimeout => {}
            Event::MarkerBeforeAnswers => self.marker_before_answers(),
            Event::Recover(works) => self.recover(works),
            Event::BeginInline => {
                let begun = self.inline.len().min(8);
                self.running.extend(self.inline.drain(..begun));
                if begun > 0 {
                    self.step(Input::BegunInline(begun));
                }
            }
            Event::SendRenewal => self.send_renewal(),
            Event::AnswerRenewal(which) => self.answer_renewal(which),
            Event::LoseLock(which) => self.lose_lock(which),
            Event::Pause(paused) => self.ask(Control {
                paused,
                ..self.control
            }),
            Event::Ready(ready) => self.ask(Control {
                ready,
                ..self.control
            }),
            Event::Concurrency(concurrency) => self.ask(Control {
                concurrency,
                ..self.control
            }),
            Event::Pass(ms) => {
                self.now.instant += Duration::from_millis(ms);
                self.now.epoch_ms += ms;
                for id in std::mem::take(&mut self.redis.delayed) {
                    self.redis.wait.push_front(id);
                    self.redis.marker = true;
                }
                self.step(Input::Time);
            }
        }
    }

    pub(super) fn ask(&mut self, control: Control) {
        self.control = control;
        self.step(Input::Control(control));
    }

    pub(super) fn carry_out(&mut self, which: usize) {
        let Some(sent) = choose(&mut self.calls, which, |call| call.answer.is_none()) else {
            return;
        };
        let call = &sent.call;
        let poisoned = |settlement: &&Settlement| {
            self.redis.poisoned.map(|id| id.to_string()).as_deref() == Some(&*settlement.job_id)
        };
        if call
            .settlements
            .iter()
            .any(|settlement| poisoned(&settlement))
        {
            let others: Vec<_> = call.settlements.iter().filter(|s| !poisoned(s)).collect();
            for settlement in others {
                let _ = self.redis.settle(settlement);
            }
            sent.answer = Some(Err(QueueError::Reply("settle")));
            return;
        }
        let settle = |settlement| self.redis.settle(settlement);
        let results = call.settlements.iter().map(settle).collect();
        let (jobs, more) = self.redis.fetch(call);
        if call.held.is_empty() && std::mem::take(&mut self.redis.refuses_fetch) {
            sent.answer = Some(Err(QueueError::Reply("settle")));
            return;
        }
        sent.answer = Some(Ok(Settled {
            at_ms: self.now.epoch_ms,
            results,
            jobs,
            more,
            limited_ms: 0,
            next_delayed_ms: None,
            jobless: 0,
            jobless_ids: Vec::new(),
        }));
    }

    pub(super) fn answer(&mut self, which: usize) {
        let carried = |call: &OnItsWay| call.answer.is_some();
        let Some(OnItsWay {
            call,
            answer: Some(answer),
        }) = take(&mut self.calls, which, carried)
        else {
            return;
        };
        if answer.is_err() && call.want > 0 {
            // Redis may have refused it after it took jobs: it is looked into.
            self.lost += 1;
        }
        self.step(Input::Answered(call, answer));
    }

    pub(super) fn lose_call(&mut self, which: usize) {
        if let Some(OnItsWay { call, .. }) = take(&mut self.calls, which, |_| true) {
            self.lost += 1;
            self.step(Input::Answered(call, Err(unreachable_redis())));
        }
    }

    /// From now on Redis refuses one of the jobs that this call settles.
    fn refuse_call(&mut self, which: usize) {
        if self.redis.poisoned.is_none()
            && let Some(sent) = choose(&mut self.calls, which, |call| call.answer.is_none())
            && let Some(settlement) = sent.call.settlements.first()
        {
            self.redis.poisoned = settlement.job_id.parse().ok();
        }
    }

    pub(super) fn end(&mut self, which: usize, how: usize) {
        let Some(held) = take(&mut self.running, which, |_| true) else {
            return;
        };
        let start = start_of(&held);
        let outcome = match how % 6 {
            // Its guest was stopped.
            0..5 if held.cancel.reason() == Some(&Stop::Shutdown) => Outcome::GivenBack,
            // Some are so large that few fit into one call.
            0 | 1 => Outcome::Completed("1".repeat(how % 7 * 100_000)),
            2 => Outcome::failed("no"),
            3 => Outcome::Wait,
            4 => Outcome::HostFailed("no room".into()),
            // The guest moved it: nothing is left to write.
            _ => {
                if self.redis.active.get(&start.0) == Some(&start.1) {
                    self.redis.active.remove(&start.0);
                    *self.redis.settled.entry(start.clone()).or_default() += 1;
                    self.redis.delayed.push(start.0);
                }
                if !self.known_lost.contains(&start) {
                    self.done.push(start.clone());
                }
                Outcome::Moved(MovedTo::Delayed)
            }
        };
        if self.known_lost.contains(&start) {
            self.done.push(start);
        }
        let cpu = Duration::from_micros(how as u64 % 40);
        self.outbox.push(AttemptEnd { held, outcome, cpu });
        // The loop is woken once there are enough of them, or by anything else.
        if self.outbox.len() >= self.schedule.wake_threshold() || how.is_multiple_of(3) {
            self.step(Input::Time);
        }
    }

    pub(super) fn marker(&mut self, works: bool) {
        if !self.waits_for_marker {
            return;
        }
        if !works {
            // It may have been taken and lost with the connection.
            self.redis.marker = false;
            self.waits_for_marker = false;
            self.step(Input::Marker(Err(unreachable_redis())));
        } else if std::mem::take(&mut self.redis.marker) {
            self.waits_for_marker = false;
            self.step(Input::Marker(Ok(Some(Marker::Work))));
            let Control {
                stage,
                paused,
                ready,
                ..
            } = self.control;
            let works = stage == Stage::Work && !paused && ready;
            assert!(works || self.redis.marker, "kept from other workers");
        }
    }

    fn marker_before_answers(&mut self) {
        let under_way = self.calls.len();
        (0..under_way).for_each(|_| self.carry_out(0));
        self.happen(Event::Produce { jobs: 1, bytes: 0 });
        self.marker(true);
        (0..under_way).for_each(|_| self.answer(0));
    }

    pub(super) fn recover(&mut self, works: bool) {
        let Some(number) = self.recovering.take() else {
            return;
        };
        if !works {
            if self.control.stage == Stage::GiveBack {
                (self.lost, self.gave_up) = (0, true);
            }
            return self.step(Input::Recovered(Err(unreachable_redis())));
        }
        self.lost -= 1;
        let token = token(number);
        let active = self.redis.active.iter();
        let ids = active.filter(|(_, holder)| **holder == token);
        let jobs = ids.map(|(id, _)| self.redis.job(*id, &token)).collect();
        self.step(Input::Recovered(Ok(jobs)));
    }

    fn send_renewal(&mut self) {
        let named: Vec<Start> = self
            .schedule
            .jobs()
            .to_renew()
            .map(|held| start_of(held))
            .collect();
        for OnItsWay { call, .. } in &self.calls {
            for held in &call.held {
                assert!(!named.contains(&start_of(held)), "renewed while settling");
            }
        }
        self.renewals.push(named);
    }

    /// Redis answers as things are when it carries the call out: any time after it was sent.
    fn answer_renewal(&mut self, which: usize) {
        let Some(named) = take(&mut self.renewals, which, |_| true) else {
            return;
        };
        for start in named {
            if self.redis.active.get(&start.0) == Some(&start.1) {
                continue;
            }
            if let Some(held) = self.schedule.lock_lost(&start.0.to_string(), &start.1) {
                assert_eq!(start_of(&held), start, "another start was stopped");
                let ended = self.outbox.iter().map(|ended| &ended.held);
                let runs = self.running.iter().chain(&self.inline).chain(ended);
                assert!(runs.into_iter().any(|running| Arc::ptr_eq(running, &held)));
                assert!(!self.known_lost.contains(&start), "lost twice");
                let ended = self
                    .outbox
                    .iter()
                    .any(|ended| Arc::ptr_eq(&ended.held, &held));
                if ended && !self.done.contains(&start) {
                    self.done.push(start.clone());
                }
                self.known_lost.push(start);
            }
        }
    }

    /// The lock ran out, and another worker has the job.
    fn lose_lock(&mut self, which: usize) {
        let ids: Vec<u32> = self.redis.active.keys().copied().collect();
        if !ids.is_empty() {
            let id = ids[which % ids.len()];
            self.redis.active.remove(&id);
            self.redis.elsewhere.push(id);
        }
    }
}

fn choose<T>(from: &mut [T], which: usize, fits: impl Fn(&T) -> bool) -> Option<&mut T> {
    let fitting = from.iter().filter(|one| fits(one)).count();
    let at = which.checked_rem(fitting)?;
    from.iter_mut().filter(|one| fits(one)).nth(at)
}

fn take<T>(from: &mut Vec<T>, which: usize, fits: impl Fn(&T) -> bool) -> Option<T> {
    let fitting: Vec<usize> = (0..from.len()).filter(|at| fits(&from[*at])).collect();
    let at = *fitting.get(which.checked_rem(fitting.len())?)?;
    Some(from.remove(at))
}
