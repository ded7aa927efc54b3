//! What the host does beside its jobs: locks, stalled jobs, schedulers.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;
use toril::queue::{JobState, now_ms};

use super::{BOUND, CONNECTION, Kind, NO_REPLICAS, OPTIONS, Stage};
use crate::fault_proxy::{Fault, Gate};
use crate::harness::{eventually, new_job};

/// Long jobs, whose locks are renewed, and the check for jobs that stalled.
#[tokio::test]
async fn renewal_and_stalled_check_go_through_each_fault() {
    // A renewal that is lost leaves time for the next one; a lock that none renews runs out before its job ends.
    let renewed = "lock_duration_ms = 1500\nlock_renew_time_ms = 500";
    let stage = Stage::with(&OPTIONS.replace("lock_duration_ms = 1000", renewed)).await;
    let refused = [Kind::Refuse(NO_REPLICAS)];
    for script in ["extend_locks", "recover_stalled"] {
        for kind in CONNECTION.into_iter().chain(refused) {
            let what = format!("{kind:?} of `{script}`");
            let (fault, gate) = kind.fault();
            let mut injected = stage.proxy.inject(script, fault);
            let started = Instant::now();
            let job = new_job("sleep", json!(2_500), json!({}));
            let id = stage.slow.add(&job).await.unwrap();
            injected.struck(1).await;
            if let Some(gate) = gate {
                gate.open();
            }
            stage.settles(&what, &stage.slow, started).await;
            let job = stage.slow.job(&id).await.unwrap().unwrap();
            let job: BTreeMap<String, String> = job.into_iter().collect();
            assert_eq!(
                stage.slow.state(&id).await.unwrap(),
                JobState::Completed,
                "{what}"
            );
            assert_eq!(
                job["ats"], "1",
                "{what}: started once, since its lock was kept"
            );
            stage.clean().await;
        }
    }
    stage.host.stop().await;
}

/// A scheduler as BullMQ keeps it, and its first job.
async fn add_scheduler(stage: &Stage, limit: u64) {
    let time = now_ms();
    let (id, time_text) = (format!("repeat:beat:{time}"), time.to_string());
    let opts = json!({
        "jobId": id, "timestamp": time, "prevMillis": time,
        "repeat": { "every": 50, "limit": limit, "count": 1, "key": "beat" },
    });
    let limit = limit.to_string();
    let scheduler = [
        "name", "return", "every", "50", "limit", &limit, "ic", "1", "opts", "{}",
    ];
    let commands: [&[&str]; 4] = [
        &["ZADD", "bull:ring:repeat", &time_text, "beat"],
        &[&["HSET", "bull:ring:repeat:beat"], &scheduler[..]].concat(),
        &[
            "HSET",
            &format!("bull:ring:{id}"),
            "name",
            "return",
            "data",
            "{}",
            "timestamp",
            &time_text,
            "delay",
            "0",
            "priority",
            "0",
            "rjk",
            "beat",
            "opts",
            &opts.to_string(),
        ],
        &["LPUSH", "bull:ring:wait", &id],
    ];
    for command in commands {
        let _: i64 = stage.redis.command(command).await;
    }
    let _: i64 = stage
        .redis
        .command(&["ZADD", "bull:ring:marker", "0", "0"])
        .await;
}

#[tokio::test]
async fn scheduler_goes_on_whatever_is_lost() {
    let stage = Stage::start().await;
    for kind in CONNECTION.into_iter().chain([Kind::Refuse(NO_REPLICAS)]) {
        let what = format!("{kind:?} of `advance_scheduler`");
        let (fault, gate) = kind.fault();
        let mut injected = stage.proxy.inject("advance_scheduler", fault);
        let started = Instant::now();
        add_scheduler(&stage, 3).await;
        injected.struck(1).await;
        if let Some(gate) = gate {
            gate.open();
        }
        eventually(&what, async || {
            let done: usize = stage.redis.command(&["ZCARD", "bull:ring:completed"]).await;
            assert!(
                started.elapsed() < BOUND,
                "{what}: {done} are done; {}",
                stage.host.log()
            );
            (done == 3).then_some(())
        })
        .await;
        stage.settles(&what, &stage.ring, started).await;
        assert_eq!(stage.ends("ring").await.len(), 3, "{what}: iterations");
        stage.clean().await;
    }
    stage.host.stop().await;
}

/// The first call hangs, as on a connection whose other end is gone.
#[tokio::test]
async fn locks_are_renewed_over_another_connection_where_one_hangs() {
    let stage = Stage::start().await;
    let gate = Gate::default();
    let held = Fault::HoldRequest(gate.clone());
    let mut first = stage.proxy.inject_at("extend_locks", 0, 1, held);
    let again = Fault::HoldReply(Gate::default());
    let mut second = stage.proxy.inject_at("extend_locks", 1, 1, again);
    let job = new_job("sleep", json!(600_000), json!({}));
    stage.slow.add(&job).await.unwrap();
    first.struck(1).await;
    second.struck(1).await;
    gate.open();
    stage.host.kill().await;
}
