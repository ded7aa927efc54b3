//! Guests that take memory in any order, and the cases that decide.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MAX: usize = 100;

/// What a guest takes from its start to its end.
#[derive(Debug, Clone)]
struct Plan {
    expected: usize,
    first: usize,
    steps: Vec<usize>,
    rests: bool,
}

impl Plan {
    fn claim(&self) -> Claim {
        Claim {
            expected: self.expected,
            limit: MAX + 50,
        }
    }
}

/// Guests that would fit alone. Those that keep to what is expected of them, or any.
fn plan(honest: bool) -> impl Strategy<Value = Plan> {
    let steps = vec(1..=40usize, 0..6);
    (1..=MAX, 0..=20usize, steps, any::<bool>()).prop_map(
        move |(expected, first, mut steps, rests)| {
            let most = if honest { expected } else { MAX };
            let first = first.min(most);
            let mut held = first;
            steps.retain(|step| {
                let fits = held + step <= most;
                held += if fits { *step } else { 0 };
                fits
            });
            Plan {
                expected,
                first,
                steps,
                rests,
            }
        },
    )
}

/// Guests that carry out their plans.
struct Model {
    ledger: Ledger<usize>,
    plans: Vec<Plan>,
    /// Key in the ledger and steps done, of those that run or wait.
    guests: Vec<Option<(usize, usize)>>,
    waiting: Vec<usize>,
    ended: Vec<usize>,
    stuck: usize,
}

impl Model {
    fn new(plans: Vec<Plan>, places: usize) -> Self {
        Model {
            ledger: Ledger::new(MAX, places),
            guests: vec![None; plans.len()],
            plans,
            waiting: Vec::new(),
            ended: Vec::new(),
            stuck: 0,
        }
    }

    fn asked_for(&self, plan: usize) -> usize {
        let steps = self.guests[plan].map_or(0, |(_, steps)| steps);
        self.plans[plan].first + self.plans[plan].steps[..steps].iter().sum::<usize>()
    }

    /// One step of a guest that does not wait.
    fn step(&mut self, at: usize) {
        let plan = self.plans[at].clone();
        let Some((key, done)) = self.guests[at] else {
            let (key, answer) = self.ledger.start(plan.claim(), plan.first, || at);
            self.guests[at] = Some((key, 0));
            return self.answered(at, answer);
        };
        if let Some(bytes) = plan.steps.get(done) {
            let answer = self.ledger.grow(key, *bytes, || at);
            self.guests[at] = Some((key, done + 1));
            return self.answered(at, answer);
        }
        let answered = match plan.rests {
            true => self.ledger.rest(key),
            false => self.ledger.leave(key),
        };
        if plan.rests {
            self.ledger.forget_idle(self.asked_for(at));
        }
        self.guests[at] = None;
        self.ended.push(at);
        self.tell(answered);
    }

    fn answered(&mut self, at: usize, answer: Answer) {
        assert!(!self.ledger.is_overfull() && self.ledger.held() <= MAX);
        self.waiting.retain(|waits| *waits != at);
        match answer {
            Answer::Granted => {}
            Answer::Waits => self.waiting.push(at),
            Answer::TooLarge => panic!("it fits alone"),
            Answer::Stuck => {
                // It starts over, with a larger claim.
                self.stuck += 1;
                self.plans[at].expected = self.asked_for(at);
                let answered = self.guests[at]
                    .take()
                    .map(|(key, _)| self.ledger.leave(key));
                self.tell(answered.unwrap());
            }
        }
    }

    fn tell(&mut self, answered: Answered<usize>) {
        for (at, answer) in answered {
            self.answered(at, answer);
        }
    }

    /// All guests, one step of any of them at a time.
    fn run(&mut self, mut order: impl Iterator<Item = prop::sample::Index>) {
        while self.ended.len() < self.plans.len() {
            let ready: Vec<usize> = (0..self.plans.len())
                .filter(|at| !self.waiting.contains(at) && !self.ended.contains(at))
                .collect();
            assert!(!ready.is_empty(), "all that are left wait for each other");
            let at = order.next().map_or(ready[0], |index| *index.get(&ready));
            self.step(at);
        }
        assert_eq!(self.ledger.held(), 0);
        assert!(self.ledger.guests.is_empty());
    }
}

fn order() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 0..200)
}

proptest! {
    #[test]
    fn guests_that_keep_to_their_claims_all_come_to_their_end(
        plans in vec(plan(true), 1..12), places in 1..6usize, order in order(),
    ) {
        let mut model = Model::new(plans, places);
        model.run(order.into_iter());
        prop_assert_eq!(model.stuck, 0);
    }

    #[test]
    fn guests_that_fit_alone_all_come_to_their_end(
        plans in vec(plan(false), 1..12), places in 1..6usize, order in order(),
    ) {
        Model::new(plans, places).run(order.into_iter());
    }
}

fn claim(bytes: usize) -> Claim {
    Claim {
        expected: bytes,
        limit: bytes,
    }
}

fn started(ledger: &mut Ledger<u32>, most: usize, bytes: usize) -> usize {
    let (guest, answer) = ledger.start(claim(most), bytes, || 0);
    assert_eq!(answer, Answer::Granted);
    guest
}

#[test]
fn guests_that_would_wait_for_each_other_are_held_back_in_time() {
    let mut ledger = Ledger::new(100, 10);
    let [first, second] = [(); 2].map(|()| started(&mut ledger, 80, 10));
    assert_eq!(ledger.grow(first, 40, || 1), Answer::Granted);
    // 40 are free, but then neither could get to its 80.
    assert_eq!(ledger.grow(second, 40, || 2), Answer::Waits);
    assert_eq!(ledger.grow(first, 30, || 1), Answer::Granted);
    assert_eq!(ledger.leave(first), [(2, Answer::Granted)]);
    assert!(ledger.leave(second).is_empty());
    assert_eq!(ledger.held(), 0);
}

#[test]
fn guest_that_is_too_large_alone_is_told_so() {
    let mut ledger = Ledger::new(100, 10);
    assert_eq!(ledger.start(claim(500), 101, || 0).1, Answer::TooLarge);
    let mut ledger = Ledger::new(100, 10);
    let guest = started(&mut ledger, 500, 10);
    assert_eq!(ledger.grow(guest, 91, || 0), Answer::TooLarge);
    assert_eq!(ledger.grow(guest, 90, || 0), Answer::Granted);
}

#[test]
fn guests_that_take_more_than_expected_wait_for_each_other_and_the_newest_gives_up() {
    let mut ledger = Ledger::new(100, 10);
    let small = Claim {
        expected: 30,
        limit: 100,
    };
    let [first, second] = [(); 2].map(|()| ledger.start(small, 30, || 0).0);
    assert_eq!(ledger.grow(first, 30, || 1), Answer::Granted);
    assert_eq!(ledger.grow(second, 30, || 2), Answer::Waits);
    assert_eq!(ledger.grow(first, 20, || 3), Answer::Stuck);
    assert_eq!(ledger.leave(first), [(2, Answer::Granted)]);
    assert!(ledger.leave(second).is_empty());
}

#[test]
fn small_guests_go_on_while_a_large_one_waits_and_leave_room_for_it() {
    let mut ledger = Ledger::new(100, 100);
    let long = started(&mut ledger, 60, 50);
    let large = started(&mut ledger, 70, 5);
    assert_eq!(ledger.grow(large, 50, || 1), Answer::Waits);
    let small: Vec<_> = (0..3).map(|_| started(&mut ledger, 10, 10)).collect();
    let (fourth, answer) = ledger.start(claim(10), 10, || 2);
    assert_eq!(answer, Answer::Waits, "30 are not the large one's");
    let both = [(1, Answer::Granted), (2, Answer::Granted)];
    assert_eq!(ledger.leave(long), both, "the one that runs comes first");
    for guest in small.into_iter().chain([large, fourth]) {
        assert!(ledger.leave(guest).is_empty());
    }
    assert_eq!(ledger.held(), 0);
}

#[test]
fn idle_instances_give_way() {
    let mut ledger = Ledger::new(100, 2);
    let guest = started(&mut ledger, 80, 80);
    ledger.rest(guest);
    assert_eq!((ledger.held(), ledger.is_overfull()), (80, false));
    let next = started(&mut ledger, 80, 80);
    assert!(ledger.is_overfull());
    assert_eq!(
        ledger.resume(claim(80), 80),
        None,
        "there is no room for both"
    );
    ledger.forget_idle(80);
    assert!(!ledger.is_overfull());
    ledger.rest(next);
    assert!(ledger.resume(claim(80), 80).is_some());
    assert_eq!(ledger.held(), 80);
    started(&mut ledger, 10, 10);
    let third = ledger.start(claim(10), 0, || 0);
    assert_eq!(third.1, Answer::Waits, "there are two places");
}

#[test]
fn what_guests_left_is_waited_for() {
    let mut ledger = Ledger::new(100, 10);
    let guest = started(&mut ledger, 60, 60);
    ledger.keep(50);
    assert!(ledger.leave(guest).is_empty());
    assert_eq!((ledger.held(), ledger.is_overfull()), (50, false));
    let large = started(&mut ledger, 50, 10);
    assert_eq!(
        ledger.grow(large, 80, || 1),
        Answer::Waits,
        "it is not stuck"
    );
    let second = ledger.start(claim(60), 60, || 2);
    assert_eq!(second.1, Answer::Waits);
    assert_eq!(ledger.drop_kept(50), [(1, Answer::Granted)]);
    assert_eq!(ledger.leave(large), [(2, Answer::Granted)]);
}
