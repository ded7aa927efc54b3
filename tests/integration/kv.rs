//! Key-value stores, from a guest to Redis and to the dry run.

mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use toril::queue::{JobState, KvOwner, Queue, Redis};
use toril::sandbox::dry_run::{DryRun, State};
use toril::sandbox::{Engine, EngineOptions, Grants, KvGrant, Policy};

use self::table::{assert_answers, table};
use crate::fault_proxy::{Fault, FaultProxy};
use crate::harness::{
    TestHost, TestRedis, add, eventually, processor, queue_section, reaches, toril,
};

const GUEST: &str = "fixture-kv";
const SMALL: &str =
    "shared = [\"rates\"]\nkeys_max = 20\nvalue_bytes_max = 100\nbytes_max = 1000\n";

fn section(queue: &str, options: &str, grant: &str) -> String {
    let section = queue_section(queue, GUEST, options);
    format!("{section}[queues.{queue}.grants.kv]\n{grant}\n")
}

/// What the calls of a job answered.
async fn answers(queue: &Queue, calls: &Value) -> Value {
    let id = add(queue, "calls", calls.clone()).await;
    let job = reaches(queue, &id, JobState::Completed).await;
    serde_json::from_str(job["returnvalue"].as_str().unwrap()).unwrap()
}

async fn dry_run(grant: &str) -> DryRun {
    let engine = Arc::new(Engine::new(&EngineOptions::for_one_component()).unwrap());
    let kv: KvGrant = toml::from_str(grant).unwrap();
    let grants = Grants {
        kv: Some(kv),
        ..Grants::default()
    };
    let policy = Policy {
        grants: Arc::new(grants),
        ..Policy::default()
    };
    let mut dry_run = DryRun::new(engine);
    let component = std::fs::read(processor(GUEST)).unwrap();
    dry_run.serve("ring", component, policy).await.unwrap();
    dry_run
}

async fn dry_answers(dry_run: &mut DryRun, calls: &Value) -> Value {
    let id = dry_run
        .add("ring", "calls", &calls.to_string(), "{}")
        .unwrap();
    dry_run.run().await.unwrap();
    let job = dry_run.job("ring", &id).unwrap();
    assert_eq!(job.state, State::Completed, "{:?}", job.failed_reason);
    serde_json::from_str(&job.returnvalue.unwrap()).unwrap()
}

#[tokio::test]
async fn dry_run_answers_as_redis_does() {
    let table = table();
    let calls: Value = table.iter().map(|(call, _)| call.clone()).collect();
    let redis = TestRedis::start(false).await;
    let mut host = TestHost::serve(&redis, &section("ring", "", SMALL)).await;
    let queue = redis.queue("ring").await;
    let real = answers(&queue, &calls).await;
    assert_answers(&table, &real, "Redis");
    // The line to add is in the host's log, with queue and job.
    let said = "key-value store `vault` was refused: not in grants.kv of queue `ring`";
    host.logs(said).await;
    let log = host.log();
    let hint = log
        .split(said)
        .nth(1)
        .and_then(|rest| rest.lines().nth(1))
        .unwrap();
    let names_the_job = ["queue=\"ring\"", "job_id=\"1\"", "[queues.ring.grants.kv]"];
    assert!(
        names_the_job.iter().all(|part| hint.contains(part)),
        "{hint}"
    );
    host.stop().await;

    let mut dry_run = dry_run(SMALL).await;
    let dry = dry_answers(&mut dry_run, &calls).await;
    assert_answers(&table, &dry, "the dry run");
    assert_eq!(real, dry);
}

#[tokio::test]
async fn time_of_a_value_ends_in_the_dry_run_and_in_redis() {
    let calls = json!([
        ["get", "default", "k"],
        ["keys", "default"],
        ["increment", "default", "n", 1]
    ]);
    let set = json!([
        ["set", "default", "k", "v"],
        ["increment", "default", "n", 1]
    ]);
    let gone = json!([null, [], 1]);
    let mut dry_run = dry_run("ttl_ms = 50\nkeys_max = 2").await;
    dry_answers(&mut dry_run, &set).await;
    let kept = dry_answers(&mut dry_run, &json!([["get", "default", "k"]])).await;
    assert_eq!(kept, json!(["v"]));
    dry_run.advance(std::time::Duration::from_millis(50));
    assert_eq!(dry_answers(&mut dry_run, &calls).await, gone);

    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &section("ring", "", "ttl_ms = 50\nkeys_max = 2")).await;
    let queue = redis.queue("ring").await;
    answers(&queue, &set).await;
    let store = queue.kv(KvOwner::Queue, "default").unwrap();
    eventually("the time ends", async || {
        (!store.exists("n").await.unwrap()).then_some(())
    })
    .await;
    assert_eq!(answers(&queue, &calls).await, gone);
    host.stop().await;
}

#[tokio::test]
async fn changes_of_many_jobs_add_up_also_over_queues_that_share_a_store() {
    let redis = TestRedis::start(false).await;
    let options = "concurrency = 8";
    let grant = "stores = [\"default\"]\nshared = [\"rates\"]";
    let config = section("ring", options, grant) + &section("other", options, grant);
    let host = TestHost::serve(&redis, &config).await;
    let (ring, other) = (redis.queue("ring").await, redis.queue("other").await);
    let mut jobs = Vec::new();
    for number in 0..40 {
        let part = number.to_string();
        for queue in [&ring, &other] {
            let calls = json!([
                ["increment", "rates", "count", 5],
                ["append", "rates", "list", part],
                ["increment", "default", "count", 1],
                ["append", "default", "list", part],
            ]);
            jobs.push((queue, add(queue, "must", calls).await));
        }
    }
    for (queue, id) in jobs {
        reaches(queue, &id, JobState::Completed).await;
    }
    let store = |queue: &Queue, owner, name: &str| queue.kv(owner, name).unwrap();
    for (store, jobs) in [
        (store(&ring, KvOwner::Queue, "default"), 40),
        (store(&other, KvOwner::Queue, "default"), 40),
        (store(&other, KvOwner::Prefix, "rates"), 80),
    ] {
        let list = store.get("list").await.unwrap().unwrap();
        let list: Vec<String> = serde_json::from_slice(&list).unwrap();
        assert_eq!(list.len(), jobs, "{}", store.name());
        let count = store.get("count").await.unwrap().unwrap();
        let each = if jobs == 80 { 5 } else { 1 };
        assert_eq!(count, (jobs * each).to_string().into_bytes());
    }
    host.stop().await;
}

#[tokio::test]
async fn store_of_another_queue_is_not_seen_whatever_it_is_called() {
    let redis = TestRedis::start(false).await;
    let config = section("vault", "", "") + &section("ring", "", "stores = [\"default\", \"kv\"]");
    let host = TestHost::serve(&redis, &config).await;
    let (vault, ring) = (redis.queue("vault").await, redis.queue("ring").await);
    answers(&vault, &json!([["set", "default", "secret", "gold"]])).await;
    let secret = "toril:{bull:vault}:kv:default:secret";
    let found: String = redis.command(&["GET", secret]).await;
    assert_eq!(found, "gold");
    let tries = json!([
        ["get", "default", "secret"],
        ["get", "default", secret],
        ["get", "kv", "default:secret"],
        ["get", "default", "../vault:kv:default:secret"],
        ["keys", "default"],
        ["keys", "kv"],
        ["get", "default", "\u{0}secret"],
    ]);
    let seen = answers(&ring, &tries).await;
    assert_eq!(seen, json!([null, null, null, null, [], [], null]));
    host.stop().await;
}

#[tokio::test]
async fn increment_and_swap_are_done_once_whatever_is_lost() {
    let redis = TestRedis::start(false).await;
    let proxy = FaultProxy::start(&redis).await;
    let section = section("ring", "lock_duration_ms = 60000", "");
    let mut host = TestHost::spawn(&format!("redis = \"{}\"\n{section}", proxy.url()), &[]);
    host.logs("serving").await;
    let clear = Redis::connect(&proxy.clear_url()).await.unwrap();
    let queue = Queue::new(clear, "bull", &"ring".parse().unwrap());
    let store = queue.kv(KvOwner::Queue, "default").unwrap();
    for (times, script) in [
        (1, "kv_increment"),
        (2, "kv_swap"),
        (3, "kv_set"),
        (4, "kv_read"),
        (5, "kv_increment"),
    ] {
        for fault in [Fault::LoseRequest, Fault::LoseReply, Fault::CutReply] {
            let what = format!("{fault:?} of {script} ({times})");
            let mut struck = proxy.inject(script, fault);
            let calls = json!([
                ["increment", "default", "n", 1],
                ["append", "default", "list", "x"],
                ["set", "default", "k", "v"]
            ]);
            let answer = answers(&queue, &calls).await;
            struck.struck(1).await;
            let done = answer[0].as_u64().unwrap();
            assert_eq!(answer[1], json!(done), "{what}: {answer}");
        }
    }
    assert_eq!(store.get("n").await.unwrap().unwrap(), b"15");
    eventually("no note is left", async || {
        let notes: Vec<String> = redis.command(&["KEYS", "*toril-request*"]).await;
        notes.is_empty().then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test]
async fn misuse_ends_with_a_reason_and_leaves_nothing() {
    let redis = TestRedis::start(false).await;
    let options = "concurrency = 4\nlimits = { memory_bytes_max = 20971520, deadline_ms = 20000, host_calls_max = 20000 }\nremove_on_complete = 0\nremove_on_fail = { count = 1 }";
    let grant = "keys_max = 50\nvalue_bytes_max = 1048576\nbytes_max = 2097152";
    let host = TestHost::serve(&redis, &section("ring", options, grant)).await;
    let queue = redis.queue("ring").await;
    for (calls, reason) in [
        (
            json!([
                ["fill", "default", "a", 1 << 20],
                ["hold", "default", "a", 100]
            ]),
            "",
        ),
        (
            json!([["handles", "default", "", 2000]]),
            "processor exceeded its limit of 1024 open handles",
        ),
        (
            json!([["set-n", "default", "flood", 51]]),
            "is full: it may have 50 keys",
        ),
        (
            json!([["open", "vault"]]),
            "not in grants.kv of queue `ring`\nhint: add `vault` to `grants.kv.stores`",
        ),
    ] {
        let id = add(&queue, "must", calls.clone()).await;
        let job = reaches(&queue, &id, JobState::Failed).await;
        let said = job["failedReason"].as_str().unwrap();
        assert!(said.contains(reason) && !said.is_empty(), "{calls}: {said}");
    }
    let size = async || {
        let keys: Vec<String> = redis.command(&["KEYS", "*"]).await;
        let kept = |key: &String| !key.ends_with(":stalled-check") && !key.ends_with(":marker");
        keys.into_iter().filter(kept).count()
    };
    let calls = json!([
        ["set", "default", "k", "v"],
        ["increment", "default", "n", 1],
        ["append", "default", "l", "x"],
        ["delete", "default", "l"],
        ["swap", "default", "s", "1"],
        ["keys", "default"],
        ["get-many", "default", ["k", "n", "no"]]
    ]);
    let mut before = None;
    for _ in 0..5 {
        let mut ids = Vec::new();
        for _ in 0..200 {
            ids.push(add(&queue, "calls", calls.clone()).await);
        }
        eventually("all jobs are done", async || {
            let counts = queue.counts().await.unwrap();
            let left = counts["waiting"] + counts["active"];
            (left == 0).then_some(())
        })
        .await;
        let now = eventually("no note is left", async || {
            let notes: Vec<String> = redis.command(&["KEYS", "*toril-request*"]).await;
            if !notes.is_empty() {
                return None;
            }
            Some(size().await)
        })
        .await;
        assert_eq!(*before.get_or_insert(now), now, "keys of Redis grow");
    }
    host.stop().await;
}

#[tokio::test]
async fn component_that_imports_it_is_refused_without_a_grant_with_the_line_to_add() {
    let redis = TestRedis::start(false).await;
    let mut host = TestHost::spawn(
        &format!(
            "redis = \"{}\"\n{}",
            redis.server.url(),
            queue_section("ring", GUEST, "")
        ),
        &[],
    );
    assert!(!host.ended().await.success());
    let log = host.log();
    assert!(
        log.contains("component imports `wasi:keyvalue/store@0.2.0-draft2`, which needs a grant"),
        "{log}"
    );
    assert!(
        log.contains("hint: add `kv = { stores = [\"default\"] }` to `[queues.ring.grants]`"),
        "{log}"
    );
    // A processor that uses no store needs no grant for it.
    let host = TestHost::serve(&redis, &queue_section("ring", "fixture-noop", "")).await;
    host.stop().await;
}

#[tokio::test]
async fn stores_are_looked_into_and_removed_on_the_command_line() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("paint").await;
    let says = async |arguments: &[&str], code: i32| {
        let output = toril(&redis, arguments).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    says(&["kv", "set", "paint", "default", "a", "one"], 0).await;
    says(&["kv", "set", "paint", "default", "b", "\u{1b}[31m"], 0).await;
    says(&["kv", "set", "paint", "other", "c", "3"], 0).await;
    says(&["kv", "set", "paint", "rates", "d", "4", "--shared"], 0).await;
    assert_eq!(
        says(&["kv", "list", "paint"], 0).await,
        "default  2 keys, 10 bytes\nother  1 key, 2 bytes\n"
    );
    assert_eq!(
        says(&["kv", "list", "elsewhere", "--shared"], 0).await,
        "rates  1 key, 2 bytes\n"
    );
    let json: Value =
        serde_json::from_str(&says(&["kv", "list", "paint", "--json"], 0).await).unwrap();
    assert_eq!(json[1], json!({ "store": "other", "keys": 1, "bytes": 2 }));
    assert_eq!(says(&["kv", "list", "paint", "default"], 0).await, "a\nb\n");
    assert_eq!(
        says(
            &[
                "kv",
                "list",
                "paint",
                "default",
                "--starting",
                "b",
                "--json"
            ],
            0
        )
        .await,
        "[\"b\"]\n"
    );
    assert_eq!(
        says(
            &["kv", "list", "paint", "default", "--limit", "1", "--json"],
            0
        )
        .await,
        "[\"a\"]\n"
    );
    assert_eq!(
        says(&["kv", "get", "paint", "default", "a"], 0).await,
        "one"
    );
    assert_eq!(
        says(&["kv", "get", "paint", "default", "a", "--json"], 0).await,
        "{\"key\":\"a\",\"text\":\"one\"}\n"
    );
    let missing = says(&["kv", "get", "paint", "default", "x"], 1).await;
    assert!(
        missing.contains("store `default` of queue `paint` has no key `x`"),
        "{missing}"
    );
    says(&["kv", "delete", "paint", "default", "a"], 0).await;
    says(&["kv", "delete", "paint", "default", "a"], 1).await;
    let wrong = says(&["kv", "list", "paint", "a:b"], 1).await;
    assert!(wrong.contains("is empty or contains `:`"), "{wrong}");
    assert_eq!(
        says(&["kv", "delete", "paint", "other", "--all"], 0).await,
        "removed 1 key\n"
    );

    add(&queue, "waits", json!({})).await;
    let bullmqs = async || {
        let mut keys: Vec<String> = redis.command(&["KEYS", "bull:*"]).await;
        keys.sort();
        keys
    };
    let before = bullmqs().await;
    let forgot = says(&["forget", "paint", "--kv"], 0).await;
    assert!(
        forgot.contains("removed       key-value stores: default"),
        "{forgot}"
    );
    let left: Vec<String> = redis.command(&["KEYS", "toril:*"]).await;
    assert!(
        left.iter()
            .all(|key| key.starts_with("toril:{bull}:kv-shared")),
        "{left:?}"
    );
    assert_eq!(bullmqs().await, before);
}

#[tokio::test]
async fn forgotten_queue_keeps_its_stores_unless_asked() {
    let redis = TestRedis::start(false).await;
    let host = TestHost::serve(&redis, &section("ring", "", "")).await;
    let queue = redis.queue("ring").await;
    answers(&queue, &json!([["set", "default", "k", "v"]])).await;
    host.stop().await;
    let output = toril(&redis, &["forget", "ring"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("kept          key-value stores: default (`--kv` removes them)"),
        "{said}"
    );
    let store = queue.kv(KvOwner::Queue, "default").unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap(), b"v");
    let output = toril(&redis, &["forget", "ring", "--kv", "--json"]).await;
    let said: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["storesRemoved"], json!(["default"]));
    assert_eq!(store.get("k").await.unwrap(), None);
}
