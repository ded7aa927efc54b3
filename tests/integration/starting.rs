//! How a host starts: what is built, compiled and served first.

use std::process::Stdio;

use serde_json::json;
use tempfile::tempdir;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;
use toril::queue::JobState;
use toril::sandbox::Digest;

use crate::harness::{
    PATIENCE, TORIL, TestHost, TestRedis, add, handwritten, queue_section, reaches, write_tool,
};

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
    write_tool(&tool, &script);
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

/// A tool that builds until it may end, or the test is over and its directory gone, and then a file that is no component.
const SLOW_TOOL: &str = "#!/bin/sh\n\
    case \"$*\" in *slow.c*) ;; *) exit 0;; esac\n\
    until [ -e \"$(dirname \"$0\")/enough\" ] || ! [ -e \"$0\" ]; do sleep 0.05; done\n\
    echo it was enough >&2; exit 1\n";

/// On a terminal as elsewhere: what a person or a supervisor sees while a source is built and nothing is served yet.
#[tokio::test]
async fn host_says_that_it_builds_on_a_terminal_and_elsewhere() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let path = |name: &str| dir.path().join(name);
    write_tool(&path("clang"), SLOW_TOOL);
    std::fs::write(path("slow.c"), "").unwrap();
    let config = format!(
        "redis = \"{}\"\n[queues.slow]\nprocessor = \"slow.c\"\n",
        redis.server.url()
    );
    std::fs::write(path("toril.toml"), config).unwrap();
    let on_a_terminal = ["-qefc", "\"$HOST\" serve 2>&1", "/dev/null"];
    for (program, arguments, term) in [
        ("script", on_a_terminal, "xterm"),
        ("script", on_a_terminal, "dumb"),
        ("sh", ["-c", "\"$HOST\" serve 2>&1", "sh"], "xterm"),
    ] {
        let has_spinner = (program, term) == ("script", "xterm");
        let sign = match has_spinner {
            true => " building `slow.c` (",
            false => "still building the processor",
        };
        let mut host = Command::new(program);
        host.args(arguments).current_dir(dir.path());
        host.env("HOST", TORIL).env("TORIL_CLANG", path("clang"));
        host.env_remove("TORIL_REDIS").env("TERM", term);
        host.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut host = host.kill_on_drop(true).spawn().unwrap();
        let mut output = host.stdout.take().unwrap();
        let mut said = Vec::new();
        // It says so while the tool runs, which ends only then.
        let says_so = async {
            while !String::from_utf8_lossy(&said).contains(sign) {
                let read = output.read_buf(&mut said).await.unwrap();
                assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
            }
        };
        let in_time = timeout(PATIENCE, says_so).await;
        in_time.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said)));
        std::fs::write(path("enough"), "").unwrap();
        let ends = async {
            output.read_to_end(&mut said).await.unwrap();
            host.wait().await.unwrap();
        };
        let in_time = timeout(PATIENCE, ends).await;
        in_time.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said)));
        std::fs::remove_file(path("enough")).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("it was enough"), "{said:?}");
        assert_eq!(said.contains("\x1b["), has_spinner, "{said:?}");
        assert_eq!(said.contains("still building"), !has_spinner, "{said:?}");
        if has_spinner {
            continue;
        }
        let line = said.lines().find(|line| line.contains("still building"));
        let line = line.unwrap_or_default();
        assert!(line.contains("slow.c"), "{line:?}");
        let time = line.rsplit(['=', 'm']).next().unwrap_or_default();
        let seconds: f64 = time.trim_end().trim_end_matches('s').parse().unwrap();
        assert!(seconds >= 0.5, "{line:?}");
    }
}
