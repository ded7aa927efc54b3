//! What is deployed on a queue, in Redis: each change, and how it is taken back.

use serde_json::json;
use tempfile::tempdir;
use toril::queue::Queue;
use toril::served_queue::deployment::{
    CanaryRecord, DeployError, Deployment, Deployments, Note, Upload,
};
use toril::versions::CanaryRule;

use crate::fault_proxy::{Fault, FaultProxy};
use crate::harness::{TestHost, TestRedis, add, eventually, toril, version};

/// A queue that no host serves.
struct Stage {
    deployments: Deployments,
    queue: Queue,
    redis: TestRedis,
}

fn digest(name: &str) -> String {
    format!("sha256:{name}")
}

impl Stage {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let queue = redis.queue("ring").await;
        Stage {
            deployments: Deployments::of(&queue),
            queue,
            redis,
        }
    }

    async fn deploy(&self, name: &str, rule: Option<&CanaryRule>) -> Deployment {
        let (digest, upload) = (digest(name), upload(name));
        let deployed = self.deployments.deploy(&digest, Some(&upload), rule);
        deployed.await.unwrap()
    }

    async fn withdraw(&self, made: &Deployment) -> Deployment {
        let withdrawn = self.deployments.withdraw(made.revision, "nobody took it");
        withdrawn.await.unwrap()
    }

    /// Stores versions that nobody deploys, more than are kept.
    async fn store_many(&self) {
        for n in 0..12 {
            // Digests are hexadecimal, as those in the reports of hosts are.
            let name = format!("f{n}");
            let (digest, upload) = (digest(&name), upload(&name));
            self.deployments.store(&digest, &upload).await.unwrap();
        }
    }

    /// What `rollback` makes active.
    async fn rolled_back(&self) -> Option<String> {
        match self.deployments.rollback(None).await {
            Ok(deployment) => deployment.active,
            Err(DeployError::NothingBefore(_) | DeployError::NothingDeployed(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn upload(name: &str) -> Upload<'_> {
    Upload {
        bytes: name.as_bytes(),
        note: Note::default(),
    }
}

fn half() -> CanaryRule {
    CanaryRule {
        percent: 50.0,
        ..CanaryRule::default()
    }
}

#[tokio::test]
async fn rollback_after_undeploy_goes_to_the_version_that_was_active() {
    let stage = Stage::start().await;
    stage.deploy("a", None).await;
    stage.deployments.undeploy().await.unwrap();
    assert_eq!(stage.rolled_back().await, Some(digest("a")));
    assert_eq!(stage.rolled_back().await, None, "nothing was before");
    stage.deploy("b", None).await;
    stage.deployments.undeploy().await.unwrap();
    assert_eq!(stage.rolled_back().await, Some(digest("b")));
    assert_eq!(stage.rolled_back().await, Some(digest("a")));
    assert_eq!(stage.rolled_back().await, None);
}

#[tokio::test]
async fn rollback_never_goes_to_the_active_version() {
    let stage = Stage::start().await;
    for name in ["d", "a", "b"] {
        stage.deploy(name, None).await;
    }
    // It is removed between two times that the same version was active.
    stage.deploy("a", None).await;
    let _: i64 = stage
        .redis
        .command(&["DEL", "toril:{bull:ring}:component:sha256:b"])
        .await;
    assert_eq!(stage.rolled_back().await, Some(digest("d")));
}

#[tokio::test]
async fn withdrawn_change_leaves_everything_as_it_was() {
    let stage = Stage::start().await;
    stage.deploy("a", None).await;
    stage.deploy("b", None).await;
    let canary = stage.deploy("c", Some(&half())).await.canary;
    assert!(canary.is_some());
    let stands = |now: Deployment| {
        assert_eq!(now.active, Some(digest("b")));
        assert_eq!(now.canary, canary);
    };
    stands(stage.withdraw(&stage.deploy("e", None).await).await);
    stands(stage.withdraw(&stage.deploy("a", None).await).await);
    stands(
        stage
            .withdraw(&stage.deploy("e", Some(&half())).await)
            .await,
    );
    let promoted = stage.deployments.promote().await.unwrap();
    stands(stage.withdraw(&promoted).await);
    let back = stage.deployments.rollback(None).await.unwrap();
    assert_eq!(back.active, Some(digest("a")));
    stands(stage.withdraw(&back).await);
    let first = digest("a");
    let back = stage.deployments.rollback(Some(&first)).await.unwrap();
    stands(stage.withdraw(&back).await);

    let stale = stage.deployments.withdraw(1, "late").await;
    assert!(matches!(stale, Err(DeployError::Changed(_))), "{stale:?}");
    assert_eq!(stage.rolled_back().await, Some(digest("a")), "history, too");

    // Nothing was active: nothing is again, and what was before that is not lost.
    stage.deployments.undeploy().await.unwrap();
    let back = stage.deployments.rollback(None).await.unwrap();
    assert_eq!(stage.withdraw(&back).await.active, None);
    assert_eq!(stage.rolled_back().await, Some(digest("a")));
}

#[tokio::test]
async fn version_to_go_back_to_is_kept_however_many_are_stored() {
    let stage = Stage::start().await;
    stage.deploy("a", None).await;
    stage.deploy("c", Some(&half())).await;
    stage.store_many().await;
    let made = stage.deploy("b", None).await;
    let now = stage.withdraw(&made).await;
    assert_eq!(now.active, Some(digest("a")));
    assert_eq!(now.canary.map(|canary| canary.digest), Some(digest("c")));
    stage.deploy("b", None).await;
    stage.store_many().await;
    assert_eq!(stage.rolled_back().await, Some(digest("a")));
}

#[tokio::test]
async fn active_version_is_no_candidate() {
    let stage = Stage::start().await;
    stage.deploy("a", None).await;
    let (digest, rule) = (digest("a"), half());
    let refused = stage.deployments.deploy(&digest, None, Some(&rule));
    let error = refused.await.unwrap_err();
    assert!(
        error.to_string().contains("compared with itself"),
        "{error}"
    );
    assert_eq!(stage.deployments.current().await.unwrap().canary, None);
}

#[tokio::test]
async fn reasons_are_bounded_and_belong_to_the_last_canary() {
    let stage = Stage::start().await;
    stage.deploy("a", None).await;
    stage.deploy("b", Some(&half())).await;
    let long = "x".repeat(5_000);
    let refused = stage.deployments.abort(&long).await.unwrap_err();
    assert!(refused.to_string().contains("4096 bytes"), "{refused}");
    let arguments = ["abort", "ring", "--reason", &long];
    assert_eq!(toril(&stage.redis, &arguments).await.status.code(), Some(1));
    let aborted = stage.deployments.abort("slow").await.unwrap().aborted;
    assert_eq!(aborted.unwrap().reason, "slow");
    let made = stage.deploy("c", Some(&half())).await;
    assert_eq!(made.aborted, None, "of the canary before");
    stage
        .deployments
        .withdraw(made.revision, &long)
        .await
        .unwrap();
    let changes = stage.deployments.changes().await.unwrap();
    assert_eq!(changes[0].reason.as_ref().map(String::len), Some(4096));
}

/// Serves the active version as the queue's file, and makes it the candidate: Redis does not know that they are the same.
async fn canary_of(stage: &Stage, host_redis: &str, candidate: &str) -> TestHost {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(format!("{name}.wasm"));
    for name in ["good-00001", candidate] {
        std::fs::write(path(name), version(name)).unwrap();
    }
    let config = format!("[queues.ring]\nprocessor = {:?}\n", path("good-00001"));
    let mut host = TestHost::spawn(&format!("redis = {host_redis:?}\n{config}"), &[]);
    host.logs("serving").await;
    let candidate = path(candidate).display().to_string();
    let arguments = ["deploy", "ring", &candidate, "--canary", "50%"];
    let deployed = toril(&stage.redis, &arguments).await;
    assert!(deployed.status.success(), "{deployed:?}");
    host
}

impl Stage {
    /// Runs jobs, and returns the canary once it counts as many.
    async fn counted(&self, jobs: u64) -> CanaryRecord {
        for _ in 0..jobs {
            add(&self.queue, "any", json!(null)).await;
        }
        eventually("all jobs are counted", async || {
            let canary = self.deployments.current().await.unwrap().canary.unwrap();
            let counts = canary.active.iter().chain(&canary.candidate);
            (counts.sum::<u64>() >= jobs).then_some(canary)
        })
        .await
    }
}

#[tokio::test]
async fn candidate_that_is_the_active_version_counts_its_share_only() {
    let stage = Stage::start().await;
    let host = canary_of(&stage, &stage.redis.server.url(), "good-00001").await;
    let canary = stage.counted(40).await;
    assert!(
        canary.active[0] > 0 && canary.candidate[0] > 0,
        "{canary:?}"
    );
    host.stop().await;
}

#[tokio::test]
async fn jobs_are_counted_once_though_replies_are_lost() {
    let stage = Stage::start().await;
    let proxy = FaultProxy::start(&stage.redis).await;
    let host = canary_of(&stage, &proxy.url(), "good-00002").await;
    // Whichever of these reports the jobs, the next one does so, too.
    let mut lost = proxy.inject_at("sync", 0, 10, Fault::LoseReply);
    stage.counted(20).await;
    lost.struck(10).await;
    let calls = proxy.calls("sync");
    eventually("the host reports again", async || {
        (proxy.calls("sync") > calls + 1).then_some(())
    })
    .await;
    let canary = stage.deployments.current().await.unwrap().canary.unwrap();
    let counts = canary.active.iter().chain(&canary.candidate);
    assert_eq!(counts.sum::<u64>(), 20, "{canary:?}");
    host.stop().await;
}

#[tokio::test]
async fn one_call_asks_for_the_deployments_of_all_queues() {
    let redis = TestRedis::start(false).await;
    let queues: String = (0..20).map(|n| format!("[queues.q{n}]\n")).collect();
    let host = TestHost::serve(&redis, &queues).await;
    let calls = async |command: &str| -> u64 {
        let stats: String = redis.command(&["INFO", "commandstats"]).await;
        let name = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&*name));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    let _: String = redis.command(&["CONFIG", "RESETSTAT"]).await;
    let reported = async || Some(calls("hset").await).filter(|reports| *reports >= 60);
    let reports = eventually("each queue is reported", reported).await;
    let asked = calls("evalsha").await;
    // Each queue's first look for stalled jobs may be among them.
    assert!(
        asked <= reports / 20 + 25,
        "{asked} calls for {reports} reports"
    );
    host.stop().await;
}
