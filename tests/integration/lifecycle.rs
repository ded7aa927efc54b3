//! Starting, stopping, swapping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use toril::private_redis::PrivateRedis;
use toril::queue::{JobState, Queue, QueueName, Redis};

use crate::harness::{
    TestHost, TestRedis, add, eventually, handwritten, processor, queue_section, reaches,
    reserved_port, waits_for_a_marker,
};

#[tokio::test]
async fn host_waits_for_a_redis_that_is_not_there_yet() {
    let (dir, (_reserved, port)) = (tempdir().unwrap(), reserved_port());
    let config = format!(
        "redis = \"redis://127.0.0.1:{port}\"\n{}",
        queue_section("ring", "fixture-noop", "")
    );
    let mut host = TestHost::spawn(&config, &[]);
    host.logs("redis does not answer, trying again").await;
    let redis = PrivateRedis::start(dir.path(), port, false).await.unwrap();
    host.logs("serving").await;
    let queue = Queue::new(
        Redis::connect(&redis.url()).await.unwrap(),
        "bull",
        &QueueName::new("ring").unwrap(),
    );
    let id = add(&queue, "any", json!(null)).await;
    reaches(&queue, &id, JobState::Completed).await;
    host.stop().await;
}

#[tokio::test]
async fn host_can_be_stopped_while_it_waits_for_redis() {
    let (_reserved, port) = reserved_port();
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
    let (_reserved, port) = reserved_port();
    let arguments = ["--local-redis-port", &port.to_string()];
    let config = queue_section("ring", "fixture-noop", "");
    let mut host = TestHost::spawn(&config, &arguments);
    host.logs("started our own").await;
    host.logs("serving").await;
    let url = format!("redis://127.0.0.1:{port}");
    let queue = Queue::new(
        Redis::connect(&url).await.unwrap(),
        "bull",
        &QueueName::new("ring").unwrap(),
    );
    let id = add(&queue, "any", json!(null)).await;
    reaches(&queue, &id, JobState::Completed).await;
    let data = host.dir.path().join(".toril/redis");
    // A directory since Redis 7.
    let logs = ["appendonlydir", "appendonly.aof"];
    assert!(logs.iter().any(|log| data.join(log).exists()));
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
    host.logs("using the one that runs on this machine").await;
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
    // It must still run when the host hears that it should stop.
    let running = add(&queue, "sleep", json!(2_000)).await;
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
async fn host_ends_soon_after_its_grace_time_also_while_redis_does_not_answer() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let config = format!(
        "grace_ms = 50\n{}",
        queue_section("ring", "fixture-misbehaving", "")
    );
    let mut host = TestHost::serve(&redis, &config).await;
    let id = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &id, JobState::Active).await;
    let server: String = redis.command(&["INFO", "server"]).await;
    let pid = server
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    let signal = |name: &str| {
        let kill = std::process::Command::new("kill")
            .args(["-s", name, pid.unwrap()])
            .status();
        assert!(kill.unwrap().success());
    };
    signal("STOP");
    host.signal("TERM");
    let ended = host.ended().await;
    signal("CONT");
    assert!(ended.success());
    assert!(
        host.log()
            .contains("not all jobs could be returned to the queue"),
        "{}",
        host.log()
    );
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
    let old = add(&queue, "sleep", json!(2_000)).await;
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
async fn job_that_comes_behind_a_call_under_way_is_not_forgotten() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let (url, hold) = slow_replies(&redis.server.url()).await;
    // So many that a call leaves room: it asks for no more than half of them.
    let section = "concurrency = 50\ndrain_delay_ms = 3600000";
    let section = queue_section("ring", "fixture-misbehaving", section);
    let mut host = TestHost::spawn(&format!("redis = \"{url}\"\n{section}"), &[]);
    host.logs("serving").await;
    let blocked = async || waits_for_a_marker(&redis).await;
    let first = add(&queue, "sleep", json!(1000)).await;
    reaches(&queue, &first, JobState::Active).await;
    eventually("the host waits for a marker beside its job", blocked).await;
    hold.send_replace(true);
    // Redis has settled it and found no other job; the host does not know that yet.
    reaches(&queue, &first, JobState::Completed).await;
    let second = add(&queue, "sleep", json!(0)).await;
    let told = async || blocked().await.is_none().then_some(());
    eventually("the host is told of the second job", told).await;
    hold.send_replace(false);
    reaches(&queue, &second, JobState::Completed).await;
    host.stop().await;
}

#[tokio::test]
async fn job_of_a_call_under_way_is_given_back_with_the_others() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let (url, hold) = slow_replies(&redis.server.url()).await;
    let section = queue_section("ring", "fixture-misbehaving", "");
    let mut host = TestHost::spawn(&format!("redis = \"{url}\"\n{section}"), &[]);
    host.logs("serving").await;
    let blocked = async || waits_for_a_marker(&redis).await;
    eventually("the host waits for a marker", blocked).await;
    hold.send_replace(true);
    // Redis has given it out; the host does not know that yet.
    let taken = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &taken, JobState::Active).await;
    host.signal("TERM");
    host.logs("stopping").await;
    host.signal("TERM");
    host.logs("second signal").await;
    hold.send_replace(false);
    assert!(host.ended().await.success());
    let job = reaches(&queue, &taken, JobState::Waiting).await;
    assert!(!job.contains_key("atm"), "no attempt is spent: {job:?}");
}

/// Stands in front of Redis, and can hold back what it answers; not what it answers to those that wait for a
/// marker.
async fn slow_replies(redis_url: &str) -> (String, watch::Sender<bool>) {
    let redis = redis_url.trim_start_matches("redis://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (hold, held) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let redis = TcpStream::connect(&redis).await.unwrap();
            tokio::spawn(pass_on(client, redis, held.clone()));
        }
    });
    (url, hold)
}

async fn pass_on(client: TcpStream, redis: TcpStream, mut held: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_redis, mut to_redis) = redis.into_split();
    let waits_for_markers = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&waits_for_markers);
    tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            let blocking = bytes[..count].windows(8).any(|word| word == b"BZPOPMIN");
            waits.fetch_or(blocking, Ordering::SeqCst);
            to_redis.write_all(&bytes[..count]).await.unwrap();
        }
    });
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from_redis.read(&mut bytes).await {
        if !waits_for_markers.load(Ordering::SeqCst) {
            let _ = held.wait_for(|held| !held).await;
        }
        if to_client.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
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

#[tokio::test]
async fn component_that_the_compiler_refuses_ends_the_start_of_all_queues() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let file = dir.path().join("trap.wasm");
    let trap = handwritten(
        r#"(memory (export "memory") 1)
           (func (export "process") (param i32) (result i32) unreachable)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
           (func $start unreachable) (start $start)"#,
    );
    std::fs::write(&file, trap).unwrap();
    let config = format!(
        "redis = \"{}\"\n[queues.trap]\nprocessor = {file:?}\n{}",
        redis.server.url(),
        queue_section("ring", "fixture-noop", "")
    );
    let mut host = TestHost::spawn(&config, &[]);
    assert!(!host.ended().await.success());
    let says = async || {
        host.log()
            .contains("failed to instantiate component")
            .then_some(())
    };
    eventually("it says why", says).await;
    assert!(host.log().contains("queue `trap`"), "{}", host.log());
}

#[tokio::test]
async fn data_has_one_redis_also_when_the_host_was_killed() {
    let (_reserved, port) = reserved_port();
    let arguments = ["--local-redis-port", &port.to_string()];
    let config = queue_section("ring", "fixture-noop", "");
    let mut host = TestHost::spawn(&config, &arguments);
    host.logs("serving").await;
    let dir = host.dir.path().join(".toril/redis");
    host.signal("KILL");
    host.ended().await;
    let (_reserved, other) = reserved_port();
    let error = PrivateRedis::start(&dir, other, true).await.err();
    let error = format!("{:#}", error.unwrap());
    assert!(error.contains("another Redis uses it"), "{error}");
    toril::private_redis::stop_orphan(&dir, port).await.unwrap();
    let redis = PrivateRedis::start(&dir, port, true).await.unwrap();
    redis.stop().await.unwrap();
}

/// One that was killed may have left a process that still writes.
#[tokio::test]
async fn data_that_is_free_in_a_moment_is_waited_for() {
    let (dir, (_reserved, port)) = (tempdir().unwrap(), reserved_port());
    let lock = std::fs::File::create(dir.path().join("server.lock")).unwrap();
    lock.try_lock().unwrap();
    let path = dir.path().to_owned();
    let started = tokio::spawn(async move { PrivateRedis::start(&path, port, false).await });
    // It meets the lock.
    tokio::task::yield_now().await;
    drop(lock);
    started.await.unwrap().unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn host_whose_log_nobody_reads_goes_on() {
    let redis = TestRedis::start(false).await;
    let dir = tempdir().unwrap();
    let config = queue_section("ring", "fixture-misbehaving", "concurrency = 50");
    let config = format!("redis = \"{}\"\n{config}", redis.server.url());
    std::fs::write(dir.path().join("toril.toml"), config).unwrap();
    // A pipe that is full after some hundred lines.
    let (_unread, log) = std::io::pipe().unwrap();
    let mut host = tokio::process::Command::new(crate::harness::TORIL)
        .arg("serve")
        .current_dir(dir.path())
        .env_remove("TORIL_REDIS")
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let queue = redis.queue("ring").await;
    let mut last = String::new();
    for _ in 0..2000 {
        last = add(&queue, "panic", json!(null)).await;
    }
    reaches(&queue, &last, JobState::Failed).await;
    host.kill().await.unwrap();
}
