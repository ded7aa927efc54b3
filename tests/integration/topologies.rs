//! More than one Redis: a cluster and a sentinel trio, each through a failover; TLS and ACL.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use toril::queue::{
    Caller, FlowNode, FlowOptions, JobState, KvOwner, KvRoom, Queue, QueueName, Redis, parse_flow,
};

use crate::harness::{TestHost, eventually, new_job, processor, queue_section, reaches, toril_at};

/// A server process, killed when dropped.
struct Node {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        Self::start_on(free_port(), arguments)
    }

    fn start_on(port: u16, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("redis.conf");
        std::fs::write(&config, "").unwrap();
        let child = Command::new("redis-server")
            .arg(&config)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--maxmemory-policy", "noeviction", "--dir"])
            .arg(dir.path())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Node {
            child,
            port,
            _dir: dir,
        }
    }

    fn sentinel(master: u16) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let config = dir.path().join("sentinel.conf");
        let lines = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor ring 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds ring {DOWN_AFTER_MS}\nsentinel failover-timeout ring 2000\n",
            dir.path().display()
        );
        std::fs::write(&config, lines).unwrap();
        let child = Command::new("redis-server")
            .arg(&config)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Node {
            child,
            port,
            _dir: dir,
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One command to this very node; none while it does not answer.
    async fn command<T: redis::FromRedisValue>(&self, parts: &[&str]) -> Option<T> {
        let client = redis::Client::open(format!("redis://{}", self.address())).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd(parts[0])
            .arg(&parts[1..])
            .query_async(&mut connection)
            .await
            .ok()
    }
}

/// A free port. The port of its cluster bus (10,000 above) is valid, too. Both lie below those that the system gives to new
/// connections, and each is given out once.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = fastrand::u16(10_000..20_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
            && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()
            && GIVEN.lock().unwrap().insert(port)
        {
            return port;
        }
    }
}

async fn add_flow(queue: &Queue, root: &str, children: usize) {
    let node = |id: String, children: Vec<Value>| json!({ "name": "any", "queueName": "ring", "opts": { "jobId": id }, "children": children });
    let children = (0..children)
        .map(|n| node(format!("{root}-{n}"), vec![]))
        .collect();
    let flow: FlowNode = parse_flow(&node(root.to_owned(), children).to_string()).unwrap();
    let flows = queue.flows();
    let plan = flows.plan(vec![flow], &FlowOptions::default()).unwrap();
    // A failover may be under way: adding the same plan again adds nothing twice.
    eventually("the flow is added", async || plan.add().await.ok()).await;
}

/// As a whole, and in words that say what to do.
#[tokio::test]
async fn cluster_refuses_jobs_that_one_script_cannot_reach() {
    let (nodes, _) = start_cluster("{bull}").await;
    let url = format!("redis+cluster://{}", nodes[0].address());
    let redis = Redis::connect(&url).await.unwrap();
    let queue = Queue::new(redis, "{bull}", &QueueName::new("ring").unwrap());
    add_flow(&queue, "root", 1).await;
    for prefix in ["{a}", "{b}", "{c}", "bull"] {
        let child = json!({ "name": "any", "queueName": "ring", "prefix": prefix });
        let root = json!({ "name": "any", "queueName": "ring", "opts": { "jobId": "far" }, "children": [child] });
        let flow: FlowNode = parse_flow(&root.to_string()).unwrap();
        let added = queue.flows().add(vec![flow], &FlowOptions::default()).await;
        let refused = added.unwrap_err().to_string();
        let said = format!("`{{bull}}:ring` and `{prefix}:ring` have no hash tag in common");
        assert!(refused.contains(&said), "{refused}");
        let parent = json!({ "id": "1", "queue": format!("{prefix}:ring") });
        let child = new_job(
            "any",
            json!(null),
            json!({ "jobId": "far", "parent": parent }),
        );
        let refused = queue.add(&child).await.unwrap_err().to_string();
        assert!(refused.contains("no hash tag in common"), "{refused}");
    }
    assert_eq!(queue.job("far").await.unwrap(), None);
    let parent = json!({ "id": "root", "queue": "{bull}:ring" });
    let child = new_job("any", json!(null), json!({ "parent": parent }));
    queue.add(&child).await.unwrap();
}

/// Waits for a job through failovers, during which asking fails.
async fn completes(queue: &Queue, id: &str) {
    let what = format!("job {id} completes");
    eventually(&what, async || {
        (queue.state(id).await.ok()? == JobState::Completed).then_some(())
    })
    .await;
}

/// For so long a server is silent that counts as dead: longer than a busy machine holds one up.
const DOWN_AFTER_MS: &str = "2000";
const CLUSTER: [&str; 4] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    DOWN_AFTER_MS,
];

/// Three masters that share the slots, and a replica of the one that holds the queue.
async fn start_cluster(prefix: &str) -> (Vec<Node>, usize) {
    let nodes: Vec<Node> = (0..4).map(|_| Node::start(&CLUSTER)).collect();
    for (at, node) in nodes.iter().enumerate() {
        eventually("a node answers", async || {
            node.command::<String>(&["PING"]).await
        })
        .await;
        if let Some(slots) = [0..5461, 5461..10923, 10923..16384].get(at) {
            let slots: Vec<String> = slots.clone().map(|slot: u32| slot.to_string()).collect();
            let slots = slots.iter().map(String::as_str);
            // ADDSLOTSRANGE is newer than Redis 6.2.
            let add: Vec<&str> = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect();
            node.command::<String>(&add).await.unwrap();
            let epoch = (at + 1).to_string();
            node.command::<String>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .await
                .unwrap();
        }
        let first = nodes[0].port.to_string();
        node.command::<String>(&["CLUSTER", "MEET", "127.0.0.1", &first])
            .await
            .unwrap();
    }
    for node in &nodes {
        eventually("the cluster forms", async || {
            let info: String = node.command(&["CLUSTER", "INFO"]).await?;
            (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4"))
                .then_some(())
        })
        .await;
    }
    let slot: usize = nodes[0]
        .command(&["CLUSTER", "KEYSLOT", prefix])
        .await
        .unwrap();
    let holder = match slot {
        0..=5460 => 0,
        5461..=10922 => 1,
        _ => 2,
    };
    let holder_id: String = nodes[holder].command(&["CLUSTER", "MYID"]).await.unwrap();
    eventually("the replica follows", async || {
        nodes[3]
            .command::<String>(&["CLUSTER", "REPLICATE", &holder_id])
            .await
    })
    .await;
    in_step(&nodes[holder]).await;
    (nodes, holder)
}

/// Waits until a replica has all that this master has.
async fn in_step(master: &Node) {
    eventually("a replica is in step", async || {
        let client = redis::Client::open(format!("redis://{}", master.address())).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        // `WAIT` waits for what this connection wrote, and so for all that was written before.
        let write = redis::cmd("SET")
            .arg("{bull}:in-step")
            .arg(1)
            .exec_async(&mut connection)
            .await;
        write.ok()?;
        let wait = redis::cmd("WAIT")
            .arg(1)
            .arg(100)
            .query_async::<u64>(&mut connection)
            .await;
        (wait.ok()? == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cluster_keeps_key_value_stores_beside_the_queue() {
    let (nodes, holder) = start_cluster("{bull}").await;
    let url = format!("redis+cluster://{}", nodes[0].address());
    let redis = Redis::connect(&url).await.unwrap();
    let queue = Queue::new(redis.clone(), "{bull}", &QueueName::new("ring").unwrap());
    for owner in [KvOwner::Queue, KvOwner::Prefix] {
        let (store, room) = (queue.kv(owner, "default").unwrap(), KvRoom::UNBOUNDED);
        let entries = ["a", "b"].map(|key| (key.to_owned(), b"1".to_vec()));
        store.set(&entries, &room).await.unwrap();
        let mut caller = Caller::new(redis.clone(), "attempt");
        let sum = store.increment("a", 1, &room, &caller.request()).await;
        assert_eq!(sum.unwrap(), 2);
        let read = store.read(&["a".to_owned()], 10).await.unwrap().remove(0);
        let request = caller.request();
        let swapped = store.swap("a", read.version, b"x", &room, &request).await;
        assert!(swapped.unwrap());
        assert_eq!(store.get("a").await.unwrap().unwrap(), b"x");
        assert_eq!(store.keys(None).await.unwrap().keys, ["a", "b"]);
        assert_eq!(store.usage().await.unwrap().keys, 2);
    }
    let keys: Vec<String> = nodes[holder]
        .command(&["KEYS", "toril:*:kv*"])
        .await
        .unwrap();
    let values = keys.iter().filter(|key| key.contains(":default:"));
    assert!(values.count() >= 4 + 3 + 3, "{keys:?}");
    for owner in [KvOwner::Queue, KvOwner::Prefix] {
        let store = queue.kv(owner, "default").unwrap();
        assert_eq!(store.clear().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn cluster_works_jobs_and_flows_through_a_failover() {
    let (mut nodes, holder) = start_cluster("{bull}").await;
    let addresses: Vec<String> = nodes.iter().take(3).map(Node::address).collect();
    let url = format!("redis+cluster://{}", addresses.join(","));
    let options = "lock_duration_ms = 2000\nstalled_interval_ms = 500\nmax_stalled_count = 100";
    let section = queue_section("ring", "fixture-noop", options);

    let mut untagged = TestHost::spawn(&format!("redis = \"{url}\"\n{section}"), &[]);
    assert!(!untagged.ended().await.success());
    assert!(
        untagged.log().contains("has no hash tag"),
        "{}",
        untagged.log()
    );

    let mut host = TestHost::spawn(
        &format!("redis = \"{url}\"\nprefix = \"{{bull}}\"\n{section}"),
        &[],
    );
    host.logs("serving").await;
    let queue = Queue::new(
        Redis::connect(&url).await.unwrap(),
        "{bull}",
        &QueueName::new("ring").unwrap(),
    );
    add_flow(&queue, "before", 100).await;
    completes(&queue, "before").await;
    let other = processor("fixture-version").display().to_string();
    let deploy = ["deploy", "ring", &other, "--prefix", "{bull}"];
    let deployed = toril_at(&url, &deploy).await;
    assert!(deployed.status.success(), "{deployed:?}");

    in_step(&nodes[holder]).await;
    nodes[holder].child.kill().await.unwrap();
    add_flow(&queue, "after", 100).await;
    completes(&queue, "after").await;
    completes(&queue, "before").await;
    let role: Vec<redis::Value> = nodes[3].command(&["ROLE"]).await.unwrap();
    assert_eq!(
        role[0],
        redis::Value::BulkString(b"master".to_vec()),
        "the replica took over"
    );
    host.stop().await;
}

/// Keys of jobs were on one node and the lists that name them on the other: calls failed half-way, and jobs were lost.
#[tokio::test]
async fn cluster_moves_the_slot_of_a_queue_to_another_node_and_no_job_is_lost() {
    let (nodes, holder) = start_cluster("{bull}").await;
    let (from, to) = (&nodes[holder], &nodes[(holder + 1) % 3]);
    let url = format!("redis+cluster://{}", from.address());
    let connection = Redis::connect(&url).await.unwrap();
    let queue = Queue::new(connection, "{bull}", &QueueName::new("ring").unwrap());
    let ids: Vec<String> = (0..40).map(|n| format!("job-{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        let options = json!({ "jobId": id, "delay": n % 2, "attempts": 2 });
        queue.add(&new_job("any", json!(n), options)).await.unwrap();
    }
    // As a producer of BullMQ does. The key that routes all calls is the last one to move.
    let meta = ["HSET", "{bull}:ring:meta", "opts.maxLenEvents", "10000"];
    from.command::<u64>(&meta).await.unwrap();
    let slot: u16 = from
        .command(&["CLUSTER", "KEYSLOT", "{bull}"])
        .await
        .unwrap();
    let slot = slot.to_string();
    let from_id: String = from.command(&["CLUSTER", "MYID"]).await.unwrap();
    let to_id: String = to.command(&["CLUSTER", "MYID"]).await.unwrap();
    for (node, state, other) in [(to, "IMPORTING", &from_id), (from, "MIGRATING", &to_id)] {
        let set = ["CLUSTER", "SETSLOT", &slot, state, other];
        node.command::<String>(&set).await.unwrap();
    }
    let keys: Vec<String> = ids.iter().map(|id| format!("{{bull}}:ring:{id}")).collect();
    move_keys(from, to, &keys).await;

    let mut host = TestHost::spawn(
        &format!(
            "redis = \"{url}\"\nprefix = \"{{bull}}\"\n{}",
            queue_section("ring", "fixture-noop", "")
        ),
        &[],
    );
    host.logs("serving").await;
    eventually("the host asks for jobs, and is refused", async || {
        let errors: String = from.command(&["INFO", "errorstats"]).await?;
        // A set that is gone is asked for at the other node.
        let delayed: Option<u64> = from.command(&["ZCARD", "{bull}:ring:delayed"]).await;
        (errors.contains("TRYAGAIN") || delayed != Some(20)).then_some(())
    })
    .await;

    loop {
        let left = ["CLUSTER", "GETKEYSINSLOT", &slot, "100"];
        let left: Vec<String> = from.command(&left).await.unwrap();
        if left.is_empty() {
            break;
        }
        move_keys(from, to, &left).await;
    }
    for node in [to, from, &nodes[(holder + 2) % 3]] {
        let set = ["CLUSTER", "SETSLOT", &slot, "NODE", &to_id];
        node.command::<String>(&set).await.unwrap();
    }
    for id in &ids {
        let job = reaches(&queue, id, JobState::Completed).await;
        assert_eq!(job["ats"], "1", "{id}");
    }
    host.stop().await;
}

async fn move_keys(from: &Node, to: &Node, keys: &[String]) {
    let port = to.port.to_string();
    let move_to = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    let keys = keys.iter().map(String::as_str);
    let migrate: Vec<&str> = move_to.into_iter().chain(keys).collect();
    from.command::<String>(&migrate).await.unwrap();
}

#[tokio::test]
async fn sentinels_lead_the_host_to_the_new_master() {
    let mut master = Node::start(&[]);
    let master_port = master.port.to_string();
    let replica = Node::start(&["--replicaof", "127.0.0.1", &master_port]);
    in_step(&master).await;
    let sentinels: Vec<Node> = (0..3).map(|_| Node::sentinel(master.port)).collect();
    for sentinel in &sentinels {
        eventually("the sentinels know each other", async || {
            // A sentinel that was held up for two seconds does nothing for thirty.
            let _: Option<()> = sentinel
                .command(&["SENTINEL", "DEBUG", "TILT-PERIOD", "1000"])
                .await;
            let others: Vec<redis::Value> =
                sentinel.command(&["SENTINEL", "SENTINELS", "ring"]).await?;
            let replicas: Vec<redis::Value> =
                sentinel.command(&["SENTINEL", "REPLICAS", "ring"]).await?;
            (others.len() == 2 && replicas.len() == 1).then_some(())
        })
        .await;
    }
    let addresses: Vec<String> = sentinels.iter().map(Node::address).collect();
    let url = format!("redis+sentinel://{}/ring", addresses.join(","));
    let options = "lock_duration_ms = 2000\nstalled_interval_ms = 500\nmax_stalled_count = 100";
    let section = queue_section("ring", "fixture-noop", options);
    let mut host = TestHost::spawn(&format!("redis = \"{url}\"\n{section}"), &[]);
    host.logs("serving").await;
    let queue = Queue::new(
        Redis::connect(&url).await.unwrap(),
        "bull",
        &QueueName::new("ring").unwrap(),
    );
    add_flow(&queue, "before", 20).await;
    completes(&queue, "before").await;

    in_step(&master).await;
    master.child.kill().await.unwrap();
    add_flow(&queue, "after", 20).await;
    completes(&queue, "after").await;
    completes(&queue, "before").await;
    let role: Vec<redis::Value> = replica.command(&["ROLE"]).await.unwrap();
    assert_eq!(
        role[0],
        redis::Value::BulkString(b"master".to_vec()),
        "the replica took over"
    );
    host.stop().await;
}

/// A server certificate for 127.0.0.1 that is its own authority.
fn write_certificate(dir: &Path) {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn tls_and_acl_users_are_honoured() {
    let dir = tempfile::tempdir().unwrap();
    write_certificate(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key, tls_port) = (file("cert.pem"), file("key.pem"), free_port());
    let port = tls_port.to_string();
    let tls = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ];
    let rest = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"];
    let user = ["--user", "toril", "on", ">ole", "~bull:*", "&*", "+@all"];
    let off = ["--user", "default", "off"];
    let arguments: Vec<&str> = [&tls[..], &rest, &user, &off].concat();
    let _server = Node::start_on(0, &arguments);
    let url = format!("rediss://toril:ole@127.0.0.1:{tls_port}");
    let authority = std::fs::read(&cert).unwrap();
    let redis = eventually("the server answers", async || {
        Redis::connect_trusting(&url, Some(&authority)).await.ok()
    })
    .await;
    let untrusted = Redis::connect(&url)
        .await
        .err()
        .expect("an unknown authority is refused");
    assert!(
        untrusted.to_string().to_lowercase().contains("certificate"),
        "{untrusted}"
    );

    let processor = processor("fixture-noop");
    let config = format!(
        "redis = \"{url}\"\nredis_ca_file = {cert:?}\n[queues.ring]\nprocessor = {processor:?}\n"
    );
    let mut host = TestHost::spawn(&config, &[]);
    host.logs("serving").await;
    let queue = Queue::new(redis, "bull", &QueueName::new("ring").unwrap());
    let id = queue
        .add(&new_job("any", json!(null), json!({})))
        .await
        .unwrap();
    reaches(&queue, &id, JobState::Completed).await;
    assert!(
        !host.log().contains("ole"),
        "the password is in the log:\n{}",
        host.log()
    );
    host.stop().await;

    let wrong = config.replace("toril:ole", "toril:wrong");
    let mut refused = TestHost::spawn(&wrong, &[]);
    assert!(!refused.ended().await.success());
    assert!(
        refused.log().contains("WRONGPASS") || refused.log().contains("AuthenticationFailed"),
        "{}",
        refused.log()
    );
}
