//! Components on a slow link: on their way to Redis, and from there to the hosts.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use toril::queue::{JobState, Queue};

use crate::fault_proxy::FaultProxy;
use crate::harness::{
    TestHost, TestRedis, add, eventually, http_client, queue_section, reaches, toril_at, version,
};

/// So large that it takes longer than the host waits for a reply that makes no progress: 17 s and more.
const COMPONENT_BYTES: usize = 5_200_000;
const BYTES_PER_SECOND: usize = 300_000;
/// What a job of another queue may take meanwhile. It would take longer if it waited for the component.
const JOB_MAX: Duration = Duration::from_secs(12);

/// A version that is larger by a section that means nothing.
fn large(name: &str) -> Vec<u8> {
    let mut component = version(name);
    let bytes = COMPONENT_BYTES.saturating_sub(component.len());
    // A custom section: its id, its length in bits of seven, the length of its name, its name, and zeros.
    component.push(0);
    let mut length = bytes + 5;
    while length > 0x7f {
        component.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    component.push(length as u8);
    component.extend(b"\x04more");
    component.resize(component.len() + bytes, 0);
    component
}

/// A host behind a slow link. `ring` is at work while a component of `paint` is on its way.
struct Stage {
    redis: TestRedis,
    proxy: FaultProxy,
    host: TestHost,
    ring: Queue,
    /// A job whose lock is renewed meanwhile.
    long: String,
}

impl Stage {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let proxy = FaultProxy::start(&redis).await;
        let ring = "concurrency = 5\nlock_duration_ms = 9000\nmax_stalled_count = 0\nstalled_interval_ms = 1000";
        let ring = queue_section("ring", "fixture-misbehaving", ring);
        let paint = queue_section("paint", "fixture-version", "");
        let (url, admin) = (proxy.url(), "[admin]\nlisten = \"127.0.0.1:0\"");
        let config = format!("redis = \"{url}\"\n{ring}{paint}{admin}\n");
        let mut host = TestHost::spawn(&config, &[]);
        host.logs("serving").await;
        let queue = redis.queue("ring").await;
        let long = add(&queue, "wait-until-cancelled", json!(null)).await;
        reaches(&queue, &long, JobState::Active).await;
        proxy.throttle(BYTES_PER_SECOND);
        Stage {
            redis,
            proxy,
            host,
            ring: queue,
            long,
        }
    }

    fn admin_url(&self, path: &str) -> String {
        let log = self.host.log();
        let line = log
            .lines()
            .find(|line| line.contains("the admin API listens"));
        let address = line.and_then(|line| line.split("address=").nth(1)).unwrap();
        format!("http://{}{path}", address.trim_matches('"'))
    }

    /// Jobs of the other queue end in time until this has ended.
    async fn works_during<T>(&self, upload: JoinHandle<T>) -> T {
        let mut jobs = 0;
        while !upload.is_finished() {
            let started = Instant::now();
            let id = add(&self.ring, "fine", json!(null)).await;
            eventually("a job of another queue is done", async || {
                let log = || self.host.log();
                assert!(started.elapsed() < JOB_MAX, "it waits:\n{}", log());
                (self.ring.state(&id).await.ok()? == JobState::Completed).then_some(())
            })
            .await;
            jobs += 1;
        }
        assert!(jobs > 0, "the component was there before any job");
        let state = self.ring.state(&self.long).await.unwrap();
        let log = self.host.log();
        assert_eq!(state, JobState::Active, "its lock was lost:\n{log}");
        assert!(!log.contains("lock of a running job was lost"), "{log}");
        upload.await.unwrap()
    }

    async fn end(self) {
        self.proxy.throttle(0);
        self.host.kill().await;
    }
}

#[tokio::test]
async fn large_component_is_deployed_over_a_slow_link_and_holds_up_no_other_queue() {
    let stage = Stage::start().await;
    let file = stage.host.dir.path().join("large.wasm");
    std::fs::write(&file, large("good-00002")).unwrap();
    let (url, file) = (stage.proxy.url(), file.display().to_string());
    let deployed = tokio::spawn(async move {
        // Every host reads it over the same link.
        toril_at(&url, &["deploy", "paint", &file, "--wait", "120"]).await
    });
    let deployed = stage.works_during(deployed).await;
    let said = String::from_utf8_lossy(&deployed.stderr);
    assert!(deployed.status.success(), "{said}\n{}", stage.host.log());
    let states = String::from_utf8_lossy(&deployed.stdout);
    assert!(states.contains(": ok"), "the host was silent: {states}");
    let paint = stage.redis.queue("paint").await;
    let id = add(&paint, "any", json!(null)).await;
    let job = reaches(&paint, &id, JobState::Completed).await;
    assert_eq!(job["returnvalue"], "\"good-00002\"");
    stage.end().await;
}

/// Redis does not know the script yet, and the component is sent once all the same.
#[tokio::test]
async fn large_component_is_uploaded_through_a_host_on_a_slow_link() {
    let stage = Stage::start().await;
    let upload = http_client()
        .post(stage.admin_url("/v1/queues/paint/versions"))
        .body(large("good-00003"));
    let sent = tokio::spawn(async move { upload.send().await.unwrap() });
    let answer = stage.works_during(sent).await;
    assert_eq!(stage.proxy.calls("change"), 1, "it was sent once");
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    stage.end().await;
}
