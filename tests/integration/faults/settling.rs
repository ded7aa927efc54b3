//! Settling and fetching, for each kind of outcome.

use std::time::Instant;

use serde_json::json;
use toril::queue::JobState;

use super::{BOUND, CONNECTION, Case, Kind, NO_REPLICAS, Stage};
use crate::fault_proxy::Fault;
use crate::harness::{eventually, new_job};

/// One for each kind of outcome.
fn outcomes() -> Vec<Case> {
    let backoff = json!({ "attempts": 3, "backoff": 20 });
    vec![
        Case::completes("return", 1),
        Case::completes("fail-once", 2),
        Case::new("fail", json!({}), JobState::Failed, 1),
        Case::new("fail", json!({ "attempts": 3 }), JobState::Failed, 3),
        Case::new("fail", backoff, JobState::Failed, 3),
        Case::new(
            "unrecoverable",
            json!({ "attempts": 3 }),
            JobState::Failed,
            1,
        ),
        Case::completes("wait-once", 1),
        Case::completes("delay-once", 1),
        Case::completes("limit-once", 1),
        Case::with_children(),
    ]
}

/// Strikes each of the first calls by itself, and two calls in a row: the reply to a settlement, and the one to the
/// next fetch.
const CALLS: [(usize, usize); 5] = [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2)];

async fn settle_goes_through(kind: Kind) {
    let stage = Stage::start().await;
    for case in outcomes() {
        for (skip, times) in CALLS {
            stage.play("settle", &case, skip, times, kind).await;
        }
    }
    stage.host.stop().await;
}

#[tokio::test]
async fn jobs_are_settled_once_when_requests_to_settle_are_lost() {
    settle_goes_through(Kind::LoseRequest).await;
}

#[tokio::test]
async fn jobs_are_settled_once_when_replies_to_settle_are_lost() {
    settle_goes_through(Kind::LoseReply).await;
}

#[tokio::test]
async fn jobs_are_settled_once_when_replies_to_settle_are_cut() {
    settle_goes_through(Kind::CutReply).await;
}

#[tokio::test]
async fn jobs_are_settled_once_when_calls_to_settle_are_held() {
    settle_goes_through(Kind::HoldRequest).await;
    settle_goes_through(Kind::HoldReply).await;
}

#[tokio::test]
async fn jobs_are_settled_once_when_settling_is_refused_for_a_while() {
    settle_goes_through(Kind::Refuse(NO_REPLICAS)).await;
}

/// Errors that pass: the server says that it cannot now, not that it never will.
#[tokio::test]
async fn no_error_that_passes_drops_an_outcome() {
    let stage = Stage::start().await;
    let errors = [
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "READONLY You can't write against a read only replica.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "LOADING Redis is loading the dataset in memory",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOAUTH Authentication required.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "ERR max number of clients reached",
        "NOREPLICAS Not enough good replicas to write.",
    ];
    for error in errors {
        let case = Case::completes("return", 1);
        stage.play("settle", &case, 1, 2, Kind::Refuse(error)).await;
    }
    stage.host.stop().await;
}

/// The search for jobs of a lost call is lost as well.
#[tokio::test]
async fn jobs_of_a_lost_call_are_found_although_the_search_is_lost() {
    let stage = Stage::start().await;
    for kind in CONNECTION.into_iter().chain([Kind::Refuse(NO_REPLICAS)]) {
        for case in [
            Case::completes("return", 1),
            Case::completes("wait-once", 1),
        ] {
            for skip in [0, 1] {
                let lost = stage.proxy.inject_at("settle", skip, 1, Fault::LoseReply);
                stage.play("reclaim", &case, 0, 1, kind).await;
                assert_eq!(lost.times(), 1, "the reply was lost");
            }
        }
    }
    stage.host.stop().await;
}

/// Batches of all kinds, a fault at every third call, and two calls under way at once.
#[tokio::test]
async fn crowd_is_settled_once_while_faults_of_all_kinds_strike_in_turn() {
    let stage = Stage::start().await;
    let faults = [
        Fault::LoseReply,
        Fault::LoseRequest,
        Fault::CutReply,
        Fault::Refuse(NO_REPLICAS),
    ];
    let struck: Vec<_> = (0..12)
        .map(|n| {
            let fault = faults[n % faults.len()].clone();
            stage.proxy.inject_at("settle", 2, 1, fault)
        })
        .collect();
    let started = Instant::now();
    let names = [
        "return",
        "fail-once",
        "wait-once",
        "unrecoverable",
        "delay-once",
    ];
    let jobs: Vec<_> = (0..400)
        .map(|n| new_job(names[n % names.len()], json!({}), json!({ "attempts": 3 })))
        .collect();
    stage.ring.add_bulk(&jobs).await.unwrap();
    eventually("all faults strike", async || {
        let times: usize = struck.iter().map(|fault| fault.times()).sum();
        (times == struck.len()).then_some(())
    })
    .await;
    // Several faults in a row cost more than one.
    stage
        .settles_within("a crowd", &stage.ring, started, 3 * BOUND)
        .await;
    let count = async |state: &str| -> usize {
        let key = format!("bull:ring:{state}");
        stage.redis.command(&["ZCARD", &key]).await
    };
    assert_eq!((count("completed").await, count("failed").await), (320, 80));
    stage.host.stop().await;
}
