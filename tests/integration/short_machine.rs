//! A machine that is short of something for a while: no component is refused for it, and no job pays for it.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tempfile::tempdir;
use toril::queue::JobState;

use crate::harness::{TestHost, TestRedis, add, completes, handwritten, reaches};

const MIB: u64 = 1 << 20;

/// A processor whose instances begin with so much memory, and whose jobs return 1.
fn with_memory(mib: u64) -> Vec<u8> {
    let pages = mib * 16;
    handwritten(&format!(
        r#"(memory (export "memory") {pages}) (data (i32.const 8) "\20\00\00\00\01\00\00\00") (data (i32.const 32) "1")
           (func (export "process") (param i32) (result i32) local.get 0 call $drop i32.const 0)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#
    ))
}

/// Private memory of a process that can be written, in bytes: what `RLIMIT_DATA` limits.
fn data_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmData:")?.strip_suffix("kB"));
    kib.unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn limit_data(pid: u32, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Pid::from_raw(pid.cast_signed()), Resource::Data, limit).unwrap();
}

/// There is one place for instances, and an instance of the small component leaves it small.
#[tokio::test]
async fn instance_that_finds_no_memory_costs_its_job_no_attempt() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let mut config = "[runtime]\nexecutions_max = 1\nmemories_max = 1\n".to_owned();
    for (name, mib) in [("small", 1), ("large", 256)] {
        let file = dir.path().join(name);
        std::fs::write(&file, with_memory(mib)).unwrap();
        let limit = 300 * MIB;
        config += &format!(
            "[queues.{name}]\nprocessor = {file:?}\nlimits = {{ memory_bytes_max = {limit} }}\n"
        );
    }
    let mut host = TestHost::serve(&redis, &config).await;
    let small = redis.queue("small").await;
    assert_eq!(completes(&small, "any", json!(null)).await, json!(1));
    let pid = host.pid();
    limit_data(pid, Some(data_bytes(pid) + 64 * MIB));
    let large = redis.queue("large").await;
    let id = add(&large, "any", json!(null)).await;
    host.logs("the host failed to run a job, which runs again later")
        .await;
    assert!(host.log().contains("failed to make an instance"));
    limit_data(pid, None);
    let job = reaches(&large, &id, JobState::Completed).await;
    assert_eq!((&job["ats"], &job["atm"]), (&json!("1"), &json!("1")));
    host.stop().await;
}
