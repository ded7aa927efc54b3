//! Measures what settling and fetching costs Redis: µs per job, and commands per job, at several batch sizes.
//!
//! `cargo run --release -p toril-queue --example redis_time -- redis://127.0.0.1:PORT`. It empties that Redis.

#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::sync::Arc;

use redis::AsyncCommands as _;
use serde_json::Map;
use toril_queue::{Fetch, KeepJobs, NewJob, Queue, QueueName, Redis, Settlement, SettlementKind};

const JOBS: usize = 20_000;
const ROUNDS: usize = 5;

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args()
        .nth(1)
        .ok_or("name the URL of a Redis that may be emptied")?;
    let mut raw = redis::Client::open(url.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    let queue = Queue::new(Redis::connect(&url).await?, "bull", &QueueName::new("q")?);
    for batch in [25, 1] {
        let mut best = f64::MAX;
        let mut calls = 0.0;
        for _ in 0..ROUNDS {
            redis::cmd("FLUSHALL").exec_async(&mut raw).await?;
            let job = NewJob::new("paint", "{\"colour\":\"blue\"}", Map::new())?;
            for _ in 0..JOBS / 1000 {
                queue.add_bulk(&vec![job.clone(); 1000]).await?;
            }
            redis::cmd("CONFIG")
                .arg("RESETSTAT")
                .exec_async(&mut raw)
                .await?;
            drain(&queue, batch).await?;
            let stats: String = redis::cmd("INFO")
                .arg("commandstats")
                .query_async(&mut raw)
                .await?;
            best = best.min(stat(&stats, "evalsha", "usec=") / JOBS as f64);
            calls = total_calls(&stats) / JOBS as f64;
            let done: usize = raw.zcard("bull:q:completed").await?;
            if done != JOBS {
                return Err(format!("{done} of {JOBS} completed").into());
            }
        }
        println!(
            "batch {batch}: {best:.3} µs per job (best of {ROUNDS}), {calls:.3} commands per job"
        );
    }
    Ok(())
}

async fn drain(queue: &Queue, batch: usize) -> Result<(), Error> {
    let mut settlements = Vec::new();
    for call in 0.. {
        let fetch = Fetch {
            worker: None,
            lock_ms: 30_000,
            want: batch,
            bytes_max: usize::MAX,
            token: Arc::from(format!("token:{call}")),
            limiter: None,
            metrics_points: None,
            pin: None,
        };
        let settled = queue.settle_and_fetch(&settlements, &fetch).await?;
        settlements = settled
            .jobs
            .iter()
            .map(|job| {
                let kind = SettlementKind::Completed {
                    value: "null".into(),
                    attempts_made: 1,
                    keep: KeepJobs::ALL,
                };
                Settlement::new(job, kind)
            })
            .collect();
        if settlements.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// A figure of a command in `INFO commandstats`.
fn stat(stats: &str, command: &str, figure: &str) -> f64 {
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
    let value = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix(figure)));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn total_calls(stats: &str) -> f64 {
    let calls = stats
        .lines()
        .filter_map(|line| line.split_once(":calls=")?.1.split(',').next());
    calls.filter_map(|calls| calls.parse::<f64>().ok()).sum()
}
