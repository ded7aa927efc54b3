//! Machines whose clocks disagree with the clock of Redis.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use toril::queue::JobState;

use crate::harness::{TORIL, TestHost, TestRedis, new_job, reaches};

/// Between a program and the C library: its wall clock goes wrong by `CLOCK_OFFSET_S`.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = syscall(SYS_clock_gettime, clock, time);
  const char *offset = getenv("CLOCK_OFFSET_S");
  if (!failed && clock == CLOCK_REALTIME && offset) time->tv_sec += atol(offset);
  return failed;
}
"#;

async fn build_wrong_clock(dir: &TempDir) -> PathBuf {
    let (source, library) = (dir.path().join("clock.c"), dir.path().join("clock.so"));
    std::fs::write(&source, WRONG_CLOCK).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]);
    let built = compiler.arg(&library).arg(&source).status().await.unwrap();
    assert!(built.success(), "cc failed");
    library
}

/// The request was trimmed as too old by the clock of the machine that made it.
#[tokio::test]
async fn job_is_cancelled_from_a_machine_with_a_wrong_clock() {
    let dir = tempfile::tempdir().unwrap();
    let wrong_clock = build_wrong_clock(&dir).await;
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let host =
        TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "concurrency = 5").await;
    for offset_s in ["3600", "-3600"] {
        let job = new_job("sleep", json!(3_600_000), json!({}));
        let id = queue.add(&job).await.unwrap();
        reaches(&queue, &id, JobState::Active).await;
        let mut command = Command::new(TORIL);
        command.args(["job", "cancel", "ring", &id, "--redis"]);
        command.arg(redis.server.url()).stdin(Stdio::null());
        command.env("LD_PRELOAD", &wrong_clock);
        command.env("CLOCK_OFFSET_S", offset_s).kill_on_drop(true);
        let _cancelling = command.spawn().unwrap();
        let job = reaches(&queue, &id, JobState::Failed).await;
        assert_eq!(job["failedReason"], "job was cancelled", "{offset_s}");
    }
    host.stop().await;
}
