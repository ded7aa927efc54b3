//! The schedule, what is around it, and what must hold after each step and at the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use toril_queue::{QueueError, Settled};
use toril_sandbox::Stop;

use super::super::super::jobs::Held;
use super::super::super::{Control, Stage, WorkerOptions};
use super::super::{Actions, AttemptEnd, Call, Input, Notice, Now, Schedule};
use super::redis::{Redis, Start, start_of};
use super::{CONCURRENCY_MAX, Event, HELD_BYTES_MAX};

/// A call on its way: not carried out yet, or carried out and not answered yet.
pub(super) struct OnItsWay {
    pub(super) call: Call,
    pub(super) answer: Option<Result<Settled, QueueError>>,
}

pub(super) struct Model {
    pub(super) schedule: Schedule,
    pub(super) control: Control,
    pub(super) now: Now,
    pub(super) redis: Redis,
    pub(super) produced: u32,
    pub(super) calls: Vec<OnItsWay>,
    /// How many lost calls are not recovered.
    pub(super) lost: usize,
    /// The number of the call that is being recovered.
    pub(super) recovering: Option<u64>,
    /// Redis was unreachable while the host stopped.
    pub(super) gave_up: bool,
    pub(super) finished: bool,
    pub(super) waits_for_marker: bool,
    pub(super) inline: VecDeque<Arc<Held>>,
    pub(super) running: Vec<Arc<Held>>,
    /// Attempts that ended, and that the schedule was not told of.
    pub(super) outbox: Vec<AttemptEnd>,
    pub(super) renewals: Vec<Vec<Start>>,
    /// What was decided of each start.
    pub(super) decided: BTreeMap<Start, String>,
    /// Starts whose lock was lost, as far as the worker knows.
    pub(super) known_lost: Vec<Start>,
    /// Starts that the worker was told of, and those that it is done with.
    pub(super) told: Vec<Start>,
    pub(super) done: Vec<Start>,
    pub(super) largest_job: usize,
}

impl Model {
    pub(super) fn new(concurrency: usize) -> Self {
        let control = Control {
            stage: Stage::Work,
            paused: false,
            ready: true,
            concurrency,
        };
        let options = WorkerOptions {
            held_bytes_max: HELD_BYTES_MAX,
            ..WorkerOptions::default()
        };
        let mut model = Model {
            schedule: Schedule::new(options, control),
            control,
            now: Now {
                instant: Instant::now(),
                epoch_ms: 1_700_000_000_000,
            },
            redis: Redis::default(),
            produced: 0,
            calls: Vec::new(),
            lost: 0,
            recovering: None,
            gave_up: false,
            finished: false,
            waits_for_marker: false,
            inline: VecDeque::new(),
            running: Vec::new(),
            outbox: Vec::new(),
            renewals: Vec::new(),
            decided: BTreeMap::new(),
            known_lost: Vec::new(),
            told: Vec::new(),
            done: Vec::new(),
            largest_job: 0,
        };
        model.step(Input::Time);
        model
    }

    pub(super) fn step(&mut self, input: Input) {
        let mut actions = Actions::default();
        let ended = std::mem::take(&mut self.outbox);
        self.schedule.step(ended, input, self.now, &mut actions);
        for start in actions.start_inline {
            self.told.push(start_of(&start.held));
            self.inline.push_back(start.held);
        }
        for start in actions.start {
            self.told.push(start_of(&start.held));
            self.running.push(start.held);
        }
        for held in actions.give_back {
            held.cancel.stop(Stop::Shutdown);
        }
        for call in actions.calls {
            self.check_call(&call);
            self.calls.push(OnItsWay { call, answer: None });
        }
        if let Some(call) = actions.recover {
            assert!(self.recovering.is_none(), "one recovery at a time");
            self.recovering = Some(call.number);
        }
        if actions.wait_for_marker.is_some() {
            assert!(!self.waits_for_marker, "one wait at a time");
            self.waits_for_marker = true;
        }
        if actions.return_marker.is_some() {
            self.redis.marker = true;
        }
        for notice in actions.notices {
            match notice {
                Notice::Settled { held, .. } => self.done.push(start_of(&held)),
                Notice::Dropped { held, .. } => {
                    let start = start_of(&held);
                    // A start whose lock was lost was done when its attempt ended.
                    if !self.known_lost.contains(&start) {
                        self.done.push(start);
                    }
                }
                Notice::Unsettled(held) => {
                    let id = start_of(&held).0;
                    assert_eq!(Some(id), self.redis.poisoned, "only what is refused alone");
                }
                Notice::Refused(_)
                | Notice::Jobless { .. }
                | Notice::Drained
                | Notice::Recovered => {}
                Notice::Abandoned(_) => {
                    assert_eq!(self.control.stage, Stage::GiveBack, "the host goes on");
                }
            }
        }
        self.finished = actions.finished;
        self.check_limits();
    }

    fn check_call(&mut self, call: &Call) {
        assert!(self.calls.len() < 2, "two calls at a time");
        assert_eq!(self.lost, 0, "no new call during an outage");
        let Control { paused, ready, .. } = self.control;
        assert!(
            call.want == 0 || (ready && !paused),
            "takes jobs that cannot run"
        );
        assert!(call.want > 0 || !call.held.is_empty(), "an empty call");
        for (held, settlement) in call.held.iter().zip(&call.settlements) {
            let start = start_of(held);
            assert!(!self.known_lost.contains(&start), "wrote after a lost lock");
            let decision = format!("{:?}", settlement.kind);
            let before = self.decided.insert(start.clone(), decision.clone());
            assert!(
                before.is_none_or(|before| before == decision),
                "{start:?} was decided twice"
            );
        }
        if call.want > 0 {
            let taking: usize = self.calls.iter().map(|other| other.call.want).sum();
            let slots = self.schedule.jobs().slots() + taking + call.want;
            assert!(
                slots <= self.control.concurrency,
                "{slots} slots are filled"
            );
        }
    }

    fn check_limits(&self) {
        let held = self.schedule.jobs().bytes();
        let under_way = self.calls.iter().filter(|call| call.call.want > 0).count();
        let most = HELD_BYTES_MAX + (1 + under_way) * self.largest_job;
        assert!(held <= most, "{held} bytes are held");
        let executing = self.schedule.jobs().slots();
        let executes = self.running.len() + self.inline.len() + self.outbox.len();
        assert_eq!(executing, executes);
        let waiting = self.schedule.ended.len();
        assert!(waiting <= 8 * CONCURRENCY_MAX, "{waiting} outcomes pile up");
        let marker_comes = !self.waits_for_marker || self.redis.marker;
        // Those that begin on the worker's own thread come first.
        let looks = !self.calls.is_empty() || self.lost > 0 || !self.inline.is_empty();
        let Control {
            stage,
            paused,
            ready,
            concurrency,
        } = self.control;
        let works = stage == Stage::Work && ready && !paused && self.schedule.wake_at().is_none();
        let room = executes < concurrency && held < HELD_BYTES_MAX && waiting == 0;
        let rests = !marker_comes && !looks && works && room;
        assert!(
            !rests || self.redis.wait.is_empty(),
            "it rests beside waiting jobs"
        );
    }

    /// Nothing goes wrong any more, and nothing is left waiting for a time-out.
    pub(super) fn calm_down(&mut self) {
        if self.control.paused || !self.control.ready {
            // Not otherwise: the worker looks for jobs whenever it is asked for something.
            self.ask(Control {
                paused: false,
                ready: true,
                ..self.control
            });
        }
        for _ in 0..10_000 {
            if !self.calls.is_empty() {
                self.carry_out(0);
                self.answer(0);
            } else if self.recovering.is_some() {
                self.recover(true);
            } else if !self.inline.is_empty() {
                self.happen(Event::BeginInline);
            } else if !self.running.is_empty() {
                self.end(0, 0);
            } else if self.waits_for_marker && self.redis.marker {
                self.marker(true);
            } else if !self.redis.delayed.is_empty() || self.schedule.wake_at().is_some() {
                self.happen(Event::Pass(3_000));
            } else {
                return self.check_end();
            }
        }
        panic!("it never came to an end");
    }

    /// All that is under way comes to an end, and so does the worker: also where Redis is unreachable for good, and
    /// the host does not wait for it.
    pub(super) fn stop(&mut self, reachable: bool) {
        if !reachable {
            self.happen(Event::Stage(Stage::GiveBack));
        }
        for _ in 0..10_000 {
            if !self.calls.is_empty() && reachable {
                self.carry_out(0);
                self.answer(0);
            } else if !self.calls.is_empty() {
                self.lose_call(0);
            } else if self.recovering.is_some() {
                self.recover(reachable);
            } else if !self.inline.is_empty() {
                self.happen(Event::BeginInline);
            } else if !self.running.is_empty() {
                self.end(0, 0);
            } else if self.finished {
                let ours = |id: &&u32| Some(**id) != self.redis.poisoned;
                let left = self.redis.active.keys().filter(ours).count();
                assert!(left == 0 || self.gave_up, "{left} jobs are left behind");
                return;
            } else {
                self.happen(Event::Pass(3_000));
            }
        }
        panic!("it never came to an end");
    }

    fn check_end(&self) {
        assert!(self.waits_for_marker, "it rests and waits for nothing");
        assert!(self.redis.wait.is_empty(), "it rests beside waiting jobs");
        assert_eq!(self.schedule.jobs().len(), 0, "jobs are held for ever");
        assert_eq!(self.schedule.jobs().bytes(), 0, "bytes leak");
        assert_eq!(self.schedule.reserved(), (0, 0), "slots leak");
        assert_eq!(self.schedule.ended_bytes, 0, "bytes of outcomes leak");
        let poisoned = self.redis.poisoned;
        for id in 1..=self.produced {
            let finished = self.redis.finished.get(&id).copied().unwrap_or(0);
            let excused = self.redis.elsewhere.contains(&id) || poisoned == Some(id);
            assert!(
                finished == 1 || finished == 0 && excused,
                "job {id} ended {finished} times"
            );
        }
        for (start, times) in &self.redis.settled {
            assert_eq!(*times, 1, "{start:?} was settled more than once");
        }
        for start in &self.told {
            let ended = self.done.iter().filter(|done| *done == start).count();
            assert!(
                ended == 1 || ended == 0 && poisoned == Some(start.0),
                "{start:?} ended {ended} times"
            );
        }
        let left = self.redis.active.keys();
        let left = left.filter(|id| Some(**id) != poisoned).count();
        assert_eq!(left, 0, "locks are left behind");
    }
}
