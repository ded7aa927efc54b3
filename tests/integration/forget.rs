//! Queues that no host serves any more.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{TestHost, TestRedis, add, toril, version};

/// All keys that begin so, with what they hold.
async fn dump(redis: &TestRedis, pattern: &str) -> BTreeMap<String, Vec<u8>> {
    let keys: Vec<String> = redis.command(&["KEYS", pattern]).await;
    let mut dump = BTreeMap::new();
    // A worker that comes and goes writes these.
    let kept = |key: &String| !key.ends_with(":meta") && !key.ends_with(":stalled-check");
    for key in keys.into_iter().filter(kept) {
        let value = redis.command(&["DUMP", &key]).await;
        dump.insert(key, value);
    }
    dump
}

async fn says(redis: &TestRedis, arguments: &[&str], code: i32) -> String {
    let output = toril(redis, arguments).await;
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {output:?}"
    );
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

async fn deploy(redis: &TestRedis, queue: &str) {
    let dir = tempdir().unwrap();
    let file = dir.path().join("good.wasm");
    std::fs::write(&file, version("good-00001")).unwrap();
    let file = file.display().to_string();
    says(redis, &["deploy", queue, &file, "--wait", "0"], 0).await;
}

async fn listed(redis: &TestRedis) -> Vec<String> {
    let status: Value = serde_json::from_str(&says(redis, &["status", "--json"], 0).await).unwrap();
    let names = status.as_array().unwrap().iter();
    names
        .map(|queue| queue["queue"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn queue_is_forgotten_once_no_host_works_it_and_bullmqs_keys_stay() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    deploy(&redis, "ring").await;
    let host = TestHost::serve(&redis, "[queues.ring]\nautorun = false\n").await;
    add(&queue, "waits", json!({ "n": 1 })).await;
    let before = (dump(&redis, "bull:*").await, listed(&redis).await);
    let refused = says(&redis, &["forget", "ring"], 1).await;
    assert!(refused.contains("queue `ring` is served by `"), "{refused}");
    assert!(refused.contains("hint: stop them"), "{refused}");
    assert_eq!(listed(&redis).await, before.1, "nothing was removed");
    host.stop().await;

    let kept = before.0;
    assert_eq!(listed(&redis).await, ["bull:ring"]);
    let said = says(&redis, &["forget", "ring"], 0).await;
    assert!(said.contains("was deployed  sha256:"), "{said}");
    assert!(said.contains("1 component of "), "{said}");
    assert!(listed(&redis).await.is_empty());
    assert!(dump(&redis, "toril:*").await.is_empty());
    assert_eq!(dump(&redis, "bull:*").await, kept);
    let again = says(&redis, &["forget", "ring"], 1).await;
    assert!(again.contains("stores nothing for queue `ring`"), "{again}");
    let wrong = says(&redis, &["forget", "ri:ng"], 1).await;
    assert!(wrong.contains("contains `:`"), "{wrong}");
}

#[tokio::test]
async fn queue_that_no_host_worked_for_a_day_is_not_listed_until_one_does() {
    let redis = TestRedis::start(false).await;
    deploy(&redis, "ring").await;
    let host = TestHost::serve(&redis, "[queues.ring]\n").await;
    host.stop().await;
    assert_eq!(listed(&redis).await, ["bull:ring"]);
    // A day and a second ago.
    let time: (u64, u64) = redis.command(&["TIME"]).await;
    let then = (time.0 * 1000 - 86_401_000).to_string();
    let key = "toril:{bull:ring}";
    let change = json!({ "at": then.parse::<u64>().unwrap() }).to_string();
    let _: i64 = redis
        .command(&["HSET", &format!("{key}:deployment"), "seen", &then])
        .await;
    let _: String = redis
        .command(&["LSET", &format!("{key}:changes"), "0", &change])
        .await;
    assert!(listed(&redis).await.is_empty());
    let one: Value =
        serde_json::from_str(&says(&redis, &["status", "ring", "--json"], 0).await).unwrap();
    let active = &one[0]["deployment"]["active"];
    assert!(active.is_string(), "what is deployed stays: {one}");
    let host = TestHost::serve(&redis, "[queues.ring]\n").await;
    assert_eq!(listed(&redis).await, ["bull:ring"]);
    host.stop().await;
    assert_eq!(listed(&redis).await, ["bull:ring"], "it was there just now");
}
