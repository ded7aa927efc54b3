//! Bytes that are no text, which any producer can write: each reply that has text in it shows them as U+FFFD.

use std::time::Duration;

use toril_queue::{
    ChildOutcome, Dependencies, DependenciesQuery, FlowQuery, Job, Page, Queue, QueueError,
};

use crate::harness::{TestRedis, add, take};

const BAD: &[u8] = b"\"a\xff\"";
const SHOWN: &str = "\"a\u{fffd}\"";

async fn write(redis: &TestRedis, command: &str, key: &str, parts: &[&[u8]]) {
    let mut call = redis::cmd(command);
    call.arg(key).arg(parts);
    let _: redis::Value = call.query_async(&mut redis.raw.clone()).await.unwrap();
}

/// A job whose data, options, log and children are all damaged, each of them beside a sound one.
async fn damaged(redis: &TestRedis) -> (Queue, Job) {
    let queue = redis.queue("paint").await;
    add(&queue, &["p"]).await;
    let job = "bull:paint:p";
    let fields: &[&[u8]] = &[b"data", BAD, b"returnvalue", BAD, b"f\xff", b"\xfe"];
    write(redis, "HSET", job, fields).await;
    write(redis, "RPUSH", "bull:paint:p:logs", &[b"sound", BAD]).await;
    let pairs: &[&[u8]] = &[b"bull:paint:\xff", BAD, b"bull:paint:sound", b"1"];
    write(redis, "HSET", "bull:paint:p:processed", pairs).await;
    write(redis, "HSET", "bull:paint:p:failed", pairs).await;
    let names: &[&[u8]] = &[b"bull:paint:w\xff"];
    write(redis, "SADD", "bull:paint:p:dependencies", names).await;
    let scored: &[&[u8]] = &[b"1", b"bull:paint:u\xff"];
    write(redis, "ZADD", "bull:paint:p:unsuccessful", scored).await;
    let taken = take(&queue, 1, "worker:1").await.pop().unwrap();
    (queue, taken)
}

#[tokio::test]
async fn job_whose_fields_are_no_text_is_taken_and_shown() {
    let redis = TestRedis::start().await;
    let (queue, job) = damaged(&redis).await;
    assert_eq!(job.data, SHOWN);
    let shown = queue.job("p").await.unwrap().unwrap();
    assert_eq!(shown["data"], SHOWN);
    assert_eq!(shown["f\u{fffd}"], "\u{fffd}");
    assert_eq!(queue.logs("p", 9).await.unwrap(), ["sound", SHOWN]);
    let (flows, query) = (queue.flows(), FlowQuery::default());
    let name = queue.keys().queue_name();
    let flow = flows.get(name, "p", query).await.unwrap().unwrap();
    assert_eq!(flow.returnvalue.unwrap().get(), SHOWN);
}

#[tokio::test]
async fn child_whose_bytes_are_no_text_hides_no_other() {
    let redis = TestRedis::start().await;
    let (queue, _) = damaged(&redis).await;
    for pairs in [
        queue.children_values("p").await.unwrap(),
        queue.ignored_children_failures("p").await.unwrap(),
    ] {
        assert_eq!(pairs["bull:paint:\u{fffd}"], SHOWN);
        assert_eq!(pairs["bull:paint:sound"], "1");
    }
    let page = Some(Page::default());
    let pages = DependenciesQuery {
        processed: page,
        unprocessed: page,
        ignored: page,
        failed: page,
    };
    for query in [DependenciesQuery::default(), pages] {
        let Dependencies {
            processed,
            unprocessed,
            ignored,
            failed,
            ..
        } = queue.dependencies("p", &query).await.unwrap();
        assert_eq!(processed.unwrap()["bull:paint:\u{fffd}"].get(), SHOWN);
        assert_eq!(ignored.unwrap()["bull:paint:\u{fffd}"], SHOWN);
        assert_eq!(unprocessed.unwrap(), ["bull:paint:w\u{fffd}"]);
        assert_eq!(failed.unwrap(), ["bull:paint:u\u{fffd}"]);
    }
    let pending = queue.pending_children("p").await.unwrap();
    assert_eq!(pending[0].1, "w\u{fffd}");
    let pairs: &[&[u8]] = &[b"bull:paint:c", BAD];
    write(&redis, "HSET", "bull:paint:p:processed", pairs).await;
    let outcome = queue.child_outcome("p", "bull:paint:c", 1000).await;
    assert_eq!(outcome.unwrap(), ChildOutcome::Completed(SHOWN.to_owned()));
}

#[tokio::test]
async fn scheduler_whose_bytes_are_no_text_is_shown() {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    write(
        &redis,
        "ZADD",
        "bull:paint:repeat",
        &[b"5", b"a\xff", b"6", b"b"],
    )
    .await;
    let fields: &[&[u8]] = &[b"name", b"n\xff", b"data", BAD, b"every", b"\xff"];
    write(&redis, "HSET", "bull:paint:repeat:b", fields).await;
    let all = queue.schedulers(0, -1, true).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["name"].get(), "\"n\u{fffd}\"");
    assert!(queue.scheduler("b").await.unwrap().is_some());
}

#[tokio::test]
async fn event_whose_bytes_are_no_text_stops_no_reader() -> Result<(), QueueError> {
    let redis = TestRedis::start().await;
    let queue = redis.queue("paint").await;
    let mut events = queue.events(Some("0")).await?;
    for reason in [BAD, b"sound"] {
        let parts: &[&[u8]] = &[b"*", b"event", b"failed", b"failedReason", reason];
        write(&redis, "XADD", "bull:paint:events", parts).await;
    }
    let read = events.next(Duration::from_secs(20)).await?;
    let reasons = read.iter().map(|event| &*event.fields["failedReason"]);
    assert_eq!(reasons.collect::<Vec<_>>(), [SHOWN, "sound"]);
    Ok(())
}
