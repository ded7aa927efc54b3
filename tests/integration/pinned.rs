//! Pinned jobs: each continues on the version that it started on, as long as the host or Redis has it.

use serde_json::json;
use tempfile::{TempDir, tempdir};
use toril::queue::{JobState, Queue};
use toril::sandbox::Digest;

use crate::fault_proxy::{Fault, FaultProxy};
use crate::harness::{TestHost, TestRedis, eventually, new_job, reaches, toril, version};

const QUEUE: &str = "[queues.ring]\npinned = true\n";
/// Longer than any test.
const LONG_MS: u64 = 3_600_000;

/// A queue whose active version is `good-00001`, with no host.
struct Stage {
    redis: TestRedis,
    queue: Queue,
    dir: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let stage = Stage {
            queue: redis.queue("ring").await,
            redis,
            dir: tempdir().unwrap(),
        };
        stage.deploys("good-00001", &[]).await;
        stage
    }

    async fn does(&self, arguments: &[&str]) {
        let output = toril(&self.redis, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    async fn deploys(&self, name: &str, options: &[&str]) {
        let file = self.dir.path().join(format!("{name}.wasm"));
        std::fs::write(&file, version(name)).unwrap();
        let file = file.display().to_string();
        let arguments = [&["deploy", "ring", &file, "--wait", "0"], options].concat();
        self.does(&arguments).await;
    }

    /// Adds a job whose first attempt fails, and whose second one waits until it is promoted.
    async fn add(&self) -> String {
        let options = json!({ "attempts": 2, "backoff": LONG_MS });
        let job = new_job("in-two-steps", json!([]), options);
        self.queue.add(&job).await.unwrap()
    }

    /// Adds a job whose first attempt has run on this version, on another host.
    async fn add_begun(&self, name: &str) -> String {
        let options = json!({ "attempts": 2, "delay": LONG_MS });
        let job = new_job("in-two-steps", json!([name]), options);
        let id = self.queue.add(&job).await.unwrap();
        let (key, digest) = (format!("bull:ring:{id}"), Digest::of(&version(name)));
        let pin = [
            "HSET",
            &key,
            "torilVersion",
            &digest,
            "ats",
            "1",
            "atm",
            "1",
        ];
        let _: i64 = self.redis.command(&pin).await;
        id
    }

    /// Waits for the first attempt of a job. One that its host has not run comes back later, and nothing of an attempt is noted.
    async fn failed_once(&self, id: &str) {
        eventually("its first attempt fails", async || {
            let job = self.queue.job(id).await.ok()??;
            job.contains_key("atm").then_some(())
        })
        .await;
    }

    /// Runs the second attempt of a job; returns the versions that ran the two.
    async fn ran(&self, id: &str) -> String {
        self.queue.promote(id).await.unwrap();
        let job = reaches(&self.queue, id, JobState::Completed).await;
        job["returnvalue"].as_str().unwrap().to_owned()
    }
}

/// A host whose calls the proxy may refuse.
async fn served_through(proxy: &FaultProxy) -> TestHost {
    let config = format!("redis = \"{}\"\n{QUEUE}", proxy.url());
    let mut host = TestHost::spawn(&config, &[]);
    host.logs("serving").await;
    host
}

#[tokio::test]
async fn version_that_was_rolled_back_goes_on_with_its_jobs_on_a_new_host() {
    let stage = Stage::start().await;
    stage.deploys("good-00002", &[]).await;
    let host = TestHost::serve(&stage.redis, QUEUE).await;
    let id = stage.add().await;
    reaches(&stage.queue, &id, JobState::Delayed).await;
    host.kill().await;
    stage.does(&["rollback", "ring", "--wait", "0"]).await;
    let host = TestHost::serve(&stage.redis, QUEUE).await;
    assert_eq!(stage.ran(&id).await, "[\"good-00002\",\"good-00002\"]");
    host.stop().await;
}

#[tokio::test]
async fn candidate_goes_on_with_its_jobs_on_a_host_that_has_not_heard_of_it() {
    let stage = Stage::start().await;
    let proxy = FaultProxy::start(&stage.redis).await;
    let host = served_through(&proxy).await;
    let refusal = Fault::Refuse("ERR not now");
    let mut deaf = proxy.inject_at("sync", 0, usize::MAX, refusal);
    deaf.struck(1).await;
    stage.deploys("good-00002", &["--canary", "100%"]).await;
    let id = stage.add_begun("good-00002").await;
    assert_eq!(stage.ran(&id).await, "[\"good-00002\",\"good-00002\"]");
    // Nobody goes on with a candidate that was aborted, also where it ran.
    stage.does(&["abort", "ring"]).await;
    let id = stage.add_begun("good-00002").await;
    assert_eq!(stage.ran(&id).await, "[\"good-00002\",\"good-00001\"]");
    host.stop().await;
}

/// A job is taken with the active version noted; that it goes to the candidate is known only then.
#[tokio::test]
async fn job_does_not_begin_before_its_version_is_noted() {
    for refusal in ["ERR not now", "NOPERM no rights"] {
        let stage = Stage::start().await;
        stage.deploys("good-00002", &["--canary", "100%"]).await;
        let proxy = FaultProxy::start(&stage.redis).await;
        let host = served_through(&proxy).await;
        let mut refused = proxy.inject("write_job", Fault::Refuse(refusal));
        let id = stage.add().await;
        refused.struck(1).await;
        stage.failed_once(&id).await;
        assert_eq!(stage.ran(&id).await, "[\"good-00002\",\"good-00002\"]");
        host.stop().await;
    }
}

#[tokio::test]
async fn job_whose_version_finds_no_memory_to_be_noted_is_told_and_runs_later() {
    let stage = Stage::start().await;
    stage.deploys("good-00002", &["--canary", "100%"]).await;
    let proxy = FaultProxy::start(&stage.redis).await;
    let mut host = served_through(&proxy).await;
    let full = Fault::Refuse("OOM command not allowed when used memory > 'maxmemory'.");
    let _refused = proxy.inject_at("write_job", 0, usize::MAX, full);
    let id = stage.add().await;
    host.logs("job could not be pinned to its version").await;
    proxy.clear();
    stage.failed_once(&id).await;
    assert_eq!(stage.ran(&id).await, "[\"good-00002\",\"good-00002\"]");
    host.stop().await;
}

#[tokio::test]
async fn nobody_goes_on_with_an_aborted_candidate_that_was_active_before() {
    let stage = Stage::start().await;
    stage.deploys("good-00002", &[]).await;
    stage.does(&["rollback", "ring", "--wait", "0"]).await;
    stage.deploys("good-00002", &["--canary", "100%"]).await;
    stage.does(&["abort", "ring"]).await;
    let host = TestHost::serve(&stage.redis, QUEUE).await;
    let id = stage.add_begun("good-00002").await;
    assert_eq!(stage.ran(&id).await, "[\"good-00002\",\"good-00001\"]");
    host.stop().await;
}
