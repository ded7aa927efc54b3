//! How a host starts: what is built, compiled and served first.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::tempdir;
use toril::queue::JobState;
use toril::sandbox::Digest;

use crate::harness::{TestHost, TestRedis, add, handwritten, queue_section, reaches};

/// A processor that is large, and takes the compiler some seconds.
pub(crate) fn large_processor() -> Vec<u8> {
    let step = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 1234567)) (local.get 0)))";
    let function = format!(
        "(func (param i32) (result i32) {} local.get 0)",
        step.repeat(500)
    );
    handwritten(&format!(
        r#"(memory (export "memory") 1) (data (i32.const 8) "\20\00\00\00\01\00\00\00") (data (i32.const 32) "1")
           (func (export "process") (param i32) (result i32) local.get 0 call $drop i32.const 0)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
           {}"#,
        function.repeat(700)
    ))
}

/// Two tools that wait for each other, as far as each is run before the other one has ended.
#[tokio::test]
async fn sources_of_queues_are_built_side_by_side() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let path = |name: &str| dir.path().join(name);
    let tool = path("clang");
    let script = format!(
        "#!/bin/sh\n\
         case \"$*\" in *one.c*) own=one other=two;; *two.c*) own=two other=one;; *) exit 0;; esac\n\
         cd {:?} && touch $own.begun\n\
         for _ in $(seq 600); do [ -e $other.begun ] && {{ echo they met >&2; exit 1; }}; sleep 0.1; done\n\
         echo alone >&2; exit 1\n",
        dir.path()
    );
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = format!("redis = \"{}\"\n", redis.server.url());
    for name in ["one", "two"] {
        let file = path(&format!("{name}.c"));
        std::fs::write(&file, "").unwrap();
        config += &format!("[queues.{name}]\nprocessor = {file:?}\n");
    }
    let tool = tool.display().to_string();
    let mut host = TestHost::spawn_with(&config, &[], &[("TORIL_CLANG", &tool)]);
    host.ended().await;
    let log = host.log();
    // The first queue's error is the one that is told, whichever tool ends first.
    assert!(
        log.contains("they met") && log.contains("queue `one`"),
        "{log}"
    );
}

#[tokio::test]
async fn queue_is_served_while_the_component_of_another_one_is_compiled() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let large = large_processor();
    assert!(large.len() > 4 << 20, "{}", large.len());
    let file = dir.path().join("large.wasm");
    std::fs::write(&file, large).unwrap();
    // The large one is the first in every order.
    let config = format!(
        "redis = \"{}\"\n[runtime]\ncache = false\n[queues.large]\nprocessor = {file:?}\n{}",
        redis.server.url(),
        queue_section("small", "fixture-noop", "")
    );
    let mut host = TestHost::spawn(&config, &[]);
    let small = redis.queue("small").await;
    let id = add(&small, "any", json!(null)).await;
    reaches(&small, &id, JobState::Completed).await;
    host.logs("processor is ready").await;
    assert_eq!(host.log().matches("processor is ready").count(), 1);
    host.logs("serving").await;
    // Who waits for the large one learns why.
    let (log, digest) = (host.log(), Digest::of(&std::fs::read(&file).unwrap()));
    let line = log
        .lines()
        .find(|line| line.contains("compiling a component"));
    assert!(
        line.is_some_and(|line| line.contains(digest.as_str())),
        "{log}"
    );
    let large = redis.queue("large").await;
    let id = add(&large, "any", json!(null)).await;
    reaches(&large, &id, JobState::Completed).await;
    host.stop().await;

    // It can be stopped meanwhile: what serves drains.
    let host = TestHost::spawn(&config, &[]);
    let id = add(&small, "any", json!(null)).await;
    reaches(&small, &id, JobState::Completed).await;
    assert!(!host.log().contains("serving"), "{}", host.log());
    host.stop().await;
}
