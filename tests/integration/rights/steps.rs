//! Steps of a processor that has a secret: their names are stored and shown, and their values go to later attempts.

use serde_json::{Map, Value, json};
use toril::queue::{JobState, Queue};

use crate::harness::{TestHost, TestRedis, add, new_job, queue_section, reaches, toril};

const SECRET: &str = "hunter22-planted";

struct Stage {
    redis: TestRedis,
    host: TestHost,
    ring: Queue,
}

impl Stage {
    async fn start() -> Self {
        let redis = TestRedis::start(false).await;
        let grants = "[queues.ring.grants]\nqueues = [\"parts\"]\nconfig.region = \"eu\"\nsecrets.SECRET = { env = \"PLANTED\" }";
        let section = queue_section("ring", "fixture-rights", grants);
        let config = format!("redis = \"{}\"\n{section}", redis.server.url());
        let env = [("PLANTED", SECRET)];
        let mut host = TestHost::spawn_with(&config, &["--log", "trace"], &env);
        host.logs("serving").await;
        let ring = redis.queue("ring").await;
        Stage { redis, host, ring }
    }

    /// What the command line shows of a job, for people and for programs.
    async fn shown(&self, id: &str) -> String {
        let mut shown = String::new();
        for arguments in [&["job", "ring", id][..], &["job", "ring", id, "--json"]] {
            let output = toril(&self.redis, arguments).await;
            assert!(output.status.success());
            shown += &String::from_utf8(output.stdout).unwrap();
        }
        shown
    }

    /// The log of the host to its end has no secret in it.
    async fn ends(mut self) {
        self.host.signal("TERM");
        assert!(self.host.ended().await.success());
        let log = self.host.log();
        assert!(log.contains(" TRACE "), "{log}");
        assert_eq!(log.lines().find(|line| line.contains(SECRET)), None);
    }
}

fn fields(job: &Map<String, Value>) -> String {
    Value::Object(job.clone()).to_string()
}

#[tokio::test]
async fn step_whose_name_has_a_secret_in_it_is_refused_and_stored_nowhere() {
    let stage = Stage::start().await;
    for kind in ["step", "sleep", "cursor", "call"] {
        let id = add(&stage.ring, "step-named-after-secret", json!(kind)).await;
        let job = reaches(&stage.ring, &id, JobState::Failed).await;
        let reason = job["failedReason"].as_str().unwrap();
        let refused = "name of a step contains a secret and would be stored";
        assert!(reason.ends_with(refused), "{kind}: {reason}");
        assert!(!fields(&job).contains(SECRET), "{kind}: {job:?}");
        assert!(!stage.shown(&id).await.contains(SECRET), "{kind}");
    }
    let keys: Vec<String> = stage.redis.command(&["KEYS", "*"]).await;
    let shows = |key: &&String| key.contains(SECRET) || key.starts_with("bull:parts:");
    assert_eq!(keys.iter().find(shows), None, "a child was added");
    stage.ends().await;
}

#[tokio::test]
async fn value_of_a_step_is_kept_as_it_is_and_not_logged() {
    let stage = Stage::start().await;
    let job = new_job("step-keeps-secret", json!(null), json!({ "attempts": 2 }));
    let id = stage.ring.add(&job).await.unwrap();
    let job = reaches(&stage.ring, &id, JobState::Completed).await;
    // The second attempt got it from Redis.
    assert_eq!(job["returnvalue"], SECRET.len().to_string());
    assert_eq!(job["atm"], "2");
    assert_eq!(job["failedReason"], "*** is not taken");
    let stacks = job["stacktrace"].as_str().unwrap();
    assert!(!stacks.contains(SECRET), "{stacks}");
    assert!(stage.shown(&id).await.contains(SECRET), "the kept value");
    stage.ends().await;
}
