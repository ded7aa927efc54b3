//! The schedule against a model of Redis, of the network and of guests, in random order. What is asserted is what the
//! head of `schedule.rs` promises. A failure is shrunk and its seed is kept beside this file.

mod happen;
mod markers;
mod model;
mod redis;

use proptest::prelude::*;
use toril_queue::Job;

use self::model::Model;
use super::super::Stage;
use super::super::jobs;

const HELD_BYTES_MAX: usize = 4_000;
const JOB_BYTES_MAX: usize = 1_500;
const CONCURRENCY_MAX: usize = 12;

/// Something that happens. The numbers choose among what there is.
#[derive(Debug, Clone)]
enum Event {
    Produce {
        jobs: usize,
        bytes: usize,
    },
    CarryOut(usize),
    Answer(usize),
    LoseCall(usize),
    RefuseCall(usize),
    RefuseFetch,
    Stage(Stage),
    End(usize, usize),
    Marker(bool),
    MarkerTimeout,
    /// A job and its marker come after all calls were carried out, and before any is answered.
    MarkerBeforeAnswers,
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
        2 => Just(Event::MarkerBeforeAnswers),
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

proptest! {
    // 4,000 cases of up to 500 events, 250 on average: 1,000,000 steps.
    #![proptest_config(ProptestConfig { cases: 4_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_start_ends_once_whatever_happens(
        concurrency in 1..CONCURRENCY_MAX,
        events in prop::collection::vec(event(), 1..500),
    ) {
        let mut model = Model::new(concurrency);
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
        concurrency in 1..CONCURRENCY_MAX,
        before in prop::collection::vec(event(), 1..200),
        after in prop::collection::vec(event(), 1..100),
        stage in prop_oneof![Just(Stage::Drain), Just(Stage::GiveBack)],
        reachable in any::<bool>(),
    ) {
        let mut model = Model::new(concurrency);
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
        ..Job::lone("any", "123")
    };
    assert_eq!(jobs::bytes(&job), 5);
}
