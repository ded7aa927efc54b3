//! Starting, stopping, swapping.

use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;
use toril::private_redis::PrivateRedis;
use toril::queue::{JobState, Queue, Redis};

use crate::harness::{TestHost, TestRedis, add, eventually, processor, queue_section, reaches};

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn host_waits_for_a_redis_that_is_not_there_yet() {
    let (dir, port) = (tempdir().unwrap(), free_port());
    let config = format!(
        "redis = \"redis://127.0.0.1:{port}\"\n{}",
        queue_section("ring", "fixture-noop", "")
    );
    let mut host = TestHost::spawn(&config, &[]);
    host.logs("redis does not answer, trying again").await;
    let redis = PrivateRedis::start(dir.path(), port, false).await.unwrap();
    host.logs("serving").await;
    let queue = Queue::new(Redis::connect(&redis.url()).await.unwrap(), "bull", "ring");
    let id = add(&queue, "any", json!(null)).await;
    reaches(&queue, &id, JobState::Completed).await;
    host.stop().await;
}

#[tokio::test]
async fn host_can_be_stopped_while_it_waits_for_redis() {
    let port = free_port();
    let config = format!(
        "redis = \"redis://127.0.0.1:{port}\"\n{}",
        queue_section("ring", "fixture-noop", "")
    );
    let mut host = TestHost::spawn(&config, &[]);
    host.logs("redis does not answer, trying again").await;
    host.stop().await;
}

#[tokio::test]
async fn host_without_a_redis_starts_its_own_and_stops_it() {
    let port = free_port();
    let arguments = ["--local-redis-port", &port.to_string()];
    let config = queue_section("ring", "fixture-noop", "");
    let mut host = TestHost::spawn(&config, &arguments);
    host.logs("started our own").await;
    host.logs("serving").await;
    let url = format!("redis://127.0.0.1:{port}");
    let queue = Queue::new(Redis::connect(&url).await.unwrap(), "bull", "ring");
    let id = add(&queue, "any", json!(null)).await;
    reaches(&queue, &id, JobState::Completed).await;
    assert!(host.dir.path().join(".toril/redis/appendonlydir").is_dir());
    host.signal("TERM");
    assert!(host.ended().await.success());
    assert!(host.log().contains("stopped our own redis"));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn host_uses_a_local_redis_that_answers_and_leaves_it_alone() {
    let redis = TestRedis::start(false).await;
    let arguments = ["--local-redis-port", &redis.server.port().to_string()];
    let mut host = TestHost::spawn(&queue_section("ring", "fixture-noop", ""), &arguments);
    host.logs("using the one that runs here").await;
    host.logs("serving").await;
    host.stop().await;
    assert_eq!(redis.command::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn stopping_lets_running_jobs_end() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host =
        TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "concurrency = 1").await;
    let running = add(&queue, "sleep", json!(200)).await;
    reaches(&queue, &running, JobState::Active).await;
    let waiting = add(&queue, "fine", json!(null)).await;
    host.stop().await;
    assert_eq!(queue.state(&running).await.unwrap(), JobState::Completed);
    assert_eq!(queue.state(&waiting).await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn second_signal_gives_running_jobs_back() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let busy = add(&queue, "spin", json!(3_600_000)).await;
    let asleep = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &busy, JobState::Active).await;
    reaches(&queue, &asleep, JobState::Active).await;
    host.signal("TERM");
    host.logs("stopping").await;
    host.signal("TERM");
    assert!(host.ended().await.success());
    for id in [busy, asleep] {
        let job = reaches(&queue, &id, JobState::Waiting).await;
        assert!(!job.contains_key("atm"), "no attempt is spent: {job:?}");
        let lock: bool = redis
            .command(&["EXISTS", &format!("bull:ring:{id}:lock")])
            .await;
        assert!(!lock);
    }
}

#[tokio::test]
async fn grace_time_ends_in_giving_back() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let config = format!(
        "grace_ms = 50\n{}",
        queue_section("ring", "fixture-misbehaving", "")
    );
    let host = TestHost::serve(&redis, &config).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    host.stop().await;
    assert_eq!(queue.state(&id).await.unwrap(), JobState::Waiting);
}

#[tokio::test]
async fn hangup_swaps_the_processor_and_running_jobs_end_on_the_old_one() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let dir = tempdir().unwrap();
    let file = dir.path().join("processor.wasm");
    std::fs::copy(processor("fixture-misbehaving"), &file).unwrap();
    let config = format!("[queues.ring]\nprocessor = {file:?}\n");
    let mut host = TestHost::serve(&redis, &config).await;
    let old = add(&queue, "sleep", json!(400)).await;
    reaches(&queue, &old, JobState::Active).await;

    std::fs::copy(processor("fixture-noop"), &file).unwrap();
    host.signal("HUP");
    host.logs("processor was swapped").await;
    let new = add(&queue, "sleep", json!(400)).await;
    assert_eq!(
        reaches(&queue, &new, JobState::Completed).await["returnvalue"],
        "1"
    );
    assert_eq!(
        reaches(&queue, &old, JobState::Completed).await["returnvalue"],
        "\"slept\""
    );

    std::fs::write(&file, b"\0asm not really").unwrap();
    host.signal("HUP");
    host.logs("swap was refused").await;
    let kept = add(&queue, "any", json!(null)).await;
    assert_eq!(
        reaches(&queue, &kept, JobState::Completed).await["returnvalue"],
        "1"
    );
    host.stop().await;
}

#[tokio::test]
async fn idle_host_takes_a_new_job_at_once() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    // Would an idle host poll, it would do so after an hour.
    let host =
        TestHost::serve_queue(&redis, "ring", "fixture-noop", "drain_delay_ms = 3600000").await;
    for _ in 0..20 {
        let id = add(&queue, "any", json!(null)).await;
        reaches(&queue, &id, JobState::Completed).await;
    }
    let delayed = crate::harness::new_job("any", json!(null), json!({ "delay": 50 }));
    let id = queue.add(&delayed).await.unwrap();
    reaches(&queue, &id, JobState::Completed).await;
    host.stop().await;
}

#[tokio::test]
async fn marker_connection_that_is_cut_is_opened_again() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host =
        TestHost::serve_queue(&redis, "ring", "fixture-noop", "drain_delay_ms = 3600000").await;
    let blocked = async || {
        let clients: String = redis.command(&["CLIENT", "LIST"]).await;
        let waiting = clients.lines().find(|line| line.contains("cmd=bzpopmin"))?;
        waiting
            .split(' ')
            .find_map(|part| part.strip_prefix("id="))
            .map(str::to_owned)
    };
    let id = eventually("the host waits for a marker", blocked).await;
    let _: i64 = redis.command(&["CLIENT", "KILL", "ID", &id]).await;
    let again = async || blocked().await.filter(|other| *other != id);
    tokio::time::timeout(Duration::from_secs(30), eventually("it waits again", again))
        .await
        .unwrap();
    let job = add(&queue, "any", json!(null)).await;
    reaches(&queue, &job, JobState::Completed).await;
    host.stop().await;
}
