//! A machine that is short of something for a while: no component is refused for it, and no job pays for it.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tempfile::tempdir;
use toril::queue::{JobState, Queue};
use toril::sandbox::Digest;
use toril::served_queue::deployment::{Deployments, Note, Upload};

use crate::harness::{TestHost, TestRedis, add, completes, handwritten, new_job, reaches};

pub(crate) const MIB: u64 = 1 << 20;

/// A processor whose instances begin with so much memory, and whose jobs return a digit.
pub(crate) fn with_memory(mib: u64, returned: char) -> Vec<u8> {
    let pages = mib * 16;
    handwritten(&format!(
        r#"(memory (export "memory") {pages}) (data (i32.const 8) "\20\00\00\00\01\00\00\00") (data (i32.const 32) "{returned}")
           (func (export "process") (param i32) (result i32) local.get 0 call $drop i32.const 0)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#
    ))
}

/// Private memory of a process that can be written, in bytes: what `RLIMIT_DATA` limits.
pub(crate) fn data_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmData:")?.strip_suffix("kB"));
    kib.unwrap().trim().parse::<u64>().unwrap() * 1024
}

pub(crate) fn limit_data(pid: u32, bytes: Option<u64>) {
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
        std::fs::write(&file, with_memory(mib, '1')).unwrap();
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

/// A host that is short of memory, until it is not: its active version is small, and another one needs more memory than
/// the host can have.
struct ShortHost {
    redis: TestRedis,
    queue: Queue,
    host: TestHost,
    large: Vec<u8>,
}

impl ShortHost {
    async fn start(options: &str) -> Self {
        let redis = TestRedis::start(false).await;
        let queue = redis.queue("ring").await;
        let (small, large) = (with_memory(1, '1'), with_memory(256, '2'));
        for bytes in [&large, &small] {
            let note = Note::default();
            let (digest, upload) = (Digest::of(bytes), Upload { bytes, note });
            let deployments = Deployments::of(&queue);
            let deployed = deployments.deploy(&digest, Some(&upload), None).await;
            deployed.unwrap();
        }
        let config = format!(
            "{options}\n[queues.ring]\npinned = true\nlimits = {{ memory_bytes_max = {} }}\n",
            300 * MIB
        );
        let host = TestHost::serve(&redis, &config).await;
        assert_eq!(completes(&queue, "any", json!(null)).await, json!(1));
        limit_data(host.pid(), Some(data_bytes(host.pid()) + 64 * MIB));
        ShortHost {
            redis,
            queue,
            host,
            large,
        }
    }

    fn has_memory_again(&self) {
        limit_data(self.host.pid(), None);
    }
}

#[tokio::test]
async fn pinned_job_waits_for_the_memory_that_its_version_needs() {
    let mut short = ShortHost::start("").await;
    let queue = &short.queue;
    let job = new_job("any", json!(null), json!({ "delay": 3_600_000 }));
    let id = queue.add(&job).await.unwrap();
    // As another host leaves it after its first start.
    let (key, digest) = (format!("bull:ring:{id}"), Digest::of(&short.large));
    let pin = ["HSET", &key, "torilVersion", &digest, "ats", "1"];
    let _: i64 = short.redis.command(&pin).await;
    queue.promote(&id).await.unwrap();
    short
        .host
        .logs("the host failed to run a job, which runs again later")
        .await;
    // It comes back later, not at once and for ever.
    reaches(queue, &id, JobState::Delayed).await;
    short.has_memory_again();
    let job = reaches(queue, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "2", "no other version runs it");
    assert_eq!(job["ats"], "2", "a start that found no memory is not spent");
    short.host.stop().await;
}
