//! Hosts die by `kill -9` inside steps and between them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::sync::mpsc;

use super::server::Server;
use super::{add, with_server};
use crate::harness::{TestHost, TestRedis, count, eventually};

const STEPS: u64 = 5;
/// Locks run out soon, so that a successor need not wait long. A job may stall as often as it likes.
const OPTIONS: &str = "concurrency = 20\nlock_duration_ms = 1000\nstalled_interval_ms = 300\nmax_stalled_count = 1000";

/// So many jobs, and after how many requests a host dies; more of both by `TORIL_STEP_JOBS`.
fn extent() -> (u64, u64) {
    let jobs = std::env::var("TORIL_STEP_JOBS").ok();
    let jobs = jobs.map_or(200, |jobs| jobs.parse().expect("a number"));
    // Coprime to the ten requests of a job, so that deaths fall on all of them.
    (jobs, (jobs * STEPS * 2 / 12).min(1_700) | 1)
}

#[tokio::test]
async fn no_finished_step_runs_twice_when_hosts_are_killed() {
    steps_run_once(TestRedis::start(false).await, false).await;
}

#[tokio::test]
async fn no_finished_step_runs_twice_when_redis_is_killed_as_well() {
    let redis = TestRedis::start(true).await;
    // What Redis answered is on the disk.
    let set = ["CONFIG", "SET", "appendfsync", "always"];
    let _: String = redis.command(&set).await;
    steps_run_once(redis, true).await;
}

async fn steps_run_once(mut redis: TestRedis, kills_redis: bool) {
    let server = Server::start().await;
    let queue = redis.queue("ring").await;
    let (jobs, deaths_apart) = extent();
    for _ in 0..jobs {
        let data = json!({ "count": STEPS, "url": server.url() });
        add(&queue, "steps", data, json!({})).await;
    }
    let twice = Arc::<Mutex<Vec<String>>>::default();
    let (kill, mut killed) = mpsc::unbounded_channel();
    let (noted, mut done, mut requests) = (Arc::clone(&twice), HashSet::new(), 0);
    server.hear(Box::new(move |path| {
        requests += 1;
        if requests % deaths_apart == 0 {
            // The last ones come when all is over.
            let _ = kill.send(());
        }
        match path.split_once('/') {
            Some(("done", step)) => drop(done.insert(step.to_owned())),
            Some((_, step)) if done.contains(step) => noted.lock().unwrap().push(step.to_owned()),
            _ => {}
        }
    }));
    let config = with_server(&server, OPTIONS);
    let mut hosts = Vec::new();
    for _ in 0..2 {
        hosts.push(TestHost::serve(&redis, &config).await);
    }
    let mut deaths = 0;
    loop {
        let ended = async || (count(&redis, "ring", "completed").await == jobs).then_some(());
        tokio::select! {
            Some(()) = killed.recv() => {}
            () = eventually("every job completes", ended) => break,
        }
        hosts.remove(0).kill().await;
        deaths += 1;
        if kills_redis && deaths % 4 == 2 {
            redis.server.kill().await.unwrap();
            redis.server.restart().await.unwrap();
        }
        hosts.push(TestHost::serve(&redis, &config).await);
    }
    assert!(deaths >= 5, "hosts died {deaths} times");
    assert_eq!(*twice.lock().unwrap(), Vec::<String>::new());
    assert_eq!(count(&redis, "ring", "failed").await, 0);
    for host in hosts {
        host.stop().await;
    }
}
