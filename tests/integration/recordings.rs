//! Attempts that are recorded, run again, and rehearsed.

mod server;

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use toril::queue::{JobState, Queue};
use toril::rehearsal::{self, Env, Found, Rehearsal, Report};
use toril::sandbox::recording::Recording;
use toril::sandbox::{Engine, EngineOptions, Outcome};
use toril::served_queue::deployment::Deployments;

use self::server::Server;
use crate::harness::{
    TestHost, TestRedis, completes, eventually, http_client, new_job, processor, queue_section,
    reaches, toril,
};

const GUEST: &str = "fixture-learns";

fn section(server: &Server, record: &str) -> String {
    let options = format!(
        "record = {record}\n[queues.ring.grants]\nqueues = [\"parts\"]\n\
         kv = {{}}\nsecrets.TOKEN = {{ env = \"PLANTED\" }}\n\
         [queues.ring.grants.http]\nhosts = [\"{}\"]\nprivate = [\"127.0.0.1\"]\n",
        server.address()
    );
    queue_section("ring", GUEST, &options)
}

async fn serve(redis: &TestRedis, server: &Server, record: &str) -> TestHost {
    serve_with(redis, server, record, "hunter22-planted").await
}

async fn serve_with(redis: &TestRedis, server: &Server, record: &str, secret: &str) -> TestHost {
    let config = format!(
        "redis = {:?}\n{}",
        redis.server.url(),
        section(server, record)
    );
    let mut host = TestHost::spawn_with(&config, &[], &[("PLANTED", secret)]);
    host.logs("serving").await;
    host
}

/// Words that learn, `fastrand` says which.
fn words(random: &mut fastrand::Rng) -> Vec<String> {
    const WORDS: [&str; 18] = [
        "random",
        "time",
        "instant",
        "http ok",
        "http random",
        "http slow",
        "http cut",
        "http 503",
        "http gone",
        "post x",
        "count",
        "keep value",
        "add",
        "log line",
        "update 1",
        "denied",
        "cancelled",
        "secret",
    ];
    let mut words: Vec<String> = (0..random.usize(0..8))
        .map(|_| WORDS[random.usize(..WORDS.len())].to_owned())
        .collect();
    let steps = random.usize(0..3);
    words.extend((0..steps).map(|step| format!("step s{step}")));
    random.shuffle(&mut words);
    words
}

async fn add(queue: &Queue, server: &Server, words: Vec<String>, end: &str) -> String {
    let is_long = end == "loop" || words.iter().any(|word| word == "http slow");
    let name = if is_long { "long" } else { "learn" };
    let data = json!({ "words": words, "url": server.url(), "end": end });
    queue.add(&new_job(name, data, json!({}))).await.unwrap()
}

/// The recordings of a queue, once there are so many.
async fn recorded(queue: &Queue, count: usize) -> Vec<Recording> {
    eventually("all attempts are recorded", async || {
        (queue.recordings(usize::MAX >> 1).await.unwrap().len() == count).then_some(())
    })
    .await;
    let mut recordings = Vec::new();
    for entry in queue.recordings(count).await.unwrap() {
        recordings.extend(rehearsal::read(queue, &entry).await.unwrap());
    }
    recordings
}

fn engine() -> Arc<Engine> {
    Arc::new(Engine::new(&EngineOptions::for_one_component()).unwrap())
}

#[tokio::test]
async fn recorded_attempts_do_the_same_again() {
    let attempts: usize =
        std::env::var("TORIL_REPLAYS").map_or(150, |count| count.parse().unwrap());
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let host = serve(
        &redis,
        &server,
        // Some never end by themselves; the others have all the time that a busy machine takes.
        "{ attempts = \"failed\", count_max = 100000, bytes_max = 1000000000 }\nlimits.names.long.deadline_ms = 500",
    )
    .await;
    let queue = redis.queue("ring").await;
    let mut random = fastrand::Rng::with_seed(7);
    for at in 0..attempts {
        let end = match at % 20 {
            0 => "loop",
            at if at % 2 == 0 => "panic",
            _ => "fail",
        };
        add(&queue, &server, words(&mut random), end).await;
    }
    let recordings = recorded(&queue, attempts).await;
    host.stop().await;
    let requests = server.requests();

    let engine = engine();
    let component = std::fs::read(processor(GUEST)).unwrap();
    let loaded = engine
        .load(component, &recordings[0].policy(&Env::new()))
        .await
        .unwrap();
    for recording in recordings {
        let policy = recording.policy(&Env::new());
        let rerun = recording.clone().rerun(&engine, &loaded, &policy).await;
        assert!(
            rerun.is_same(&recording),
            "{}: {rerun:?}\nrecorded: {:?}\n{:?}",
            recording.job.data,
            recording.outcome,
            recording.learned
        );
        let calls: Vec<&str> = recording
            .learned
            .calls
            .iter()
            .map(|call| call.call.as_str())
            .collect();
        assert_eq!(
            rerun.calls, calls,
            "{:?} {:?}",
            recording.outcome, recording.learned
        );
    }
    assert_eq!(server.requests(), requests, "nothing has left the machine");
}

#[tokio::test]
async fn replay_that_departs_goes_on_in_a_dry_run_if_asked() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let host = serve(&redis, &server, "\"all\"").await;
    let queue = redis.queue("ring").await;
    let words = ["count", "add", "step s0", "http ok"].map(str::to_owned);
    add(&queue, &server, words.to_vec(), "value").await;
    let recording = recorded(&queue, 1).await.remove(0);
    host.stop().await;
    let requests = server.requests();
    let engine = engine();
    let policy = recording.policy(&Env::new());
    let key = engine.load(worse("key"), &policy).await.unwrap();
    let ends = recording.clone().rerun(&engine, &key, &policy).await;
    assert_eq!((ends.departed_after, ends.calls.len()), (Some(0), 1));
    let goes_on = recording.clone();
    let goes_on = goes_on.rerun_and_go_on(&engine, &key, &policy, true).await;
    assert_eq!(goes_on.departure, ends.departure);
    let Outcome::Completed(value) = &goes_on.outcome else {
        panic!("{goes_on:?}")
    };
    // What the dry run answered: the first increment, the first id, and no server.
    assert!(value.starts_with(r#"{"learned":"1\n1\n"#), "{value}");
    assert!(value.contains("the server cannot be reached"), "{value}");
    assert_eq!(server.requests(), requests, "nothing has left the machine");
}

#[tokio::test]
async fn no_secret_is_in_a_recording() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let host = serve(&redis, &server, "\"all\"").await;
    let queue = redis.queue("ring").await;
    add(&queue, &server, vec!["secret".into()], "fail").await;
    let recording = recorded(&queue, 1).await.remove(0);
    let text = serde_json::to_string(&recording).unwrap();
    assert!(text.contains("***") && !text.contains("hunter22"), "{text}");
    let raw = queue.recording("1", 1).await.unwrap().unwrap();
    assert!(!raw.windows(8).any(|part| part == b"hunter22"));
    host.stop().await;
}

/// A secret may be a word of the format, too.
#[tokio::test]
async fn recording_can_be_read_whatever_is_secret() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    for (id, secret) in ["postgres", "failed", "calls", "null"].iter().enumerate() {
        let host = serve_with(&redis, &server, "\"all\"", secret).await;
        let queue = redis.queue("ring").await;
        add(
            &queue,
            &server,
            vec!["secret".into(), "count".into()],
            "fail",
        )
        .await;
        let recordings = recorded(&queue, id + 1).await;
        assert_eq!(recordings.len(), id + 1, "{secret}");
        assert!(!recordings[0].learned.calls.is_empty(), "{secret}");
        host.stop().await;
    }
}

#[tokio::test]
async fn rehearsal_of_failures_finds_a_candidate_that_fails_otherwise() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let host = serve(&redis, &server, "\"failed\"").await;
    let queue = redis.queue("ring").await;
    for _ in 0..2 {
        add(&queue, &server, vec!["count".into()], "fail").await;
    }
    let recordings = recorded(&queue, 2).await;
    assert!(queue.recordings(0).await.unwrap().is_empty());
    host.stop().await;
    let engine = engine();
    let report = rehearsed(&engine, worse("broken"), &recordings).await;
    assert!(!report.passes(0.0), "{report:?}");
    assert_eq!(report.sum(), "recorded attempts: 2 worse");
    // Without anything to go by nothing passes.
    assert!(!Report::default().passes(100.0));
}

#[tokio::test]
async fn queue_keeps_the_recordings_that_it_is_told_to() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let host = serve(&redis, &server, "{ attempts = \"failed\", count_max = 3 }").await;
    let queue = redis.queue("ring").await;
    let data = json!({ "words": ["random"], "url": server.url(), "end": "value" });
    completes(&queue, "learn", data).await;
    for _ in 0..5 {
        let id = add(&queue, &server, vec!["random".into()], "fail").await;
        reaches(&queue, &id, JobState::Failed).await;
    }
    let ids = async || -> Vec<String> {
        let entries = queue.recordings(10).await.unwrap();
        entries.into_iter().map(|entry| entry.id).collect()
    };
    assert_eq!(ids().await, ["6", "5", "4"]);
    let shown = toril(&redis, &["recordings", "list", "ring", "--json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown[0]["id"], &shown[0]["attempt"]),
        (&json!("6"), &json!(1))
    );
    toril(&redis, &["recordings", "delete", "ring", "5"]).await;
    assert_eq!(ids().await, ["6", "4"]);
    let deleted = toril(&redis, &["recordings", "delete", "ring", "--all"]).await;
    assert_eq!(
        String::from_utf8_lossy(&deleted.stdout),
        "recordings deleted: 2\n"
    );
    let keys: Vec<String> = redis.command(&["KEYS", "toril:*rec*"]).await;
    assert_eq!(keys, ["toril:{bull:ring}:recordings:bytes"]);
    let none = toril(&redis, &["recordings", "delete", "ring", "5"]).await;
    assert!(!none.status.success());
    host.stop().await;
}

/// The component with another marker: a version that is worse in some way.
fn worse(version: &str) -> Vec<u8> {
    const MARKER: &[u8] = b"plain-0000";
    let mut component = std::fs::read(processor(GUEST)).unwrap();
    let at = component
        .windows(MARKER.len())
        .position(|window| window == MARKER);
    let at = at.expect("the fixture has its marker");
    let padded = format!("{version:0<10}").replacen('0', "-", usize::from(version.len() < 10));
    component[at..at + MARKER.len()].copy_from_slice(padded.as_bytes());
    component
}

async fn rehearsed(engine: &Arc<Engine>, candidate: Vec<u8>, recordings: &[Recording]) -> Report {
    let component = std::fs::read(processor(GUEST)).unwrap();
    let policy = recordings[0].policy(&Env::new());
    let before = Arc::new(engine.load(component, &policy).await.unwrap());
    let mut rehearsal = Rehearsal::new(engine, candidate, Env::new());
    rehearsal.set_before(&recordings[0].component, Some(before));
    for recording in recordings {
        rehearsal.run(recording).await.unwrap();
    }
    rehearsal.end()
}

#[tokio::test]
async fn rehearsal_finds_what_is_worse_before_any_job_does() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let host = serve(&redis, &server, "\"all\"").await;
    let queue = redis.queue("ring").await;
    for at in 0..20 {
        let all = ["count", "http ok", "random", "log line", "keep value"];
        let words = all
            .iter()
            .take(1 + at % all.len())
            .map(|word| (*word).to_owned());
        add(&queue, &server, words.collect(), "value").await;
    }
    let recordings = recorded(&queue, 20).await;
    host.stop().await;
    let requests = server.requests();

    let engine = engine();
    let same = rehearsed(&engine, worse("plain"), &recordings).await;
    assert!(same.passes(0.0), "{same:?}");
    assert!(
        same.attempts
            .iter()
            .all(|attempt| attempt.found == Found::Same)
    );
    for (version, kind) in [
        ("value", "other-value"),
        ("fails", "new-failure"),
        ("panic", "new-failure"),
        ("more", "other-calls"),
        ("fewer", "other-calls"),
        ("order", "other-calls"),
        ("key", "other-calls"),
        ("argument", "other-calls"),
        ("slow", "processor time"),
        ("memory", "memory"),
    ] {
        let report = rehearsed(&engine, worse(version), &recordings).await;
        assert!(!report.passes(0.0), "{version}: {report:?}");
        let shown = serde_json::to_string(&report).unwrap();
        assert!(shown.contains(kind), "{version}: {shown}");
    }
    assert_eq!(server.requests(), requests, "nothing has left the machine");
}

#[tokio::test]
async fn candidate_that_does_not_pass_its_rehearsal_is_not_deployed() {
    let (redis, server) = (TestRedis::start(false).await, Server::start().await);
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "a token of some length\n").unwrap();
    let config = section(&server, "\"all\"")
        + &format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token:?}\n");
    let config = format!("redis = {:?}\n{config}", redis.server.url());
    let mut host = TestHost::spawn_with(&config, &[], &[("PLANTED", "hunter22-planted")]);
    host.logs("serving").await;
    let queue = redis.queue("ring").await;
    let deploy = async |version: &str, more: &[&str]| {
        let file = dir.path().join(format!("{version}.wasm"));
        std::fs::write(&file, worse(version)).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let command = [&["deploy", "ring", &file][..], more].concat();
        toril(&redis, &command).await
    };
    assert!(deploy("plain", &[]).await.status.success());
    for _ in 0..4 {
        add(&queue, &server, vec!["count".into()], "value").await;
    }
    recorded(&queue, 4).await;
    let active = async || Deployments::of(&queue).current().await.unwrap().active;
    let before = active().await;

    let refused = deploy("value", &["--rehearse", "50"]).await;
    let (shown, said) = (
        String::from_utf8_lossy(&refused.stdout).into_owned(),
        String::from_utf8_lossy(&refused.stderr).into_owned(),
    );
    assert!(shown.contains("recorded attempts: 4 worse"), "{shown}");
    assert!(said.contains("nothing was deployed"), "{said}");
    assert_eq!(active().await, before);
    let admitted = deploy("value", &["--rehearse", "50", "--allow", "100%"]).await;
    assert!(admitted.status.success());
    assert_ne!(active().await, before);

    // The same by the API, back to the version before.
    let log = host.log();
    let address = log.split("the admin API listens address=").nth(1).unwrap();
    let address = address.lines().next().unwrap().trim_matches('"');
    let ask = async |method: Method, path: &str, body: Value| {
        let url = format!("http://{address}/v1/queues/ring/{path}");
        let request = http_client().request(method, url).body(body.to_string());
        let request = request.header("authorization", "Bearer a token of some length");
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    };
    let digest = Deployments::of(&queue)
        .current()
        .await
        .unwrap()
        .active
        .unwrap();
    let (status, report) = ask(Method::POST, "rehearsal", json!({ "digest": digest })).await;
    assert_eq!(status, 200, "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["attempts"][0]["found"]["kind"], "other-value");
    let body = json!({ "digest": digest, "rehearse": {} });
    let (status, said) = ask(Method::PUT, "deployment", body).await;
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("recorded attempts: 4 worse"), "{said}");
    let body = json!({ "digest": before, "rehearse": { "count": 10 } });
    let (status, said) = ask(Method::PUT, "deployment", body).await;
    assert_eq!(status, 200, "{said}");
    host.stop().await;
}
