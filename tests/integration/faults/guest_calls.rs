//! Calls of guests.

use std::time::Instant;

use serde_json::{Value, json};
use toril::queue::JobState;

use super::{BOUND, CONNECTION, Case, Kind, NO_REPLICAS, OPTIONS, Stage};
use crate::fault_proxy::{Fault, Gate};
use crate::harness::{eventually, new_job};

/// The calls of guests.
fn calls() -> Vec<(&'static str, Case)> {
    vec![
        ("write_job", Case::completes("progress", 1)),
        ("write_job", Case::completes("update-data", 1)),
        (
            "write_job",
            Case::completes("log", 1).with_logs(&["one", "two", "three"]),
        ),
        ("add", Case::with_children()),
        ("settle", Case::completes("update-then-delay", 1)),
    ]
}

#[tokio::test]
async fn calls_of_guests_are_carried_out_once_whatever_is_lost() {
    let stage = Stage::start().await;
    for (script, case) in calls() {
        for kind in CONNECTION {
            for (skip, times) in [(0, 1), (1, 1), (0, 2)] {
                stage.play(script, &case, skip, times, kind).await;
            }
        }
        stage
            .play(script, &case, 0, 1, Kind::Refuse(NO_REPLICAS))
            .await;
    }
    stage.host.stop().await;
}

/// Adds with ids of Redis's choice, through which a repeated call cannot be told by the ids.
#[tokio::test]
async fn guest_that_adds_one_job_adds_one_job_whatever_is_lost() {
    let stage = Stage::start().await;
    for kind in CONNECTION {
        let (fault, gate) = kind.fault();
        let mut injected = stage.proxy.inject("add", fault);
        let started = Instant::now();
        let job = new_job("use-other-queue", json!("other"), json!({}));
        let id = stage.slow.add(&job).await.unwrap();
        injected.struck(1).await;
        if let Some(gate) = gate {
            gate.open();
        }
        let what = format!("{kind:?} of `add`");
        stage.settles(&what, &stage.slow, started).await;
        assert_eq!(
            stage.slow.state(&id).await.unwrap(),
            JobState::Completed,
            "{what}"
        );
        let added: u64 = stage.redis.command(&["LLEN", "bull:other:wait"]).await;
        assert_eq!(added, 1, "{what}: jobs added");
        stage.clean().await;
    }
    stage.host.stop().await;
}

#[tokio::test]
async fn family_is_settled_whatever_is_lost_while_it_changes() {
    let stage = Stage::start().await;
    let child = |id: &str, name: &str, opts: Value| {
        let mut opts = opts;
        opts["jobId"] = json!(id);
        json!({ "name": name, "queueName": "ring", "opts": opts })
    };
    let leaves = json!([
        child("a", "leave-the-parent", json!({})),
        child("b", "return", json!({}))
    ]);
    let cleaned = json!([
        child("a", "fail", json!({ "continueParentOnFailure": true })),
        child("b", "return", json!({ "delay": 3_600_000 })),
    ]);
    let cases = [
        ("remove_child_dependency", "children-values", leaves, 3),
        ("remove_unprocessed_children", "clean-up", cleaned, 2),
    ];
    for (script, parent, children, jobs) in cases {
        for kind in CONNECTION {
            let what = format!("{kind:?} of `{script}`");
            let (fault, gate) = kind.fault();
            let mut injected = stage.proxy.inject(script, fault);
            let started = Instant::now();
            let mut tree = child("parent", parent, json!({ "attempts": 3 }));
            tree["children"] = children.clone();
            let flow = toril::queue::parse_flow(&tree.to_string()).unwrap();
            let flows = stage.ring.flows();
            let plan = flows.plan(vec![flow], &Default::default()).unwrap();
            plan.add().await.unwrap();
            injected.struck(1).await;
            if let Some(gate) = gate {
                gate.open();
            }
            let key = |id: &str| format!("bull:ring:{id}");
            eventually(&what, async || {
                assert!(started.elapsed() < BOUND, "{what}: {}", stage.host.log());
                (stage.ring.state("parent").await.ok()? == JobState::Completed).then_some(())
            })
            .await;
            let exist: usize = stage
                .redis
                .command(&["EXISTS", &key("parent"), &key("a"), &key("b")])
                .await;
            assert_eq!(exist, jobs, "{what}: jobs left");
            stage.proxy.clear();
            // A child may go on after it freed its parent, and would meet its successor of the same id.
            stage.rests(&what, &stage.ring, started, BOUND).await;
            stage.clean().await;
        }
    }
    stage.host.stop().await;
}

#[tokio::test]
async fn guest_that_asks_for_a_state_is_answered_whatever_is_lost() {
    let stage = Stage::start().await;
    for kind in CONNECTION {
        let what = format!("{kind:?} of `state`");
        let (fault, gate) = kind.fault();
        let mut injected = stage.proxy.inject("state", fault);
        let started = Instant::now();
        let case = Case::new("wait-for-failed-child", json!({}), JobState::Failed, 1);
        let id = stage.add(&case).await;
        injected.struck(1).await;
        if let Some(gate) = gate {
            gate.open();
        }
        stage.settles(&what, &stage.ring, started).await;
        assert_eq!(
            stage.ring.state(&id).await.unwrap(),
            JobState::Failed,
            "{what}"
        );
        stage.clean().await;
    }
    stage.host.stop().await;
}

/// Whatever comes behind it on its connection waits as well.
#[tokio::test]
async fn call_of_a_guest_that_takes_long_holds_up_no_other_job() {
    let stage = Stage::start().await;
    let gate = Gate::default();
    let held = Fault::HoldRequest(gate.clone());
    let mut injected = stage.proxy.inject("write_job", held);
    let slow = stage.add(&Case::completes("log", 1)).await;
    injected.struck(1).await;
    let others = [(); 3].map(|()| Case::completes("return", 1));
    for case in &others {
        let id = stage.add(case).await;
        stage.reaches(&id, JobState::Completed).await;
    }
    gate.open();
    stage.reaches(&slow, JobState::Completed).await;
    stage.host.stop().await;
}

/// Other workers must not take the job before the limit is stored.
#[tokio::test]
async fn rate_that_a_job_limits_is_limited_before_the_job_goes_back() {
    let limiter = "limiter = { max = 1000, duration_ms = 1000 }";
    let options = format!("{OPTIONS}\nmaximum_rate_limit_delay_ms = 50\n{limiter}");
    let stage = Stage::with(&options).await;
    for fault in [
        Fault::Refuse("NOREPLICAS Not enough good replicas to write."),
        Fault::LoseRequest,
        Fault::LoseReply,
    ] {
        let mut injected = stage.proxy.inject("SET", fault);
        let id = stage.add(&Case::completes("limit-long", 1)).await;
        injected.struck(1).await;
        stage.reaches(&id, JobState::Waiting).await;
        let limited: i64 = stage.redis.command(&["PTTL", "bull:ring:limiter"]).await;
        assert!(limited > 0, "the rate is not limited");
        let _: u64 = stage.redis.command(&["DEL", "bull:ring:limiter"]).await;
        stage.reaches(&id, JobState::Completed).await;
        stage.clean().await;
    }
    stage.host.stop().await;
}
