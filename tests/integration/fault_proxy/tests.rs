//! The proxy does what it says.

use std::time::{Duration, Instant};

use toril::queue::{Queue, Redis};

use super::{Fault, FaultProxy, Gate};
use crate::harness::{TestRedis, eventually};

async fn connection(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn increment(connection: &mut redis::aio::MultiplexedConnection) -> redis::RedisResult<i64> {
    redis::cmd("INCR")
        .arg("count")
        .query_async(connection)
        .await
}

/// How often it was carried out.
async fn count(redis: &TestRedis) -> i64 {
    let count: Option<i64> = redis.command(&["GET", "count"]).await;
    count.unwrap_or_default()
}

#[tokio::test]
async fn lost_request_is_not_carried_out_and_the_connection_is_cut() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let mut client = connection(&proxy.url()).await;
    let mut lost = proxy.inject_at("INCR", 1, 1, Fault::LoseRequest);
    assert_eq!(increment(&mut client).await.unwrap(), 1);
    increment(&mut client).await.unwrap_err();
    lost.struck(1).await;
    assert_eq!(count(&redis).await, 1);
    increment(&mut client).await.unwrap_err();
    let mut client = connection(&proxy.url()).await;
    assert_eq!(increment(&mut client).await.unwrap(), 2);
}

#[tokio::test]
async fn lost_and_cut_replies_were_carried_out() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    for (before, fault) in [(0, Fault::LoseReply), (1, Fault::CutReply)] {
        let mut client = connection(&proxy.url()).await;
        let mut lost = proxy.inject("INCR", fault);
        increment(&mut client).await.unwrap_err();
        lost.struck(1).await;
        assert_eq!(count(&redis).await, before + 1);
    }
}

#[tokio::test]
async fn held_calls_go_on_once_the_gate_is_open() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let (request, reply) = (Gate::default(), Gate::default());
    for (carried_out, fault, gate) in [
        (0, Fault::HoldRequest(request.clone()), request),
        (2, Fault::HoldReply(reply.clone()), reply),
    ] {
        let mut client = connection(&proxy.url()).await;
        let mut held = proxy.inject("INCR", fault);
        let call = tokio::spawn(async move { increment(&mut client).await });
        held.struck(1).await;
        assert_eq!(count(&redis).await, carried_out);
        assert!(!call.is_finished());
        gate.open();
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer, count(&redis).await);
    }
}

#[tokio::test]
async fn refused_calls_are_answered_in_their_turn() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let mut client = connection(&proxy.url()).await;
    proxy.inject_at("INCR", 1, 2, Fault::Refuse("NOREPLICAS too few"));
    let mut calls = [client.clone(), client.clone(), client.clone()];
    let [first, second, third] = &mut calls;
    let (first, second, third) =
        tokio::join!(increment(first), increment(second), increment(third));
    assert_eq!(first.unwrap(), 1);
    for refused in [second, third] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("too few"), "{error}");
    }
    assert_eq!(increment(&mut client).await.unwrap(), 2);
    assert_eq!(proxy.calls("INCR"), 4);
}

#[tokio::test]
async fn scripts_are_known_by_name_and_the_clear_port_has_no_faults() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let ring = async |url: &str| {
        Queue::new(
            Redis::connect(url).await.unwrap(),
            "bull",
            &"ring".parse().unwrap(),
        )
    };
    let (faulty, clear) = (ring(&proxy.url()).await, ring(&proxy.clear_url()).await);
    let mut refused = proxy.inject("state", Fault::Refuse("MISCONF no disk"));
    clear.state("1").await.unwrap();
    faulty.state("1").await.unwrap_err();
    refused.struck(1).await;
    faulty.state("1").await.unwrap();
    assert_eq!(proxy.calls("state"), 2);
}

#[tokio::test]
async fn slow_link_takes_its_time_both_ways_and_shares_it() {
    const BYTES: usize = 100_000;
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let (mut one, mut other) = (
        connection(&proxy.url()).await,
        connection(&proxy.url()).await,
    );
    proxy.throttle(4 * BYTES);
    let started = Instant::now();
    let text = "x".repeat(BYTES);
    let set = redis::cmd("SET")
        .arg("text")
        .arg(&text)
        .exec_async(&mut one)
        .await;
    set.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(245));
    let get = tokio::spawn(async move {
        let got: redis::RedisResult<String> =
            redis::cmd("GET").arg("text").query_async(&mut one).await;
        got.unwrap().len()
    });
    eventually("the reply is under way", async || {
        (proxy.calls("GET") == 1).then_some(())
    })
    .await;
    // Another connection is not kept waiting until the large reply has passed.
    assert_eq!(increment(&mut other).await.unwrap(), 1);
    assert!(!get.is_finished());
    assert_eq!(get.await.unwrap(), BYTES);
    assert!(started.elapsed() >= Duration::from_millis(490));
}
