//! The policy at every place where a call names or reaches a job: a refused call changes nothing in Redis.

mod queues;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use toril::queue::{Fetch, FlowNode, FlowOptions, Job, JobState, Queue, parse_flow};
use toril::redis_backend::RedisBackend;
use toril::sandbox::attempt::{self, AttemptInput};
use toril::sandbox::{Engine, EngineOptions, Grants, Outcome, Policy, Processor};
use toril::worker::Listeners;

use crate::harness::{TestRedis, processor};

/// Runs each test with a guest of either world.
macro_rules! in_either_world {
    ($($test:ident)*) => {
        mod processor {
            $(#[tokio::test] async fn $test() { super::$test("fixture-calls").await })*
        }
        mod plain_processor {
            $(#[tokio::test] async fn $test() { super::$test("fixture-plain-calls").await })*
        }
    };
}
use in_either_world;

/// An active job of queue `ring` that may use `open` and `other:shared`, and jobs of these and other queues.
struct World {
    redis: TestRedis,
    queue: Queue,
    job: Job,
    engine: Arc<Engine>,
    processor: Processor,
    policy: Arc<Policy>,
}

fn node(queue: &str, id: &str, children: Vec<Value>) -> Value {
    json!({ "name": "n", "queueName": queue, "opts": { "jobId": id }, "children": children })
}

impl World {
    async fn new(guest: &str, granted: &[&str]) -> Self {
        let redis = TestRedis::start(false).await;
        let queue = redis.queue("ring").await;
        let flow = |prefix: &str, node: Value| {
            let mut node = node;
            node["prefix"] = json!(prefix);
            parse_flow::<FlowNode>(&node.to_string()).unwrap()
        };
        let of = |id: &str, queue: &str| node(queue, id, vec![]);
        let flows = vec![
            flow(
                "bull",
                node("ring", "own", vec![of("k1", "open"), of("k2", "vault")]),
            ),
            flow("bull", node("open", "p1", vec![of("c1", "vault")])),
            flow(
                "bull",
                node(
                    "open",
                    "g0",
                    vec![node("open", "g1", vec![of("g2", "vault")])],
                ),
            ),
            flow("bull", node("vault", "r1", vec![of("rc1", "open")])),
            flow("bull", node("open", "q1", vec![of("q2", "open")])),
            flow("bull", of("x1", "ring")),
            flow("bull", of("v1", "vault")),
            flow("bull", of("a1", "open")),
            flow("other", of("o1", "open")),
            flow("other", of("s1", "shared")),
            flow("bull:open", of("5x", "a")),
        ];
        queue
            .flows()
            .add(flows, &FlowOptions::default())
            .await
            .unwrap();
        let _: u64 = redis.command(&["HSET", "session:42", "user", "7"]).await;
        // The children of the own job are pending, and it runs: as a job that was added before its children.
        let _: u64 = redis
            .command(&["ZREM", "bull:ring:waiting-children", "own"])
            .await;
        let _: u64 = redis.command(&["DEL", "bull:ring:wait"]).await;
        let _: u64 = redis.command(&["RPUSH", "bull:ring:wait", "own"]).await;
        let fetch = Fetch {
            worker: None,
            // Longer than any test: a lock that runs out is a change.
            lock_ms: 3_600_000,
            want: 1,
            bytes_max: usize::MAX,
            token: "token".into(),
            limiter: None,
            metrics_points: None,
            pin: None,
        };
        let taken = queue.settle_and_fetch(&[], &fetch).await.unwrap();
        let job = taken.jobs.into_iter().next().unwrap();
        let options = EngineOptions {
            executions_max: 2,
            ..EngineOptions::default()
        };
        let engine = Arc::new(Engine::new(&options).unwrap());
        let grants = Grants {
            queues: granted.iter().map(|name| (*name).to_owned()).collect(),
            ..Grants::default()
        };
        let policy = Arc::new(Policy {
            grants: Arc::new(grants),
            ..Policy::default()
        });
        let processor = load(&engine, &policy, guest).await;
        World {
            redis,
            queue,
            job,
            engine,
            processor,
            policy,
        }
    }

    /// The same with another guest.
    async fn with(self, guest: &str) -> Self {
        let processor = load(&self.engine, &self.policy, guest).await;
        World { processor, ..self }
    }

    /// Every key of Redis and what is in it.
    async fn snapshot(&self) -> BTreeMap<(String, String), Vec<Vec<u8>>> {
        let keys: Vec<String> = self.redis.command(&["KEYS", "*"]).await;
        let mut read = BTreeMap::new();
        // Notes of calls that were carried out leave in their own time.
        for key in keys
            .into_iter()
            .filter(|key| !key.contains(":toril-request"))
        {
            let kind: String = self.redis.command(&["TYPE", &key]).await;
            let content: Vec<Vec<u8>> = if kind == "hash" {
                // A server may move fields about when they are read.
                let fields: BTreeMap<Vec<u8>, Vec<u8>> =
                    self.redis.command(&["HGETALL", &key]).await;
                fields.into_iter().flat_map(<[_; 2]>::from).collect()
            } else {
                vec![self.redis.command(&["DUMP", &key]).await]
            };
            read.insert((kind, key), content);
        }
        read
    }

    async fn attempt(&self, calls: &Value) -> Outcome {
        let job = Job {
            data: calls.to_string(),
            ..self.job.clone()
        };
        let backend = RedisBackend::new(self.queue.clone(), Arc::new(job), Listeners::default());
        let input = AttemptInput::new(Box::new(backend));
        attempt::run(&self.engine, &self.processor, &self.policy, input)
            .await
            .outcome
    }

    async fn make(&self, call: &Value) -> Value {
        let outcome = self.attempt(&json!([call])).await;
        let Outcome::Completed(answers) = outcome else {
            panic!("{call}: {outcome:?}")
        };
        let answers: Vec<Value> = serde_json::from_str(&answers).unwrap();
        answers.into_iter().next().unwrap()
    }

    async fn refuses(&self, kind: &str, call: Value) {
        let before = self.snapshot().await;
        let answer = self.make(&call).await;
        let reason = answer[kind].as_str();
        assert!(reason.is_some(), "{call} was answered {answer}");
        if kind == "denied" {
            let reason = reason.unwrap();
            assert!(
                reason.contains("hint: add `") && reason.contains("to `grants.queues` of `ring`"),
                "{call}: {reason}"
            );
        }
        let after = self.snapshot().await;
        let changed: Vec<_> = after
            .iter()
            .filter(|(key, bytes)| before.get(*key) != Some(bytes))
            .map(|(key, _)| key)
            .chain(before.keys().filter(|key| !after.contains_key(*key)))
            .collect();
        assert!(changed.is_empty(), "{call} changed {changed:?}");
    }

    async fn allows(&self, call: Value) -> Value {
        let mut answer = self.make(&call).await;
        assert!(answer.get("ok").is_some(), "{call} was answered {answer}");
        answer["ok"].take()
    }
}

async fn load(engine: &Arc<Engine>, policy: &Arc<Policy>, guest: &str) -> Processor {
    let component = std::fs::read(processor(guest)).unwrap();
    engine.load(component, policy).await.unwrap()
}

in_either_world! {
    jobs_are_added_only_to_granted_queues_and_parents
    flows_are_judged_at_each_node_and_each_parent
    readings_stay_within_granted_queues
    removals_take_nothing_along_that_is_not_granted
    granted_children_are_removed_with_their_own
    options_have_a_size_and_defaults_count_for_each_job
}

/// `opts.parent` values that are refused, and how.
fn refused_parents() -> Vec<(&'static str, Value)> {
    let parent = |queue: &str, id: &str| json!({ "queue": queue, "id": id });
    vec![
        ("denied", parent("bull:vault", "v1")),
        ("denied", parent("bull:ring", "x1")),
        ("denied", parent("other:open", "o1")),
        ("denied", parent("other:ring", "own")),
        ("denied", parent("bull:open:a", "5x")),
        ("invalid", parent("session", "42")),
        ("invalid", parent("", "42")),
        ("invalid", parent("bull:", "42")),
        ("invalid", parent(":open", "42")),
        ("invalid", parent("bull:open", "a:5x")),
        ("invalid", parent("bull:open", "meta")),
        ("invalid", parent("bull:open", "wait")),
        ("invalid", parent("bull:open", "p1:dependencies")),
        ("invalid", parent("bull:open", "")),
        ("invalid", json!({ "queue": "bull:open" })),
        ("invalid", json!("bull:open:a1")),
        ("invalid", json!(["bull:open", "a1"])),
    ]
}

/// Queues that `World` does not grant, and texts that name none.
const NOT_GRANTED: [(&str, &str); 7] = [
    ("denied", "ring"),
    ("denied", "vault"),
    ("denied", "shared"),
    ("denied", "*"),
    ("invalid", "open:a"),
    ("invalid", "bull:open"),
    ("invalid", ""),
];

async fn jobs_are_added_only_to_granted_queues_and_parents(guest: &str) {
    let world = World::new(guest, &["open", "other:shared"]).await;
    for (kind, queue) in NOT_GRANTED {
        world.refuses(kind, json!(["add", queue, "{}"])).await;
        world.refuses(kind, json!(["call", queue, "{}"])).await;
        world
            .refuses(kind, json!(["add-bulk", queue, "{}", "{}"]))
            .await;
    }
    for (kind, parent) in refused_parents() {
        let options = json!({ "parent": parent, "failParentOnFailure": true }).to_string();
        world.refuses(kind, json!(["add", "open", options])).await;
        world
            .refuses(kind, json!(["add-bulk", "open", "{}", options]))
            .await;
    }
    let own = r#""parent":{"queue":"bull:ring","id":"own"}"#;
    let vault = r#""parent":{"queue":"bull:vault","id":"v1"}"#;
    let twice = |first: &str, last: &str| format!("{{{first},{last}}}");
    world
        .refuses("denied", json!(["add", "open", twice(own, vault)]))
        .await;
    let escaped = vault.replace("parent", "\\u0070arent");
    world
        .refuses("denied", json!(["add", "open", format!("{{{escaped}}}")]))
        .await;
    for options in ["{\"jobId\":\"a:5x\"}", "{\"jobId\":\"a:5x:lock\"}"] {
        world
            .refuses("invalid", json!(["add", "open", options]))
            .await;
    }

    world.allows(json!(["add", "open", "{}"])).await;
    let id = world
        .allows(json!(["add", "open", twice(vault, own)]))
        .await;
    let key = format!("bull:open:{}", id.as_str().unwrap());
    let parent: String = world.redis.command(&["HGET", &key, "parentKey"]).await;
    assert_eq!(parent, "bull:ring:own");
    let granted = r#"{"parent":{"queue":"bull:open","id":"a1"}}"#;
    world.allows(json!(["add", "open", granted])).await;
    world
        .allows(json!(["add", "open", r#"{"parent":null}"#]))
        .await;
}

async fn flows_are_judged_at_each_node_and_each_parent(guest: &str) {
    let world = World::new(guest, &["open", "other:shared"]).await;
    let at_each_level = |bad: &Value| {
        let wrap = |child: Value| node("open", "w", vec![child]);
        [bad.clone(), wrap(bad.clone()), wrap(wrap(bad.clone()))]
    };
    for (kind, queue, prefix) in [
        ("denied", "vault", None),
        ("denied", "ring", None),
        ("denied", "open", Some("other")),
        ("denied", "shared", None),
        ("denied", "a", Some("bull:open")),
        ("invalid", "open:a", None),
        ("invalid", "", None),
        ("invalid", "open", Some("")),
    ] {
        let mut bad = json!({ "name": "n", "queueName": queue });
        if let Some(prefix) = prefix {
            bad["prefix"] = json!(prefix);
        }
        for flow in at_each_level(&bad) {
            let flows = json!([flow]).to_string();
            world.refuses(kind, json!(["add-flows", flows, "{}"])).await;
        }
    }
    for (kind, parent) in refused_parents() {
        let bad = json!({ "name": "n", "queueName": "open", "opts": { "parent": parent } });
        for flow in at_each_level(&bad) {
            let flows = json!([node("open", "fine", vec![]), flow]).to_string();
            world.refuses(kind, json!(["add-flows", flows, "{}"])).await;
        }
        let defaults =
            json!({ "queuesOptions": { "open": { "defaultJobOptions": { "parent": parent } } } });
        let flows = json!([{ "name": "n", "queueName": "open" }]).to_string();
        world
            .refuses(kind, json!(["add-flows", flows, defaults.to_string()]))
            .await;
    }
    let flow = json!([{ "name": "n", "queueName": "open", "prefix": "bull",
        "opts": { "parent": { "queue": "bull:ring", "id": "own" } },
        "children": [{ "name": "n", "queueName": "shared", "prefix": "other" }] }]);
    world
        .allows(json!(["add-flows", flow.to_string(), "{}"]))
        .await;
}

async fn readings_stay_within_granted_queues(guest: &str) {
    let world = World::new(guest, &["open", "other:shared"]).await;
    for (kind, queue, id) in [
        ("denied", "vault", "v1"),
        ("denied", "ring", "own"),
        ("invalid", "open:a", "5x"),
        ("invalid", "open", "a:5x"),
        ("invalid", "open", "meta"),
        ("invalid", "open", "p1:dependencies"),
        ("invalid", "open", ""),
    ] {
        world.refuses(kind, json!(["state", queue, id])).await;
        world
            .refuses(kind, json!(["get-flow", queue, id, "{}"]))
            .await;
    }
    for (id, depth) in [("p1", 2), ("g0", 3)] {
        let deep = json!({ "depth": depth }).to_string();
        world
            .refuses("denied", json!(["get-flow", "open", id, deep]))
            .await;
        let shallow = json!({ "depth": depth - 1 }).to_string();
        world.allows(json!(["get-flow", "open", id, shallow])).await;
    }
    assert_eq!(
        world.allows(json!(["state", "open", "a1"])).await,
        "waiting"
    );
    let tree = world.allows(json!(["get-flow", "open", "q1", "{}"])).await;
    assert!(tree.as_str().unwrap().contains("\"q2\""), "{tree}");
    // What its own children came to is the job's own, wherever they are.
    world.allows(json!(["children-values"])).await;
    world.allows(json!(["failed-children-values"])).await;
    world.allows(json!(["dependencies", "{}"])).await;
    world.allows(json!(["dependencies-count", "{}"])).await;
}

async fn removals_take_nothing_along_that_is_not_granted(guest: &str) {
    let world = World::new(guest, &["open", "other:shared"]).await;
    for with_children in [true, false] {
        for (kind, queue, id) in [
            ("denied", "vault", "v1"),
            ("denied", "ring", "x1"),
            ("denied", "open", "rc1"),
            ("invalid", "open:a", "5x"),
            ("invalid", "open", "a:5x"),
            ("invalid", "open", "meta"),
            ("invalid", "open", "id"),
            ("not-found", "open", "nobody"),
        ] {
            world
                .refuses(kind, json!(["remove", queue, id, with_children]))
                .await;
        }
    }
    for id in ["p1", "g0", "g1"] {
        world
            .refuses("denied", json!(["remove", "open", id, true]))
            .await;
    }
    world
        .refuses("denied", json!(["remove-unprocessed-children"]))
        .await;
    world.allows(json!(["remove", "open", "q1", true])).await;
    world.allows(json!(["remove", "open", "p1", false])).await;
    let left: u64 = world
        .redis
        .command(&["EXISTS", "bull:open:q1", "bull:open:q2", "bull:open:p1"])
        .await;
    assert_eq!(left, 0);
}

async fn granted_children_are_removed_with_their_own(guest: &str) {
    let world = World::new(guest, &["*"]).await;
    let removed = world.allows(json!(["remove-unprocessed-children"])).await;
    assert_eq!(removed, 2);
    world.allows(json!(["remove", "open", "g0", true])).await;
    let denied = json!([
        "add",
        "open",
        r#"{"parent":{"queue":"other:open","id":"o1"}}"#
    ]);
    world.refuses("denied", denied).await;
}

/// Refused before they are read: as values they would take many times the memory that the guest may have.
async fn options_have_a_size_and_defaults_count_for_each_job(guest: &str) {
    let world = World::new(guest, &["open"]).await;
    let pad = |bytes: usize| json!({ "pad": "x".repeat(bytes) });
    let large = pad(9 << 20).to_string();
    world.refuses("limit", json!(["add", "open", large])).await;
    let half = pad(5 << 20).to_string();
    let two = json!(["add-bulk", "open", half, half]);
    world.refuses("limit", two).await;
    let nodes: Vec<Value> = (0..200)
        .map(|_| json!({ "name": "n", "queueName": "open" }))
        .collect();
    let below = json!([{ "name": "n", "queueName": "open", "children": nodes }]).to_string();
    let flows = json!(nodes).to_string();
    let defaults = |bytes: usize| {
        let options = json!({ "open": { "defaultJobOptions": pad(bytes) } });
        json!({ "queuesOptions": options }).to_string()
    };
    for flows in [&flows, &below] {
        world
            .refuses("limit", json!(["add-flows", flows, defaults(100_000)]))
            .await;
    }
    world
        .refuses("limit", json!(["add-flows", "[]", defaults(9 << 20)]))
        .await;
    world
        .allows(json!(["add-flows", flows, defaults(1_000)]))
        .await;
}

/// What every call on the job is answered, and what it leaves in Redis.
#[tokio::test]
async fn job_is_the_same_in_either_world() {
    let mut seen = Vec::new();
    let mut world = World::new("fixture-calls", &["*"]).await;
    for guest in ["fixture-calls", "fixture-plain-calls"] {
        world = world.with(guest).await;
        let mut answers = Vec::new();
        for call in [
            json!(["update-data", r#"{"wall":1}"#]),
            json!(["update-data", "no JSON"]),
            json!(["update-progress", "50"]),
            json!(["update-progress", "{"]),
            json!(["children-values"]),
            json!(["failed-children-values"]),
            json!(["dependencies", "{}"]),
            json!(["dependencies", "[]"]),
            json!(["dependencies-count", "{}"]),
            json!(["remove-child-dependency"]),
            json!(["move-to-waiting-children", "bull:open:k9"]),
        ] {
            // In one attempt: the fields show what it changed.
            let calls = json!([call, ["fields"]]);
            answers.push(world.attempt(&calls).await);
        }
        seen.push((answers, world.queue.job("own").await.unwrap()));
    }
    let Outcome::Completed(first) = &seen[0].0[0] else {
        panic!("{:?}", seen[0].0[0])
    };
    let fields = &serde_json::from_str::<Value>(first).unwrap()[1]["ok"];
    assert_eq!(fields["id"], "own");
    assert_eq!(fields["queueQualifiedName"], "bull:ring");
    assert_eq!(fields["data"], r#"{"wall":1}"#);
    assert!(seen[0] == seen[1], "{seen:#?}");
    for (call, state) in [
        (json!(["log", "a line"]), JobState::Delayed),
        (
            json!(["move-to-delayed", 4_000_000_000_000_u64]),
            JobState::Delayed,
        ),
        (
            json!(["move-to-waiting-children", null]),
            JobState::WaitingChildren,
        ),
        (json!(["move-to-wait"]), JobState::Waiting),
        (json!(["remove-unprocessed-children"]), JobState::Delayed),
    ] {
        let mut outcomes = Vec::new();
        for guest in ["fixture-calls", "fixture-plain-calls"] {
            let world = World::new(guest, &["*"]).await;
            // Of two moves the first one counts.
            outcomes.push(world.attempt(&json!([call, ["move-to-delayed", 1]])).await);
            let reached = world.queue.state("own").await.unwrap();
            assert_eq!(reached, state, "{call} of {guest}");
        }
        assert_eq!(outcomes[0], outcomes[1], "{call}");
    }
}
