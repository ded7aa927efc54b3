//! Broken input of every kind: an answer, never a panic. The same inputs at each run; more of them, and others,
//! with `TORIL_FUZZ_ROUNDS` and `TORIL_FUZZ_SEED`.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::json;
use tempfile::tempdir;
use toril::config::{Overrides, Source};
use toril::queue::{Fetch, JobJson, JobState, NewJob};
use toril::sandbox::{Engine, EngineOptions, LoadError, Policy};

use crate::harness::{
    TestHost, TestRedis, add, http_client, processor, queue_section, reaches, root,
};

#[path = "../fuzz/targets.rs"]
mod targets;

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

fn rng() -> Rng {
    Rng::with_seed(number("TORIL_FUZZ_SEED", 7))
}

fn rounds(default: u64) -> u64 {
    default * number("TORIL_FUZZ_ROUNDS", 1)
}

/// Breaks a text or a file in a few places: bytes changed, cut out, doubled, or put in the place of others.
fn mutated(rng: &mut Rng, whole: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..rng.usize(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.usize(..bytes.len());
        let end = (at + rng.usize(1..20)).min(bytes.len());
        match rng.u8(..6) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 if !words.is_empty() => {
                let word = words[rng.usize(..words.len())].bytes();
                bytes.splice(at..end, word);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

const WORDS: [&str; 14] = [
    "null",
    "-1",
    "1e400",
    "99999999999999999999",
    "\"\"",
    "{}",
    "[]",
    "[[[[",
    "true",
    "\\ud800",
    "\u{0}",
    "0.5",
    "{\"a\":",
    "ä",
];

#[test]
fn corpora_of_the_fuzz_targets_are_answered() {
    let mut rng = rng();
    for (name, target) in targets::ALL {
        let corpus = root().join("tests/fuzz/corpus").join(name);
        let files = std::fs::read_dir(corpus).unwrap();
        let mut seeds: Vec<Vec<u8>> = files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name}");
        for seed in &seeds {
            target(seed);
            for _ in 0..rounds(100) {
                target(&mutated(&mut rng, seed, &WORDS));
            }
        }
    }
}

#[test]
fn broken_configs_are_errors() {
    let dir = tempdir().unwrap();
    let whole = include_str!("../../docs/src/reference/config.md");
    let begin = whole.find("redis = \"redis://:password").unwrap();
    let whole = &whole[begin..begin + whole[begin..].find("```").unwrap()];
    let (mut rng, file) = (rng(), dir.path().join("toril.toml"));
    let source = Source {
        file: Some(file.clone()),
        overrides: Overrides::default(),
    };
    for _ in 0..rounds(3_000) {
        std::fs::write(&file, mutated(&mut rng, whole.as_bytes(), &WORDS)).unwrap();
        if let Err(error) = source.load() {
            assert!(!format!("{error:#}").is_empty());
        }
    }
}

#[tokio::test]
async fn broken_components_are_refused() {
    let runtime = Arc::new(Engine::new(&EngineOptions::default()).unwrap());
    let whole = std::fs::read(processor("fixture-noop")).unwrap();
    let (mut rng, mut refused) = (rng(), 0);
    for _ in 0..rounds(150) {
        let component = mutated(&mut rng, &whole, &[]);
        match runtime.load(component, &Arc::new(Policy::default())).await {
            Ok(_) => {}
            Err(LoadError::Compile(reason)) => {
                assert!(!reason.contains("panicked"), "{reason}");
                refused += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn broken_job_hashes_lose_no_job() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let mut rng = rng();
    let fields = [
        ("name", "any"),
        ("data", "{\"walls\":[1,2.5,null]}"),
        (
            "opts",
            r#"{"attempts":3,"backoff":{"type":"fixed","delay":5},"kl":5,"removeOnFail":{"age":9}}"#,
        ),
        ("timestamp", "1700000000000"),
        ("delay", "0"),
        ("priority", "0"),
        ("progress", "{\"done\":50}"),
        ("atm", "1"),
        ("ats", "2"),
        ("stc", "0"),
        ("stacktrace", "[\"Error: a\"]"),
        ("parent", r#"{"id":"1","queueKey":"bull:top"}"#),
        ("rjk", "every"),
        ("torilVersion", "sha256:00"),
    ];
    let jobs = usize::try_from(rounds(500)).unwrap();
    for n in 0..jobs {
        let job = NewJob::new("any", "{}", Default::default()).unwrap();
        let id = queue.add(&job).await.unwrap();
        let (field, value) = fields[n % fields.len()];
        let mut set = redis::cmd("HSET");
        set.arg(format!("bull:ring:{id}")).arg(field);
        set.arg(mutated(&mut rng, value.as_bytes(), &WORDS));
        let connection = redis.connect().await;
        let _: i64 = set.query_async(&mut connection.shared()).await.unwrap();
    }
    let mut taken = 0;
    while taken < jobs {
        let fetch = Fetch {
            worker: None,
            lock_ms: 30_000,
            want: 50,
            bytes_max: 1 << 20,
            token: format!("fuzz:{taken}").into(),
            limiter: None,
            metrics_points: None,
            pin: None,
        };
        let settled = queue.settle_and_fetch(&[], &fetch).await.unwrap();
        assert!(!settled.jobs.is_empty(), "{taken} of {jobs}");
        for job in &settled.jobs {
            assert!(serde_json::to_string(&JobJson::of(job)).is_ok());
        }
        taken += settled.jobs.len();
    }
}

#[tokio::test]
async fn broken_requests_are_answered() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let config = queue_section("ring", "fixture-noop", "") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let host = TestHost::serve(&redis, &config).await;
    let log = host.log();
    let address = log.split("address=").nth(1).unwrap();
    let address = address.lines().next().unwrap().trim_matches('"');
    let bodies = [
        (
            "PUT",
            "/v1/queues/new",
            json!({ "options": { "concurrency": 5, "limiter": { "max": 1, "duration": 5 },
            "removeOnComplete": { "age": 5, "count": 3 } }, "limits": { "deadline_ms": 5 }, "queues": ["a"] }),
        ),
        (
            "PUT",
            "/v1/queues/ring/concurrency",
            json!({ "concurrency": 5 }),
        ),
        (
            "PUT",
            "/v1/queues/ring/deployment",
            json!({ "digest": "ab", "canary": { "percent": 5, "jobs": ["a"] } }),
        ),
        (
            "POST",
            "/v1/queues/ring/deployment/rollback",
            json!({ "digest": "ab" }),
        ),
        ("POST", "/v1/queues/ring/versions", json!("\u{0}asm")),
    ];
    let (mut rng, client) = (rng(), http_client());
    for n in 0..usize::try_from(rounds(400)).unwrap() {
        let (method, path, body) = &bodies[n % bodies.len()];
        let body = mutated(&mut rng, body.to_string().as_bytes(), &WORDS);
        let request = client.request(method.parse().unwrap(), format!("http://{address}{path}"));
        let status = request.body(body).send().await.unwrap().status().as_u16();
        assert!(status < 500, "{method} {path}: {status}");
        if path.ends_with("/new") && status == 201 {
            let url = format!("http://{address}{path}?wait=false");
            client.delete(url).send().await.unwrap();
        }
    }
    let id = add(&queue, "any", json!(null)).await;
    reaches(&queue, &id, JobState::Completed).await;
    assert!(!host.log().contains("panicked"), "{}", host.log());
    host.stop().await;
}
