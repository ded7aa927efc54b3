//! The schedule against a model of Redis, of the network and of guests, in random order. What is asserted is what the
//! head of `schedule.rs` promises. A failure is shrunk and its seed is kept beside this file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use toril_queue::{ErrorCode, Job, Marker, Moved, QueueError, Settled, Settlement};

use super::super::jobs::{self, Held};
use super::super::{Control, Stage, WorkerOptions};
use super::{Actions, Call, Ended, Input, Notice, Now, Schedule};
use toril_sandbox::{Outcome, Stop};

const HELD_BYTES_MAX: usize = 4_000;
const JOB_BYTES_MAX: usize = 1_500;
const CONCURRENCY_MAX: usize = 12;

/// Something that happens. The numbers choose among what there is.
#[derive(Debug, Clone)]
enum Event {
    Produce { jobs: usize, bytes: usize },
    CarryOut(usize),
    Answer(usize),
    LoseCall(usize),
    RefuseCall(usize),
    RefuseFetch,
    Stage(Stage),
    End(usize, usize),
    Marker(bool),
    MarkerTimeout,
    Recover(bool),
    BeginInline,
    SendRenewal,
    AnswerRenewal(usize),
    LoseLock(usize),
    Pause(bool),
    Ready(bool),
    Concurrency(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let number = any::<usize>;
    prop_oneof![
        6 => (1..6usize, 0..JOB_BYTES_MAX).prop_map(|(jobs, bytes)| Event::Produce { jobs, bytes }),
        8 => number().prop_map(Event::CarryOut),
        8 => number().prop_map(Event::Answer),
        2 => number().prop_map(Event::LoseCall),
        1 => number().prop_map(Event::RefuseCall),
        1 => Just(Event::RefuseFetch),
        12 => (number(), number()).prop_map(|(which, how)| Event::End(which, how)),
        4 => any::<bool>().prop_map(Event::Marker),
        1 => Just(Event::MarkerTimeout),
        3 => any::<bool>().prop_map(Event::Recover),
        4 => Just(Event::BeginInline),
        2 => Just(Event::SendRenewal),
        2 => number().prop_map(Event::AnswerRenewal),
        1 => number().prop_map(Event::LoseLock),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => any::<bool>().prop_map(Event::Ready),
        1 => (1..CONCURRENCY_MAX).prop_map(Event::Concurrency),
        3 => (1..3_000u64).prop_map(Event::Pass),
    ]
}

type Start = (u32, String);

/// Redis, as far as one worker sees it.
#[derive(Default)]
struct Redis {
    wait: VecDeque<u32>,
    /// Who holds the lock.
    active: BTreeMap<u32, String>,
    delayed: Vec<u32>,
    bytes: BTreeMap<u32, usize>,
    starts: BTreeMap<u32, u32>,
    marker: bool,
    /// How often each start was settled.
    settled: BTreeMap<Start, u32>,
    finished: BTreeMap<u32, u32>,
    /// A job that Redis refuses to settle, whatever becomes of it.
    poisoned: Option<u32>,
    /// It refuses the next call that only takes jobs, after it took them.
    refuses_fetch: bool,
    /// Jobs that another worker has.
    elsewhere: Vec<u32>,
}

impl Redis {
    fn produce(&mut self, id: u32, bytes: usize) {
        self.bytes.insert(id, bytes);
        self.wait.push_front(id);
        self.marker = true;
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<Moved, QueueError> {
        let id: u32 = settlement.job_id.parse().unwrap();
        let refused = |code| {
            Err(QueueError::Job {
                code,
                subject: id.to_string(),
                command: "moveToFinished",
            })
        };
        match self.active.get(&id) {
            None => return refused(ErrorCode::JobLockNotExist),
            Some(token) if **token != *settlement.token => {
                return refused(ErrorCode::JobLockMismatch);
            }
            Some(_) => {}
        }
        self.active.remove(&id);
        *self
            .settled
            .entry((id, settlement.token.to_string()))
            .or_default() += 1;
        use toril_queue::SettlementKind as Kind;
        match &settlement.kind {
            Kind::Completed { .. } | Kind::Failed { .. } => {
                *self.finished.entry(id).or_default() += 1;
            }
            Kind::Retry { .. } | Kind::Wait | Kind::GiveBack { delay_ms: None } => {
                self.wait.push_back(id);
                self.marker = true;
            }
            Kind::Delayed { .. } | Kind::GiveBack { delay_ms: Some(_) } => self.delayed.push(id),
            Kind::WaitingChildren { .. } => unreachable!("only guests do that"),
        }
        Ok(Moved::Yes)
    }

    fn fetch(&mut self, call: &Call) -> (Vec<Job>, bool) {
        let token = token(call.number);
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while jobs.len() < call.want && (jobs.is_empty() || bytes < call.bytes_max) {
            let Some(id) = self.wait.pop_back() else {
                return (jobs, false);
            };
            bytes += self.bytes[&id];
            self.active.insert(id, token.clone());
            *self.starts.entry(id).or_default() += 1;
            jobs.push(self.job(id, &token));
        }
        let more = jobs.len() < call.want && !self.wait.is_empty();
        (jobs, more)
    }

    fn job(&self, id: u32, token: &str) -> Job {
        Job {
            id: id.to_string().into(),
            token: token.into(),
            data: vec![b' '; self.bytes[&id]],
            opts_json: String::new(),
            attempts_started: self.starts[&id],
            options: toril_queue::JobOptions::parse(r#"{"attempts":3,"backoff":5}"#),
            ..Job::rehearsal("any", "")
        }
    }
}

fn token(number: u64) -> String {
    format!("worker:{number}")
}

fn start_of(held: &Held) -> Start {
    (held.job.id.parse().unwrap(), held.job.token.to_string())
}

/// A call on its way: not carried out yet, or carried out and not answered yet.
struct OnItsWay {
    call: Call,
    answer: Option<Result<Settled, QueueError>>,
}

struct Model {
    schedule: Schedule,
    control: Control,
    now: Now,
    redis: Redis,
    produced: u32,
    calls: Vec<OnItsWay>,
    /// How many lost calls are not recovered.
    lost: usize,
    /// The number of the call that is being recovered.
    recovering: Option<u64>,
    /// Redis was unreachable while the host stopped.
    gave_up: bool,
    finished: bool,
    waits_for_marker: bool,
    inline: VecDeque<Arc<Held>>,
    running: Vec<Arc<Held>>,
    /// Attempts that ended, and that the schedule was not told of.
    outbox: Vec<Ended>,
    renewals: Vec<Vec<Start>>,
    /// What was decided of each start.
    decided: BTreeMap<Start, String>,
    /// Starts whose lock was lost, as far as the worker knows.
    known_lost: Vec<Start>,
    /// Starts that the worker was told of, and those that it is done with.
    told: Vec<Start>,
    done: Vec<Start>,
    largest_job: usize,
}

impl Model {
    fn new() -> Self {
        let control = Control {
            stage: Stage::Work,
            paused: false,
            ready: true,
            concurrency: 5,
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

    fn step(&mut self, input: Input) {
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
                Notice::Settled(held, _) | Notice::Dropped { held, .. } => {
                    self.done.push(start_of(&held));
                }
                Notice::Unsettled(held) => {
                    let id = start_of(&held).0;
                    assert_eq!(Some(id), self.redis.poisoned, "only what is refused alone");
                }
                Notice::Refused(_) | Notice::Drained | Notice::Recovered => {}
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
        let looks = !self.calls.is_empty() || self.lost > 0;
        let Control {
            stage,
            paused,
            ready,
            concurrency,
        } = self.control;
        let works = stage == Stage::Work && ready && !paused && self.schedule.wake_at().is_none();
        let room = executes < concurrency && held == 0 && waiting == 0;
        let rests = !marker_comes && !looks && works && room;
        assert!(
            !rests || self.redis.wait.is_empty(),
            "it rests beside waiting jobs"
        );
    }

    fn happen(&mut self, event: Event) {
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

    fn ask(&mut self, control: Control) {
        self.control = control;
        self.step(Input::Control(control));
    }

    fn carry_out(&mut self, which: usize) {
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
            results,
            jobs,
            more,
            limited_ms: 0,
            next_delayed_ms: None,
        }));
    }

    fn answer(&mut self, which: usize) {
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

    fn lose_call(&mut self, which: usize) {
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

    fn end(&mut self, which: usize, how: usize) {
        let Some(held) = take(&mut self.running, which, |_| true) else {
            return;
        };
        let start = start_of(&held);
        let outcome = match how % 6 {
            // Its guest was stopped.
            0..5 if held.cancel.reason() == Some(Stop::Shutdown) => Outcome::GivenBack,
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
                Outcome::Moved(toril_sandbox::MovedTo::Delayed)
            }
        };
        if self.known_lost.contains(&start) {
            self.done.push(start);
        }
        let cpu = Duration::from_micros(how as u64 % 40);
        self.outbox.push(Ended { held, outcome, cpu });
        // The loop is woken once there are enough of them, or by anything else.
        if self.outbox.len() >= self.schedule.awaited() || how.is_multiple_of(3) {
            self.step(Input::Time);
        }
    }

    fn marker(&mut self, works: bool) {
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
        }
    }

    fn recover(&mut self, works: bool) {
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

    /// Nothing goes wrong any more, and nothing is left waiting for a time-out.
    fn calm_down(&mut self) {
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
    fn stop(&mut self, reachable: bool) {
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

fn unreachable_redis() -> QueueError {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    QueueError::from(redis::RedisError::from(refused))
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

proptest! {
    // 4,000 cases of up to 500 events, 250 on average: 1,000,000 steps.
    #![proptest_config(ProptestConfig { cases: 4_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_start_ends_once_whatever_happens(events in prop::collection::vec(event(), 1..500)) {
        let mut model = Model::new();
        for event in events {
            model.happen(event);
        }
        model.calm_down();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn worker_that_stops_comes_to_an_end(
        before in prop::collection::vec(event(), 1..200),
        after in prop::collection::vec(event(), 1..100),
        stage in prop_oneof![Just(Stage::Drain), Just(Stage::GiveBack)],
        reachable in any::<bool>(),
    ) {
        let mut model = Model::new();
        before.into_iter().for_each(|event| model.happen(event));
        model.happen(Event::Stage(stage));
        after.into_iter().for_each(|event| model.happen(event));
        model.stop(reachable);
    }
}

#[test]
fn bytes_of_a_job_are_those_of_its_data_and_options() {
    let job = Job {
        opts_json: "{}".into(),
        ..Job::rehearsal("any", "123")
    };
    assert_eq!(jobs::bytes(&job), 5);
}
