//! Commands of an operator.

use std::time::Instant;

use serde_json::json;
use toril::queue::JobState;

use super::{BOUND, Kind, NO_REPLICAS, Stage};
use crate::fault_proxy::{Fault, FaultProxy};
use crate::harness::{
    TestHost, TestRedis, eventually, new_job, processor, queue_section, toril_at,
};

/// Commands of an operator: where one fails, the same again has the effect of one.
#[tokio::test]
async fn commands_can_be_repeated_whatever_was_lost() {
    let stage = Stage::start().await;
    let refused = Kind::Refuse(NO_REPLICAS);
    for kind in [Kind::LoseRequest, Kind::LoseReply, Kind::CutReply, refused] {
        for (script, command) in [
            ("retry_job", "retry"),
            ("promote_job", "promote"),
            ("remove_job", "remove"),
        ] {
            let what = format!("{kind:?} of `{script}`");
            let (job, options) = match command {
                "promote" => ("return", json!({ "delay": 3_600_000 })),
                _ => ("unrecoverable", json!({})),
            };
            let id = stage
                .ring
                .add(&new_job(job, json!({}), options))
                .await
                .unwrap();
            let before = if command == "promote" {
                JobState::Delayed
            } else {
                JobState::Failed
            };
            stage.reaches(&id, before).await;
            let mut injected = stage.proxy.inject(script, kind.fault().0);
            let url = stage.proxy.url();
            let started = Instant::now();
            let arguments = ["job", command, "ring", &id];
            let _ = toril_at(&url, &arguments).await;
            injected.struck(1).await;
            let _ = toril_at(&url, &arguments).await;
            let after = match command {
                "promote" => JobState::Completed,
                "retry" => JobState::Failed,
                _ => JobState::Unknown,
            };
            stage.reaches(&id, after).await;
            assert!(
                started.elapsed() < BOUND,
                "{what}: took {:?}",
                started.elapsed()
            );
            stage.clean().await;
        }
    }
    stage.host.stop().await;
}

/// A deployment: the command changes it once, and the host follows it, whatever is lost.
#[tokio::test]
async fn deployment_is_followed_whatever_is_lost() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let section = queue_section("ring", "fixture-noop", "");
    let mut host = TestHost::spawn(&format!("redis = \"{}\"\n{section}", proxy.url()), &[]);
    host.logs("serving").await;
    let component = processor("fixture-version").display().to_string();
    for script in ["sync", "change"] {
        for kind in [
            Kind::LoseRequest,
            Kind::LoseReply,
            Kind::CutReply,
            Kind::Refuse(NO_REPLICAS),
        ] {
            let what = format!("{kind:?} of `{script}`");
            let mut injected = proxy.inject(script, kind.fault().0);
            let started = Instant::now();
            let deploy = ["deploy", "ring", &component, "--wait", "10"];
            let first = toril_at(&proxy.url(), &deploy).await;
            injected.struck(1).await;
            if !first.status.success() {
                let again = toril_at(&proxy.url(), &deploy).await;
                assert!(again.status.success(), "{what}: {again:?}");
            }
            let gone = toril_at(&proxy.url(), &["undeploy", "ring"]).await;
            assert!(gone.status.success(), "{what}: {gone:?}");
            eventually("the host goes back to its file", async || {
                let key = "toril:{bull:ring}:deployment";
                let active: Option<String> = redis.command(&["HGET", key, "active"]).await;
                active.is_none().then_some(())
            })
            .await;
            assert!(
                started.elapsed() < 2 * BOUND,
                "{what}: took {:?}",
                started.elapsed()
            );
        }
    }
    host.stop().await;
}

/// A Redis that starts, or is busy, is one to wait for.
#[tokio::test]
async fn host_waits_where_redis_says_that_it_cannot_answer_yet() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    for error in [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script.",
    ] {
        let mut refused = proxy.inject("INFO", Fault::Refuse(error));
        let section = queue_section("ring", "fixture-scenarios", "");
        let mut host = TestHost::spawn(&format!("redis = \"{}\"\n{section}", proxy.url()), &[]);
        refused.struck(1).await;
        host.logs("serving").await;
        host.stop().await;
    }
}

#[tokio::test]
async fn host_can_be_stopped_while_it_waits_for_a_redis_that_starts() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let loading = Fault::Refuse("LOADING Redis is loading the dataset in memory");
    let mut refused = proxy.inject_at("INFO", 0, usize::MAX, loading);
    let section = queue_section("ring", "fixture-scenarios", "");
    let host = TestHost::spawn(&format!("redis = \"{}\"\n{section}", proxy.url()), &[]);
    refused.struck(2).await;
    assert!(!host.log().contains("serving"));
    host.stop().await;
}
