//! The admin API, over HTTP.

mod connections;
mod events;
mod refusals;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::tempdir;
use toril::metrics::Metrics;
use toril::queue::JobState;

use crate::harness::{
    TORIL, TestHost, TestRedis, add, count, eventually, http_client, new_job, queue_section,
    reaches, version,
};

const TOKEN: &str = "a-token-of-the-test";

/// A host with an admin API, and a client of it.
struct Api {
    host: TestHost,
    url: String,
    client: Client,
    token: Option<&'static str>,
    _dir: tempfile::TempDir,
}

impl Api {
    async fn start(redis: &TestRedis, config: &str) -> Self {
        Self::start_with(redis, config, "").await
    }

    /// Starts it with more lines in the section `[admin]`.
    async fn start_with(redis: &TestRedis, config: &str, lines: &str) -> Self {
        let dir = tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let config = format!(
            "{config}\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token:?}\n{lines}\n"
        );
        let mut api = Self::start_as(redis, &config).await;
        (api.token, api._dir) = (Some(TOKEN), dir);
        api
    }

    async fn start_as(redis: &TestRedis, config: &str) -> Self {
        let host = TestHost::serve(redis, config).await;
        let log = host.log();
        let line = log
            .lines()
            .find(|line| line.contains("the admin API listens"));
        let address = line.and_then(|line| line.split("address=").nth(1)).unwrap();
        let address = address.trim_matches('"');
        Api {
            url: format!("http://{address}"),
            host,
            client: http_client(),
            token: None,
            _dir: tempdir().unwrap(),
        }
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .body(body);
        let request = match self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// Sends a request and expects a status; returns the body, null where there is none.
    async fn asks(&self, method: Method, path: &str, body: Value, status: u16) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let response = self.send(method.clone(), path, body).await;
        let found = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(found, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn get(&self, path: &str) -> Value {
        self.asks(Method::GET, path, Value::Null, 200).await
    }

    /// Uploads a version and returns its digest.
    async fn uploads(&self, queue: &str, component: Vec<u8>) -> String {
        let path = format!("/v1/queues/{queue}/versions");
        let response = self.send(Method::POST, &path, component).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let uploaded: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        uploaded["digest"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn queue_is_refused_in_time_while_redis_takes_no_writes() {
    let redis = TestRedis::start(false).await;
    let api = Api::start(&redis, "").await;
    let replicas = "min-replicas-to-write";
    let _: String = redis.command(&["CONFIG", "SET", replicas, "1"]).await;
    let refused = api
        .asks(Method::PUT, "/v1/queues/ring", json!({}), 503)
        .await;
    assert_eq!(refused["error"]["code"], "redis_unavailable");
    api.asks(Method::GET, "/v1/queues/ring", Value::Null, 404)
        .await;
    let _: String = redis.command(&["CONFIG", "SET", replicas, "0"]).await;
    api.asks(Method::PUT, "/v1/queues/ring", json!({}), 201)
        .await;
    api.host.stop().await;
}

#[tokio::test]
async fn queue_is_attached_given_a_processor_and_operated() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let api = Api::start(&redis, "").await;
    let options = json!({ "options": { "concurrency": 2, "lockDuration": 20000, "drainDelay": 1,
        "name": "stall-1", "limiter": { "max": 100, "duration": 1000 }, "removeOnFail": { "count": 10 } } });
    let status = api.asks(Method::PUT, "/v1/queues/ring", options, 201).await;
    assert_eq!(
        (&status["concurrency"], &status["digest"]),
        (&json!(2), &Value::Null)
    );
    let waits = add(&queue, "any", json!(null)).await;

    let first = api.uploads("ring", version("good-00001")).await;
    assert_eq!(
        queue.state(&waits).await.unwrap(),
        JobState::Waiting,
        "stored is not deployed"
    );
    let deploy = json!({ "digest": first });
    api.asks(Method::PUT, "/v1/queues/ring/deployment", deploy, 200)
        .await;
    let job = reaches(&queue, &waits, JobState::Completed).await;
    assert_eq!(
        (&job["returnvalue"], &job["pb"]),
        (&json!("\"good-00001\""), &json!("stall-1"))
    );

    let second = api.uploads("ring", version("good-00002")).await;
    let canary = json!({ "digest": &second[..20], "canary": { "percent": 100 } });
    let deployed = api
        .asks(Method::PUT, "/v1/queues/ring/deployment", canary, 200)
        .await;
    assert_eq!(deployed["canary"]["digest"], second);
    api.asks(
        Method::POST,
        "/v1/queues/ring/canary/promote",
        Value::Null,
        200,
    )
    .await;
    let serves =
        async |digest: &str| (api.get("/v1/queues/ring").await["digest"] == digest).then_some(());
    eventually("the promoted version serves", async || {
        serves(&second).await
    })
    .await;
    api.asks(
        Method::POST,
        "/v1/queues/ring/deployment/rollback",
        Value::Null,
        200,
    )
    .await;
    eventually("the first version serves", async || serves(&first).await).await;
    let state = api.get("/v1/queues/ring/deployment").await;
    assert_eq!(
        (&state["active"], &state["changes"][0]["what"]),
        (&json!(first), &json!("rolled back"))
    );
    assert_eq!(
        api.get("/v1/queues/ring/versions")
            .await
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        api.get("/v1/hosts").await[0]["hosts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    api.asks(Method::POST, "/v1/queues/ring/pause", Value::Null, 204)
        .await;
    let rests = add(&queue, "any", json!(null)).await;
    assert_eq!(api.get("/v1/queues/ring").await["paused"], true);
    api.asks(
        Method::PUT,
        "/v1/queues/ring/concurrency",
        json!({ "concurrency": 7 }),
        204,
    )
    .await;
    assert_eq!(api.get("/v1/queues").await[0]["concurrency"], 7);
    assert_eq!(queue.state(&rests).await.unwrap(), JobState::Waiting);
    api.asks(Method::POST, "/v1/queues/ring/resume", Value::Null, 204)
        .await;
    reaches(&queue, &rests, JobState::Completed).await;

    let endless = add(&queue, "sleep", json!(3_600_000)).await;
    let runs = async || {
        let jobs = api.get("/v1/queues/ring/jobs").await;
        (jobs[0]["id"] == endless && jobs[0]["version"] == first).then_some(())
    };
    eventually("the job is listed", runs).await;
    let path = format!("/v1/queues/ring/jobs/{endless}?reason=wrong%20customer");
    let cancelled = api.asks(Method::DELETE, &path, Value::Null, 200).await;
    assert_eq!(
        cancelled,
        json!([{ "queue": "ring", "id": endless, "outcome": "asked", "state": "active" }])
    );
    let job = reaches(&queue, &endless, JobState::Failed).await;
    assert_eq!(job["failedReason"], "job was cancelled: wrong customer");
    api.asks(Method::DELETE, &path, Value::Null, 409).await;

    let awaited = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &awaited, JobState::Active).await;
    let path = format!("/v1/queues/ring/jobs/{awaited}?wait=true");
    let stopped = json!([{ "queue": "ring", "id": awaited, "outcome": "stopped", "state": "active", "stateNow": "failed" }]);
    assert_eq!(
        api.asks(Method::DELETE, &path, Value::Null, 200).await,
        stopped
    );

    let given_back = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &given_back, JobState::Active).await;
    api.asks(
        Method::DELETE,
        "/v1/queues/ring?wait=false",
        Value::Null,
        204,
    )
    .await;
    assert_eq!(queue.state(&given_back).await.unwrap(), JobState::Waiting);
    api.asks(Method::GET, "/v1/queues/ring", Value::Null, 404)
        .await;
    api.host.stop().await;
}

#[tokio::test]
async fn events_are_those_of_bullmqs_worker() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let api = Api::start(&redis, &queue_section("ring", "fixture-scenarios", "")).await;
    let mut events = api.send(Method::GET, "/v1/queues/ring/events", "").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    add(&queue, "progress", json!({ "n": 1 })).await;
    let failing = new_job("fail", json!({}), json!({ "attempts": 1 }));
    let failed = queue.add(&failing).await.unwrap();
    let (mut text, mut names) = (String::new(), Vec::new());
    while !(names.contains(&"failed".to_owned()) && names.contains(&"completed".to_owned())) {
        text.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
        // An event may come in parts.
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .filter_map(|line| line.strip_prefix("event: "));
        names = lines.map(str::to_owned).collect();
    }
    let told = |name: &str| -> Value {
        let event = text
            .split("\n\n")
            .find(|event| event.contains(&format!("event: {name}\n")));
        let data = event
            .and_then(|event| event.split("data: ").nth(1))
            .unwrap();
        serde_json::from_str(data).unwrap()
    };
    assert_eq!(told("active")["job"]["name"], "progress");
    assert_eq!(told("progress")["progress"], 50);
    let completed = told("completed");
    assert_eq!(
        (&completed["result"], &completed["prev"]),
        (&json!("done"), &json!("active"))
    );
    assert_eq!(completed["job"]["data"], json!({ "n": 1 }));
    let failure = told("failed");
    assert_eq!(
        (&failure["jobId"], &failure["error"]["message"]),
        (&json!(failed), &json!("on purpose"))
    );
    while !text.contains("event: drained\n") {
        text.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
    }
    api.host.stop().await;
}

#[tokio::test]
async fn health_and_metrics_are_told() {
    let mut redis = TestRedis::start(true).await;
    let queue = redis.queue("ring").await;
    let config =
        queue_section("ring", "fixture-scenarios", "") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let api = Api::start_as(&redis, &config).await;
    let id = add(&queue, "return", json!(1)).await;
    reaches(&queue, &id, JobState::Completed).await;
    let text = async |path: &str| api.send(Method::GET, path, "").await.text().await.unwrap();
    let counted = async || {
        let metrics = text("/metrics").await;
        let completed = "toril_attempts_total{queue=\"ring\",outcome=\"completed\"} 1";
        metrics.contains(completed).then_some(metrics)
    };
    let metrics = eventually("the attempt is counted", counted).await;
    let page = include_str!("../../docs/src/reference/metrics.md");
    let described = Metrics::new();
    for described in described.descriptions() {
        let (name, kind, meaning) = (described.name, described.kind, described.meaning);
        let base = name.trim_end_matches("_total");
        assert!(
            metrics.contains(&format!("# HELP {base} {meaning}.\n# TYPE {base} {kind}\n")),
            "{name}: {metrics}"
        );
        let labels = described.labels.join(", ");
        let row = format!("| `{name}` | {kind} | {labels} | {meaning} |");
        assert!(
            page.contains(&row),
            "docs/src/reference/metrics.md lists: {row}"
        );
    }
    assert_eq!(text("/healthz").await, "ok\n");
    assert_eq!(text("/readyz").await, "ok\n");
    let url = api.url.clone();
    let health = async |options: &'static [&'static str]| command_exits_with(&url, options).await;
    assert_eq!(health(&[]).await, Some(0));
    assert_eq!(health(&["--ready"]).await, Some(0));
    redis.server.kill().await.unwrap();
    let status = api.send(Method::GET, "/readyz", "").await.status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health(&["--ready"]).await, Some(1));
    assert_eq!(text("/healthz").await, "ok\n");
    assert_eq!(health(&[]).await, Some(0));
    api.host.kill().await;
    assert_eq!(health(&[]).await, Some(1));
}

/// The exit code of `toril health`.
async fn command_exits_with(url: &str, options: &[&str]) -> Option<i32> {
    let mut command = tokio::process::Command::new(TORIL);
    let address = url.trim_start_matches("http://");
    command.args(["health", "--admin", address]).args(options);
    command.output().await.unwrap().status.code()
}

/// The pump keeps short jobs for its own thread, which waits for Redis then: they go to others.
#[tokio::test]
async fn jobs_that_were_taken_run_while_redis_is_away() {
    let redis = TestRedis::start(false).await;
    let short = vec![new_job("fine", json!(null), json!({})); 5_000];
    let config = queue_section("ring", "fixture-misbehaving", "concurrency = 50");
    let api = Api::start(&redis, &config).await;
    let all_ended = async |outages: u64| {
        let metrics = api.send(Method::GET, "/metrics", "").await;
        let metrics = metrics.text().await.unwrap();
        let metric = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        metric("toril_redis_errors_total").filter(|errors| *errors >= outages)?;
        let completed = metric("toril_attempts_total{queue=\"ring\",outcome=\"completed\"}");
        (completed == metric("toril_jobs_taken_total")).then_some(())
    };
    // Whether the pump has any at that moment is chance.
    for outage in 1..9 {
        let before = count(&redis, "ring", "completed").await;
        let queue = redis.queue("ring").await;
        queue.add_bulk(&short).await.unwrap();
        let some = async || (count(&redis, "ring", "completed").await > before + 500).then_some(());
        eventually("some jobs are completed", some).await;
        // Cuts the connections, and answers no script. A process that is killed cuts them only some time later.
        let mut away = redis::pipe();
        away.cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]);
        away.cmd("CLIENT").arg(&["PAUSE", "600000", "WRITE"]);
        let mut connection = redis.connect().await.shared();
        away.exec_async(&mut connection).await.unwrap();
        eventually("all jobs that were taken have ended", async || {
            all_ended(outage).await
        })
        .await;
        let _: String = redis.command(&["CLIENT", "UNPAUSE"]).await;
        let all =
            async || (count(&redis, "ring", "completed").await == before + 5_000).then_some(());
        eventually("all jobs are completed", all).await;
    }
    api.host.stop().await;
}

#[tokio::test]
async fn api_is_described() {
    let redis = TestRedis::start(false).await;
    let api = Api::start(&redis, "").await;
    let document = api.get("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    for operation in operations {
        let answers = operation["responses"].as_object().unwrap().values();
        for answer in answers {
            assert_ne!(answer["description"].as_str(), None, "{operation}");
        }
    }
    insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&document).unwrap());
    api.host.stop().await;
}

#[tokio::test]
async fn request_is_finished_when_its_client_leaves() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let config = queue_section("ring", "fixture-misbehaving", "");
    let api = Api::start(&redis, &config).await;
    let endless = add(&queue, "sleep", json!(3_600_000)).await;
    reaches(&queue, &endless, JobState::Active).await;
    let request = api
        .client
        .delete(format!("{}/v1/queues/ring", api.url))
        .header("authorization", format!("Bearer {TOKEN}"))
        // Enough for the host to hear of it.
        .timeout(std::time::Duration::from_secs(3));
    assert!(request.send().await.unwrap_err().is_timeout());
    let path = format!("/v1/queues/ring/jobs/{endless}");
    api.asks(Method::DELETE, &path, Value::Null, 200).await;
    let gone = async || {
        let response = api.send(Method::GET, "/v1/queues/ring", "").await;
        (response.status() == StatusCode::NOT_FOUND).then_some(())
    };
    eventually("the queue is detached", gone).await;
    api.asks(Method::PUT, "/v1/queues/ring", json!({}), 201)
        .await;
    api.host.stop().await;
}

#[tokio::test]
async fn queue_that_no_host_works_is_forgotten() {
    let redis = TestRedis::start(false).await;
    let api = Api::start(&redis, &queue_section("ring", "fixture-noop", "")).await;
    let asks = async |queue: &str, status| {
        let path = format!("/v1/queues/{queue}/forget");
        api.asks(Method::POST, &path, Value::Null, status).await
    };
    assert_eq!(asks("ring", 409).await["error"]["code"], "conflict");
    assert_eq!(asks("new", 404).await["error"]["code"], "unknown_queue");
    asks("n%3Aew", 400).await;
    api.asks(Method::PUT, "/v1/queues/new", json!({}), 201)
        .await;
    api.uploads("new", version("good-00001")).await;
    asks("new", 409).await;
    api.asks(Method::DELETE, "/v1/queues/new", Value::Null, 204)
        .await;
    let forgotten = asks("new", 200).await;
    assert_eq!(
        (&forgotten["versions"], &forgotten["active"]),
        (&json!(1), &Value::Null)
    );
    asks("new", 404).await;

    // One with a prefix of its own.
    let spec = json!({ "options": { "prefix": "oth" } });
    api.asks(Method::PUT, "/v1/queues/op", spec, 201).await;
    let digest = api.uploads("op", version("good-00001")).await;
    let path = "/v1/queues/op/deployment";
    api.asks(Method::PUT, path, json!({ "digest": digest }), 200)
        .await;
    asks("op", 409).await;
    api.asks(Method::DELETE, "/v1/queues/op", Value::Null, 204)
        .await;
    api.asks(Method::GET, path, Value::Null, 404).await;
    let deployment = api.get(&format!("{path}?prefix=oth")).await;
    assert_eq!(deployment["active"], digest);
    api.asks(Method::GET, &format!("{path}?prefix="), Value::Null, 400)
        .await;
    let path = "/v1/queues/op/forget?prefix=oth";
    let forgotten = api.asks(Method::POST, path, Value::Null, 200).await;
    assert_eq!(forgotten["active"], digest);
    let kept: Vec<String> = redis.command(&["KEYS", "toril:{oth:op}*"]).await;
    assert!(kept.is_empty(), "{kept:?}");
    api.host.stop().await;
}
