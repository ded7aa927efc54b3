//! The memory that all guests of a host share: who waits for it, who gives way, and that all of it comes back.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use toril::queue::JobState;
use toril::sandbox::attempt::{self, AttemptInput, AttemptResult};
use toril::sandbox::{
    Cancel, Engine, EngineOptions, Grants, Limits, LoneJob, Outcome, Policy, Processor, Reuse, Stop,
};

use crate::harness::{
    TestHost, TestRedis, add, count, eventually, handwritten, new_job, processor, queue_section,
    reaches,
};

const MIB: usize = 1 << 20;

/// An engine, without a host around it.
struct World {
    engine: Arc<Engine>,
    processor: Processor,
    policy: Arc<Policy>,
}

impl World {
    async fn new(options: EngineOptions, policy: Policy, component: Vec<u8>) -> Arc<Self> {
        let engine = Arc::new(Engine::new(&options).unwrap());
        let policy = Arc::new(policy);
        let processor = engine.load(component, &policy).await.unwrap();
        Arc::new(World {
            engine,
            processor,
            policy,
        })
    }

    async fn misbehaving(options: EngineOptions, policy: Policy) -> Arc<Self> {
        let component = std::fs::read(processor("fixture-misbehaving")).unwrap();
        Self::new(options, policy, component).await
    }

    async fn run(&self, name: &str, data: Value) -> Outcome {
        self.run_as(&self.policy, name, data, Arc::default()).await
    }

    async fn run_as(
        &self,
        policy: &Arc<Policy>,
        name: &str,
        data: Value,
        cancel: Arc<Cancel>,
    ) -> Outcome {
        self.attempt(policy, name, data, cancel).await.outcome
    }

    async fn attempt(
        &self,
        policy: &Arc<Policy>,
        name: &str,
        data: Value,
        cancel: Arc<Cancel>,
    ) -> AttemptResult {
        let job = Box::new(LoneJob::new(name, &data.to_string()));
        let input = AttemptInput {
            cancel,
            ..AttemptInput::new(job)
        };
        attempt::run(&self.engine, &self.processor, policy, input).await
    }

    async fn holds(&self, what: &str, is_so: impl Fn(usize) -> bool) {
        let held = async || is_so(self.engine.memory_bytes()).then_some(());
        eventually(what, held).await;
    }
}

/// A value waits for as long as Redis cannot be reached.
#[tokio::test]
async fn value_of_a_guest_counts_as_its_memory_for_as_long_as_it_is_there() {
    let world = World::misbehaving(budget(64 * MIB), limits(50, 60_000)).await;
    let run = async |bytes: usize| {
        let data = json!(bytes);
        world
            .attempt(&world.policy, "huge-value", data, Arc::default())
            .await
    };
    let (large, small) = (run(4 * MIB).await, run(100).await);
    // With its quotes.
    assert_eq!(world.engine.memory_bytes(), 4 * MIB + 2);
    drop((large, small));
    assert_eq!(world.engine.memory_bytes(), 0);
}

/// Header fields and the like are in the host's memory, and cost it as much as the guest's own.
#[tokio::test]
async fn what_the_host_holds_for_a_guest_counts_as_its_memory() {
    let grants: Grants = serde_json::from_value(json!({ "http": { "hosts": [] } })).unwrap();
    let policy = Policy {
        grants: Arc::new(grants),
        ..limits(16, 60_000)
    };
    let component = std::fs::read(processor("fixture-http")).unwrap();
    let world = World::new(budget(64 * MIB), policy, component).await;
    for what in [
        "appended", "set", "clones", "lists", "methods", "paths", "bodies",
    ] {
        let outcome = world.run(&format!("hoard {what}"), json!(null)).await;
        let Outcome::Failed { message, .. } = outcome else {
            panic!("{what}: {outcome:?}");
        };
        let expected = "processor exceeded its memory limit of 16777216 bytes, which include what the host holds";
        assert!(message.starts_with(expected), "{what}: {message}");
        world
            .holds("all of it comes back", |bytes| bytes == 0)
            .await;
    }
    // What is dropped does not count.
    let outcome = world.run("hoard nothing", json!(null)).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
}

fn budget(bytes: usize) -> EngineOptions {
    EngineOptions {
        executions_max: 50,
        memory_bytes_max: Some(bytes),
        ..EngineOptions::default()
    }
}

fn limits(memory_mib: usize, deadline_ms: u64) -> Policy {
    Policy {
        limits: Limits {
            memory_bytes_max: memory_mib * MIB,
            deadline_ms,
            cancel_grace_ms: 10,
            ..Limits::default()
        },
        ..Policy::default()
    }
}

/// A processor whose instances begin with so many MiB.
fn begins_with(mib: usize) -> Vec<u8> {
    handwritten(&format!(
        r#"(memory (export "memory") {})
           (data (i32.const 8) "\20\00\00\00\08\00\00\00")
           (data (i32.const 32) "12345678")
           (func (export "process") (param i32) (result i32) local.get 0 call $drop i32.const 0)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#,
        mib * 16
    ))
}

fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { message, .. } => message,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn guests_that_need_more_memory_than_there_is_take_turns() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let config = format!(
        "[runtime]\nmemory_bytes_max = {}\n{}",
        100 * MIB,
        queue_section("ring", "fixture-misbehaving", "concurrency = 20")
    );
    let host = TestHost::serve(&redis, &config).await;
    // All of them grow side by side: each needs 40 MiB in the end.
    let jobs = vec![new_job("hoard", json!({ "mib": 40 }), json!({})); 60];
    queue.add_bulk(&jobs).await.unwrap();
    let done = async || {
        let failed = count(&redis, "ring", "failed").await;
        assert_eq!(failed, 0, "{}", host.log());
        (count(&redis, "ring", "completed").await == 60).then_some(())
    };
    eventually("all are completed", done).await;

    let id = add(&queue, "hoard", json!({ "mib": 110 })).await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    assert_eq!(
        job["failedReason"],
        "processor needs more than the 104857600 bytes of memory that all guests of this host share \
         (`runtime.memory_bytes_max`)"
    );
    host.stop().await;
}

#[tokio::test]
async fn guests_wait_for_the_memory_that_they_begin_with() {
    let world = World::new(budget(50 * MIB), limits(20, 60_000), begins_with(20)).await;
    let mut running = JoinSet::new();
    for _ in 0..20 {
        let world = Arc::clone(&world);
        running.spawn(async move { world.run("any", json!(null)).await });
    }
    while let Some(outcome) = running.join_next().await {
        assert_eq!(outcome.unwrap(), Outcome::Completed("12345678".into()));
        assert!(world.engine.memory_bytes() <= 50 * MIB);
    }
    assert_eq!(world.engine.memory_bytes(), 0);
}

#[tokio::test]
async fn component_that_begins_with_too_much_is_refused_with_what_to_set() {
    let engine = Arc::new(Engine::new(&budget(10 * MIB)).unwrap());
    let refused = |policy: Policy| {
        let engine = Arc::clone(&engine);
        async move {
            let loaded = engine.load(begins_with(20), &Arc::new(policy)).await;
            loaded.err().unwrap().to_string()
        }
    };
    let bytes = 20 * MIB;
    let error = refused(limits(100, 60_000)).await;
    let hint = format!("hint: set `memory_bytes_max = {bytes}` or more in `[runtime]`");
    assert!(error.contains(&hint), "{error}");
    let error = refused(limits(10, 60_000)).await;
    let hint = format!("hint: set `memory_bytes_max = {bytes}` or more in `[queues.NAME.limits]`");
    assert!(error.contains(&hint), "{error}");
    assert_eq!(engine.memory_bytes(), 0);
}

#[tokio::test]
async fn all_memory_comes_back_however_a_guest_ends() {
    let world = World::misbehaving(budget(64 * MIB), limits(50, 60_000)).await;
    for (then, reason) in [
        ("return", None),
        ("abort", Some("wasm trap")),
        ("panic", Some("panicked at")),
    ] {
        let outcome = world.run("hoard", json!({ "mib": 20, "then": then })).await;
        match reason {
            None => assert_eq!(outcome, Outcome::Completed("20".into())),
            Some(reason) => assert!(failed(outcome).contains(reason)),
        }
        assert_eq!(world.engine.memory_bytes(), 0, "{then}");
    }

    // One holds so much that no other one finds room for as much.
    let (stop, holder) = (Arc::<Cancel>::default(), Arc::clone(&world));
    let stopped = Arc::clone(&stop);
    let data = json!({ "mib": 40, "then": "wait" });
    let holder =
        tokio::spawn(async move { holder.run_as(&holder.policy, "hoard", data, stopped).await });
    // All of them, since its stack has one more.
    world.holds("40 MiB are held", |held| held > 41 * MIB).await;
    let before = world.engine.memory_bytes();
    let data = json!({ "mib": 40 });

    let short = Arc::new(limits(50, 200));
    let outcome = world
        .run_as(&short, "hoard", data.clone(), Arc::default())
        .await;
    assert_eq!(
        failed(outcome),
        "processor exceeded its time limit of 200 ms"
    );
    assert_eq!(world.engine.memory_bytes(), before);

    let cancel = Arc::<Cancel>::default();
    let (asked, waits, same) = (Arc::clone(&cancel), Arc::clone(&world), data.clone());
    let waits =
        tokio::spawn(async move { waits.run_as(&waits.policy, "hoard", same, asked).await });
    world.holds("another one began", |held| held > before).await;
    cancel.stop(Stop::Cancelled("".into()));
    assert_eq!(failed(waits.await.unwrap()), "job was cancelled");
    assert_eq!(world.engine.memory_bytes(), before);

    let waits = Arc::clone(&world);
    let waits = tokio::spawn(async move { waits.run("hoard", data).await });
    world.holds("another one began", |held| held > before).await;
    waits.abort();
    world.holds("it is gone", |held| held == before).await;

    stop.stop(Stop::Cancelled("".into()));
    holder.await.unwrap();
    world.holds("all is given back", |held| held == 0).await;
}

fn reuse(age_ms: u64) -> Policy {
    Policy {
        reuse: Some(Reuse { jobs: 100, age_ms }),
        ..limits(50, 60_000)
    }
}

#[tokio::test]
async fn idle_instance_is_dropped_at_its_age_without_a_further_job() {
    let world = World::misbehaving(budget(64 * MIB), reuse(2_000)).await;
    assert_eq!(
        world.run("hoard", json!({ "mib": 20 })).await,
        Outcome::Completed("20".into())
    );
    assert!(world.engine.memory_bytes() > 20 * MIB, "it is kept");
    world.holds("it is dropped", |held| held == 0).await;
    // An age that no clock can count is no age.
    let world = World::misbehaving(budget(64 * MIB), reuse(u64::MAX)).await;
    world.run("fine", json!(null)).await;
    assert!(world.engine.memory_bytes() > 0);
    drop(world);
}

#[tokio::test]
async fn idle_instances_give_way_to_guests_that_need_their_room() {
    let options = EngineOptions {
        executions_max: 2,
        ..budget(64 * MIB)
    };
    let world = World::misbehaving(options, reuse(3_600_000)).await;
    // Room: three times 30 MiB are more than there are.
    for _ in 0..3 {
        let hoard = json!({ "mib": 30 });
        assert_eq!(
            world.run("hoard", hoard).await,
            Outcome::Completed("30".into())
        );
    }
    let other = Arc::new(reuse(3_600_000));
    let hoard = json!({ "mib": 40 });
    let outcome = world.run_as(&other, "hoard", hoard, Arc::default()).await;
    assert_eq!(outcome, Outcome::Completed("40".into()));
    assert!(world.engine.memory_bytes() <= 64 * MIB);
    // Places: there are two, and each of these policies leaves an idle instance.
    for _ in 0..5 {
        let policy = Arc::new(reuse(3_600_000));
        let outcome = world
            .run_as(&policy, "fine", json!(null), Arc::default())
            .await;
        assert_eq!(outcome, Outcome::Completed("\"fine\"".into()));
    }
}

#[tokio::test]
async fn host_with_a_small_address_space_makes_less_room_and_says_so() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let section = queue_section("ring", "fixture-misbehaving", "concurrency = 50");
    let config = format!("redis = \"{}\"\n{section}", redis.server.url());
    let mut host = TestHost::spawn_within(4_000_000, &config);
    host.logs("serving").await;
    let log = host.log();
    assert!(
        log.contains("address space of this process is too small"),
        "{log}"
    );
    let jobs = vec![new_job("hoard", json!({ "mib": 5 }), json!({})); 100];
    queue.add_bulk(&jobs).await.unwrap();
    let done = async || (count(&redis, "ring", "completed").await == 100).then_some(());
    eventually("all are completed", done).await;
    host.stop().await;
}

#[tokio::test]
async fn host_without_address_space_says_what_to_set() {
    let config = queue_section("ring", "fixture-misbehaving", "");
    let mut host = TestHost::spawn_within(400_000, &config);
    assert!(!host.ended().await.success());
    for part in [
        "`ulimit -v`",
        "`runtime.executions_max`",
        "`runtime.guest_memory_bytes_max`",
    ] {
        let says = async || host.log().contains(part).then_some(());
        eventually(part, says).await;
    }
}
