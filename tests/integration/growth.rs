//! Nothing grows, however thousands of attempts with a grant end: neither descriptors of the host, nor connections at the server,
//! nor keys. Requests and connections over TCP have tests of their own in `host/sandbox/tests/tcp`.

use serde_json::{Value, json};
use tempfile::tempdir;
use toril::queue::Queue;

use crate::harness::{TestHost, TestRedis, eventually, new_job, queue_section};
use crate::postgres::server::{self, Server};

const ATTEMPTS: usize = 10_000;
/// Jobs that are added with one call.
const BULK: usize = 1_000;
const OPTIONS: &str = "concurrency = 50\nremove_on_complete = 0\nremove_on_fail = 0\n";
/// Descriptors that come and go: threads, log files, connections that are opened anew.
const SLACK: usize = 12;

fn descriptors(host: &TestHost) -> usize {
    let dir = format!("/proc/{}/fd", host.pid());
    std::fs::read_dir(dir).unwrap().count()
}

/// Runs jobs of these kinds in turns, and waits until all have ended.
async fn run(queue: &Queue, kinds: &[(&str, Value)], count: usize) {
    let mut kinds = kinds.iter().cycle();
    for from in (0..count).step_by(BULK) {
        let jobs: Vec<_> = (0..BULK.min(count - from))
            .filter_map(|_| kinds.next())
            .map(|(name, data)| new_job(name, data.clone(), json!({})))
            .collect();
        queue.add_bulk(&jobs).await.unwrap();
    }
    let mut left = u64::MAX;
    while left > 0 {
        // As long as jobs end, it goes on.
        left = eventually("jobs end", async || {
            let counts = queue.counts().await.ok()?;
            let now = counts.values().sum();
            (now < left).then_some(now)
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_grows_over_ten_thousand_attempts_with_stores() {
    let redis = TestRedis::start(false).await;
    let section = queue_section("ring", "fixture-kv", OPTIONS);
    let grant = "[queues.ring.grants.kv]\nkeys_max = 20\nvalue_bytes_max = 100000";
    let host = TestHost::serve(&redis, &format!("{section}{grant}\n")).await;
    let queue = redis.queue("ring").await;
    let d = "default";
    let kinds = [
        ("calls", json!([["set", d, "a", "x"], ["get", d, "a"]])),
        ("calls", json!([["increment", d, "n"], ["keys", d]])),
        ("calls", json!([["stale-swap", d, "s", "y"]])),
        ("calls", json!([["hold", d, "a", 3]])),
        ("must", json!([["fill", d, "big", 100_001]])),
        ("must", json!([["open", "vault"]])),
        ("must", json!([["hold", d, "a", 3], ["trap", d, "a"]])),
    ];
    let clients = async || {
        let list: String = redis.command(&["CLIENT", "LIST"]).await;
        list.lines().count()
    };
    let keys = async || {
        let keys: Vec<String> = redis.command(&["KEYS", "*"]).await;
        // Notes of requests go away by themselves, but later than anybody waits here.
        let is_note = |key: &&String| key.contains(":toril-request:");
        keys.len() - keys.iter().filter(is_note).count()
    };
    run(&queue, &kinds, 100).await;
    let before = (descriptors(&host), clients().await, keys().await);
    run(&queue, &kinds, ATTEMPTS).await;
    eventually(
        "as few descriptors, connections and keys as before",
        async || {
            let is_so = descriptors(&host) <= before.0 + SLACK
                && clients().await <= before.1 + 1
                && keys().await <= before.2;
            is_so.then_some(())
        },
    )
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_over_ten_thousand_attempts_with_postgres() {
    const CONNECTIONS_MAX: usize = 4;
    let server = Server::start();
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let url = dir.path().join("url");
    std::fs::write(&url, server.url("postgres")).unwrap();
    let settings = format!(
        "{OPTIONS}\n[queues.ring.grants.postgres.main]\nurl = {{ file = {url:?} }}\nconnections_max = {CONNECTIONS_MAX}\n"
    );
    let host = TestHost::serve_queue(&redis, "ring", "fixture-postgres", &settings).await;
    let queue = redis.queue("ring").await;
    server.sql("postgres", "create table t (a int)");
    let kinds = [
        ("query", json!("insert into t values (1)")),
        ("query", json!("select 1 from t limit 1")),
        ("query", json!("select nothing from nowhere")),
        ("query", json!("set search_path = a")),
        ("left-open", json!("insert into t values (2)")),
        ("trap-inside", json!("insert into t values (3)")),
        ("query", json!("copy t from stdin")),
    ];
    run(&queue, &kinds, 100).await;
    let before = descriptors(&host);
    run(&queue, &kinds, ATTEMPTS).await;
    tokio::task::block_in_place(|| {
        server::eventually("as few connections and descriptors as before", || {
            // One more is the test's own.
            server.connections("postgres") <= CONNECTIONS_MAX + 1
                && descriptors(&host) <= before + SLACK
        });
    });
    let left = "select count(*) from pg_stat_activity where datname = 'postgres' and state like 'idle in transaction%'";
    assert_eq!(server.sql("postgres", left).trim(), "0");
    host.stop().await;
}
