//! Which markers are put back: those that a worker took and has no room to follow, since other workers rest meanwhile.

use toril_queue::{Job, Marker, Settled};

use super::super::super::{Control, Stage};
use super::super::{Actions, Input};
use super::model::Model;

/// A worker that found nothing and waits for a marker.
fn waiting(concurrency: usize) -> Model {
    let mut model = Model::new(concurrency);
    model.carry_out(0);
    model.answer(0);
    assert!(model.waits_for_marker);
    model
}

/// What it puts back when this marker comes.
fn put_back(model: &mut Model, marker: Marker) -> Option<Marker> {
    let mut actions = Actions::default();
    let input = Input::Marker(Ok(Some(marker)));
    model
        .schedule
        .step(Vec::new(), input, model.now, &mut actions);
    actions.return_marker
}

/// The reasons why a worker takes no job.
fn without_room() -> Vec<(&'static str, Model)> {
    let asked = |change: fn(&mut Control)| {
        let mut model = waiting(2);
        let mut control = model.control;
        change(&mut control);
        model.ask(control);
        model
    };
    let mut full = waiting(1);
    // It looks for jobs because it is asked for something, and takes the one whose marker it was not told of.
    full.ask(full.control);
    let call = full.calls.pop().unwrap().call;
    let settled = Settled {
        at_ms: full.now.epoch_ms,
        results: Vec::new(),
        jobs: vec![Job {
            id: "1".into(),
            ..Job::lone("any", "1")
        }],
        more: false,
        limited_ms: 0,
        next_delayed_ms: None,
        jobless: 0,
        jobless_ids: Vec::new(),
    };
    full.step(Input::Answered(call, Ok(settled)));
    vec![
        ("it is full", full),
        ("it is paused", asked(|control| control.paused = true)),
        (
            "it has no processor",
            asked(|control| control.ready = false),
        ),
        ("it drains", asked(|control| control.stage = Stage::Drain)),
        (
            "it gives back",
            asked(|control| control.stage = Stage::GiveBack),
        ),
    ]
}

#[test]
fn marker_is_put_back_by_a_worker_without_room() {
    let due = Model::new(1).now.epoch_ms;
    // The one that is due by now is put back as it was, so that it wakes the next worker at once.
    for marker in [
        Marker::Work,
        Marker::Delayed(due - 5),
        Marker::Delayed(due + 60_000),
    ] {
        for (why, mut model) in without_room() {
            assert_eq!(put_back(&mut model, marker), Some(marker), "{why}");
        }
    }
}

#[test]
fn marker_is_kept_by_a_worker_with_room() {
    let due = Model::new(1).now.epoch_ms;
    for marker in [
        Marker::Work,
        Marker::Delayed(due),
        Marker::Delayed(due + 60_000),
    ] {
        assert_eq!(put_back(&mut waiting(1), marker), None);
    }
}
