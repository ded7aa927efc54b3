//! A Redis of the test's own, and short ways to say what tests do.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tempfile::TempDir;
use toril_queue::{
    FailedAttempt, Fetch, FlowNode, FlowOptions, Job, KeepJobs, NewJob, Queue, QueueName, Redis,
    Settled, Settlement, SettlementKind, parse_flow,
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a socket in a directory of its own.
pub(crate) struct TestRedis {
    child: Child,
    url: String,
    pub(crate) raw: MultiplexedConnection,
    dir: TempDir,
}

impl TestRedis {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let url = format!("redis+unix://{}", socket.display());
        let client = redis::Client::open(url.as_str()).unwrap();
        let raw = eventually("redis-server answers", async || {
            client.get_multiplexed_async_connection().await.ok()
        })
        .await;
        TestRedis {
            child,
            url,
            raw,
            dir,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn queue(&self, name: &str) -> Queue {
        let redis = Redis::connect(&self.url).await.unwrap();
        Queue::new(redis, "bull", &QueueName::new(name).unwrap())
    }

    /// Runs a command, written as in `redis-cli`.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut built = redis::cmd(words.next().unwrap());
        for word in words {
            built.arg(word);
        }
        let reply = built.query_async(&mut self.raw.clone()).await;
        reply.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// All keys but the stream of events, with what is in them.
    pub(crate) async fn dump(&self) -> Vec<(String, Vec<Vec<u8>>)> {
        let mut keys: Vec<String> = self.run("KEYS *").await;
        keys.retain(|key| !key.ends_with(":events"));
        keys.sort();
        let mut all = Vec::new();
        for key in keys {
            let kind: String = self.run(&format!("TYPE {key}")).await;
            let content = if kind == "hash" {
                // A server may move fields about when they are read.
                let fields: BTreeMap<Vec<u8>, Vec<u8>> = self.run(&format!("HGETALL {key}")).await;
                fields.into_iter().flat_map(<[_; 2]>::from).collect()
            } else {
                vec![self.run(&format!("DUMP {key}")).await]
            };
            all.push((key, content));
        }
        all
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.dir;
    }
}

/// Asks until the answer is `Some`.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn new_job(name: &str, options: Value) -> NewJob {
    let Value::Object(options) = options else {
        panic!("options are an object")
    };
    NewJob::new(name, "{}", options).unwrap()
}

/// Adds jobs of these ids.
pub(crate) async fn add(queue: &Queue, ids: &[&str]) {
    for id in ids {
        queue
            .add(&new_job("paint", json!({ "jobId": id })))
            .await
            .unwrap();
    }
}

pub(crate) async fn add_flow(queue: &Queue, flow: &Value) {
    let flow: FlowNode = parse_flow(&flow.to_string()).unwrap();
    let flows = queue.flows();
    flows
        .add(vec![flow], &FlowOptions::default())
        .await
        .unwrap();
}

pub(crate) fn fetch(want: usize, token: &str) -> Fetch {
    Fetch {
        worker: None,
        lock_ms: 30_000,
        want,
        bytes_max: usize::MAX,
        token: Arc::from(token),
        limiter: None,
        metrics_points: None,
        pin: None,
    }
}

pub(crate) async fn take(queue: &Queue, want: usize, token: &str) -> Vec<Job> {
    settle(queue, &[], want, token).await.jobs
}

pub(crate) async fn settle(
    queue: &Queue,
    settlements: &[Settlement],
    want: usize,
    token: &str,
) -> Settled {
    queue
        .settle_and_fetch(settlements, &fetch(want, token))
        .await
        .unwrap()
}

pub(crate) fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| &*job.id).collect()
}

pub(crate) fn completed(keep: KeepJobs) -> SettlementKind {
    SettlementKind::Completed {
        value: "1".into(),
        attempts_made: 1,
        keep,
    }
}

pub(crate) fn failed(keep: KeepJobs) -> SettlementKind {
    SettlementKind::Failed {
        attempt: attempt(),
        attempts: 1.0,
        keep,
    }
}

pub(crate) fn attempt() -> FailedAttempt {
    FailedAttempt {
        made: 1,
        reason: "no".into(),
        stacktrace: "[]".into(),
    }
}
