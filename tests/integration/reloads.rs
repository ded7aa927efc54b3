//! What a changed config does to the queues of a host that goes on: what is refused, and by whom.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use toril::queue::{JobState, Queue};

use crate::harness::{
    TestHost, TestRedis, add, completes, eventually, processor, queue_section, reaches, toril,
    version, write_tool,
};

/// A host whose config is written again and again.
struct Reloaded {
    redis: TestRedis,
    host: TestHost,
}

impl Reloaded {
    async fn start(sections: &str, env: &[(&str, &str)]) -> Self {
        let redis = TestRedis::start(false).await;
        let config = format!("redis = \"{}\"\n{sections}", redis.server.url());
        let mut host = TestHost::spawn_with(&config, &[], env);
        host.logs("serving").await;
        Reloaded { redis, host }
    }

    /// Writes another config and sends SIGHUP.
    fn reload(&self, sections: &str) {
        let config = format!("redis = \"{}\"\n{sections}", self.redis.server.url());
        std::fs::write(self.host.dir.path().join("toril.toml"), config).unwrap();
        self.host.signal("HUP");
    }

    /// Writes another config, and waits until the log has a text once more.
    async fn reload_until(&self, sections: &str, text: &str) {
        let before = self.host.log().matches(text).count();
        self.reload(sections);
        let said = async || (self.host.log().matches(text).count() > before).then_some(());
        eventually(&format!("the host logs `{text}`"), said).await;
    }

    async fn deploy(&self, file: &Path) {
        let file = file.display().to_string();
        let done = toril(&self.redis, &["deploy", "ring", &file]).await;
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}\n{}", self.host.log());
    }

    async fn refusal(&self, queue: &str) -> Option<String> {
        let shown = toril(&self.redis, &["status", queue, "--json"]).await;
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let reason = &shown[0]["hosts"][0]["refusal"]["reason"];
        reason.as_str().map(str::to_owned)
    }
}

fn pipe(file: &Path) {
    let made = std::process::Command::new("mkfifo").arg(file).status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn limits_and_grants_that_refuse_what_is_deployed_are_refused() {
    for (fixture, first, refused) in [
        (
            "fixture-misbehaving",
            "",
            &[
                ("limits = { memory_bytes_max = 65536 }", "memory"),
                ("limits = { instances_max = 1 }", "instances"),
                ("limits = { table_elements_max = 1 }", "table"),
            ][..],
        ),
        (
            "fixture-http",
            "grants.http = { hosts = [\"127.0.0.1\"] }",
            &[("", "needs a grant")][..],
        ),
    ] {
        let host = Reloaded::start(&format!("[queues.ring]\n{first}\n"), &[]).await;
        host.deploy(&processor(fixture)).await;
        for (settings, reason) in refused {
            let section = format!("[queues.ring]\n{settings}\n");
            host.reload_until(&section, "queue could not be changed")
                .await;
            let log = host.host.log();
            let line = log
                .lines()
                .rfind(|line| line.contains("could not be changed"));
            let line = line.unwrap();
            assert!(
                line.contains("which is deployed") && line.contains(reason),
                "{line}"
            );
            assert!(!line.contains("queues.NAME"), "{line}");
        }
        let refusal = async || {
            host.refusal("ring")
                .await
                .filter(|reason| reason.contains("deployed"))
        };
        eventually("the status shows it", refusal).await;
        if fixture == "fixture-misbehaving" {
            let queue = host.redis.queue("ring").await;
            completes(&queue, "fine", json!(null)).await;
        }
        let accepted = format!("[queues.ring]\nconcurrency = 3\n{first}\n");
        host.reload_until(&accepted, "queue was changed").await;
        host.host.stop().await;
    }
}

#[tokio::test]
async fn old_version_that_new_limits_refuse_runs_no_pinned_job() {
    let host = Reloaded::start("[queues.ring]\npinned = true\n", &[]).await;
    let (queue, dir) = (host.redis.queue("ring").await, tempdir().unwrap());
    let first = dir.path().join("first.wasm");
    std::fs::write(&first, version("good-00001")).unwrap();
    host.deploy(&first).await;
    let options = json!({ "attempts": 2, "backoff": 3_600_000 });
    let job = crate::harness::new_job("in-two-steps", json!([]), options);
    let id = queue.add(&job).await.unwrap();
    reaches(&queue, &id, JobState::Delayed).await;
    // It asks for no memory at all, so that every limit lets it in.
    let small = dir.path().join("small.wasm");
    let component = crate::harness::handwritten(
        r#"(memory (export "memory") 1) (data (i32.const 8) "\20\00\00\00\01\00\00\00") (data (i32.const 32) "1")
           (func (export "process") (param i32) (result i32) local.get 0 call $drop i32.const 0)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#,
    );
    std::fs::write(&small, component).unwrap();
    host.deploy(&small).await;
    let limits = "[queues.ring]\npinned = true\nlimits = { memory_bytes_max = 65536 }\n";
    host.reload_until(limits, "queue was changed").await;
    assert!(
        host.host.log().contains("refuse this old version"),
        "{}",
        host.host.log()
    );
    queue.promote(&id).await.unwrap();
    let ended = async || {
        let state = queue.state(&id).await.ok()?;
        (!matches!(
            state,
            JobState::Delayed | JobState::Active | JobState::Waiting
        ))
        .then_some(state)
    };
    let state = eventually("the job ends", ended).await;
    assert_eq!(state, JobState::Completed, "on the newest version");
    host.host.stop().await;
}

#[tokio::test]
async fn queue_whose_secret_cannot_be_read_is_refused_by_itself_and_tried_again() {
    let host = Reloaded::start("[queues.old]\n", &[]).await;
    let file = |name: &str| host.host.dir.path().join(name);
    pipe(&file("pipe"));
    let section = |queue: &str, secret: &str| {
        let secrets = format!("grants.secrets = {{ KEY = {{ file = \"{secret}\" }} }}");
        queue_section(queue, "fixture-misbehaving", &secrets)
    };
    let piped = section("piped", "pipe");
    let config = section("missing", "later") + &piped + &queue_section("new", "fixture-noop", "");
    host.reload(&config);
    let new = host.redis.queue("new").await;
    completes(&new, "any", json!(null)).await;
    for reason in [
        "secret `KEY`: failed to read `later`",
        "it is not a regular file",
    ] {
        let said = async || host.host.log().contains(reason).then_some(());
        eventually(reason, said).await;
    }
    // Nobody asks again: it is noticed.
    std::fs::write(file("later"), "a-secret").unwrap();
    let missing = host.redis.queue("missing").await;
    completes(&missing, "fine", json!(null)).await;
    // A config that is a pipe is refused as a whole.
    std::fs::remove_file(file("toril.toml")).unwrap();
    pipe(&file("toril.toml"));
    let refused = "the config was refused; the old one stays in effect";
    host.host.signal("HUP");
    let said = async || host.host.log().contains(refused).then_some(());
    eventually(refused, said).await;
    completes(&new, "any", json!(null)).await;
    host.host.stop().await;
}

#[tokio::test]
async fn bad_file_in_the_directory_of_processors_is_refused_alone_at_start() {
    let dir = tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("bad.wasm"), b"\0asm not really").unwrap();
    pipe(&file("pipe.wasm"));
    std::fs::write(file("ring.wasm"), version("good-00001")).unwrap();
    let host = Reloaded::start(&format!("processors_dir = {:?}\n", dir.path()), &[]).await;
    let ring = host.redis.queue("ring").await;
    completes(&ring, "any", json!(null)).await;
    std::fs::write(file("bad.wasm"), version("good-00002")).unwrap();
    let bad = host.redis.queue("bad").await;
    assert_eq!(completes(&bad, "any", json!(null)).await, "good-00002");
    host.host.stop().await;
}

/// The log may be in a directory that is watched: what is said at each change would be a change.
#[tokio::test]
async fn what_a_watching_host_refuses_is_said_once_until_somebody_asks() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("a:b.wasm"), "").unwrap();
    let config = format!(
        "watch = true\nprocessors_dir = {:?}\n[queues.other]\n",
        dir.path()
    );
    let host = Reloaded::start(&config, &[]).await;
    let times = |log: String| log.matches("file is left out").count();
    // That a queue is served shows that the directory was read again.
    for name in ["first", "second", "third"] {
        let component = version("good-00001");
        std::fs::write(dir.path().join(format!("{name}.wasm")), component).unwrap();
        completes(&host.redis.queue(name).await, "any", json!(null)).await;
    }
    assert_eq!(times(host.host.log()), 1, "{}", host.host.log());
    host.host.signal("HUP");
    let said = async || (times(host.host.log()) == 2).then_some(());
    eventually("it is said to somebody who asks", said).await;
    host.host.stop().await;
}

#[tokio::test]
async fn key_that_only_a_start_takes_up_holds_up_no_queue() {
    let dir = tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let admin = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token:?}\n");
    let host = Reloaded::start(&format!("{admin}[queues.ring]\n"), &[]).await;
    std::fs::remove_file(&token).unwrap();
    let config = format!(
        "prefix = \"\"\notlp_endpoint = \"nonsense\"\n{admin}[runtime]\nexecutions_max = 0\n[queues.ring]\nconcurrency = 3\n"
    );
    host.reload_until(&config, "queue was changed").await;
    let log = host.host.log();
    for reason in [
        "failed to read the admin API's token",
        "prefix is empty",
        "nonsense",
        "`runtime.executions_max` must be 1 or more",
    ] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
    assert!(!log.contains("config was refused"), "{log}");
    host.host.stop().await;
}

#[tokio::test]
async fn directory_of_processors_that_is_away_holds_up_no_queue_and_is_listed_again() {
    let dir = tempdir().unwrap();
    let (here, away) = (dir.path().join("here"), dir.path().join("away"));
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("ring.wasm"), version("good-00001")).unwrap();
    let processors = format!("processors_dir = {here:?}\n[queues.other]\n");
    let host = Reloaded::start(&processors, &[]).await;
    let ring = host.redis.queue("ring").await;
    assert_eq!(completes(&ring, "any", json!(null)).await, "good-00001");
    std::fs::rename(&here, &away).unwrap();
    let config = format!("{processors}concurrency = 3\n");
    host.reload_until(&config, "queue was changed").await;
    let log = host.host.log();
    assert!(log.contains("failed to list"), "{log}");
    assert!(!log.contains("detached"), "{log}");
    assert_eq!(completes(&ring, "any", json!(null)).await, "good-00001");
    // Nobody asks again: it is noticed.
    std::fs::write(away.join("new.wasm"), version("good-00002")).unwrap();
    std::fs::rename(&away, &here).unwrap();
    let new = host.redis.queue("new").await;
    assert_eq!(completes(&new, "any", json!(null)).await, "good-00002");
    assert_eq!(completes(&ring, "any", json!(null)).await, "good-00001");
    host.host.stop().await;
}

#[tokio::test]
async fn config_that_is_away_is_read_again() {
    let host = Reloaded::start("[queues.old]\n", &[]).await;
    let file = host.host.dir.path().join("toril.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    host.host.signal("HUP");
    let refused = async || {
        let refused = "the config was refused; the old one stays in effect";
        host.host.log().contains(refused).then_some(())
    };
    eventually("the config is refused", refused).await;
    let section = queue_section("new", "fixture-noop", "");
    let written = host.host.dir.path().join("written");
    std::fs::write(&written, format!("{config}{section}")).unwrap();
    std::fs::rename(&written, &file).unwrap();
    let new = host.redis.queue("new").await;
    completes(&new, "any", json!(null)).await;
    host.host.stop().await;
}

/// A crate whose cargo never ends, and has started another process.
struct Hanging {
    dir: TempDir,
}

impl Hanging {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("Cargo.toml"), "").unwrap();
        std::fs::write(file("paint.rs"), "").unwrap();
        let script = "#!/bin/sh\nsleep 3600 &\necho $! >> \"$(dirname \"$0\")/started\"\nwait\n";
        write_tool(&file("cargo"), script);
        Hanging { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The processes that its builds started, once there are so many.
    async fn started(&self, count: usize) -> Vec<String> {
        let started = async || {
            let text = std::fs::read_to_string(self.path("started")).ok()?;
            let ids: Vec<String> = text.lines().map(str::to_owned).collect();
            (text.ends_with('\n') && ids.len() >= count).then_some(ids)
        };
        eventually("a build has begun", started).await
    }

    async fn is_ended(&self, process: &str) {
        let ended = async || {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            // Nobody may be there to reap it.
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        };
        eventually("the build's own process has ended", ended).await;
    }
}

#[tokio::test]
async fn build_that_hangs_holds_up_neither_deployments_nor_the_end_of_its_queue() {
    let (hanging, dir) = (Hanging::new(), tempdir().unwrap());
    let cargo = hanging.path("cargo");
    let start = queue_section("ring", "fixture-noop", "");
    let host = Reloaded::start(&start, &[("TORIL_CARGO", &cargo)]).await;
    let queue: Queue = host.redis.queue("ring").await;
    host.reload(&format!(
        "[queues.ring]\nprocessor = {:?}\n",
        hanging.path("paint.rs")
    ));
    let first = hanging.started(1).await;
    let file = dir.path().join("good.wasm");
    std::fs::write(&file, version("good-00001")).unwrap();
    host.deploy(&file).await;
    assert_eq!(completes(&queue, "any", json!(null)).await, "good-00001");
    hanging.is_ended(&first[0]).await;
    // The build is tried again.
    let second = hanging.started(2).await;
    host.reload_until("[queues.other]\n", "queue was detached")
        .await;
    hanging.is_ended(&second[1]).await;
    host.host.stop().await;
}

#[tokio::test]
async fn host_can_be_stopped_while_a_processor_is_built_at_start() {
    let (hanging, redis) = (Hanging::new(), TestRedis::start(false).await);
    let config = format!(
        "redis = \"{}\"\n[queues.ring]\nprocessor = {:?}\n",
        redis.server.url(),
        hanging.path("paint.rs")
    );
    let host = TestHost::spawn_with(&config, &[], &[("TORIL_CARGO", &hanging.path("cargo"))]);
    let started = hanging.started(1).await;
    host.stop().await;
    hanging.is_ended(&started[0]).await;
}

#[tokio::test]
async fn queue_waits_for_a_redis_that_takes_no_writes_and_says_so() {
    let host = Reloaded::start("[queues.old]\n", &[]).await;
    let wanted_replicas = async |count: &str| -> String {
        let command = ["CONFIG", "SET", "min-replicas-to-write", count];
        host.redis.command(&command).await
    };
    wanted_replicas("1").await;
    let sections = queue_section("new", "fixture-noop", "") + "[queues.gone]\n";
    host.reload_until(&sections, "queue is not served until redis says")
        .await;
    // Others are not held up.
    host.reload_until(
        &queue_section("new", "fixture-noop", ""),
        "queue was detached",
    )
    .await;
    wanted_replicas("0").await;
    let new = host.redis.queue("new").await;
    let id = add(&new, "any", json!(null)).await;
    reaches(&new, &id, JobState::Completed).await;
    host.host.stop().await;
}

#[tokio::test]
async fn commands_refuse_files_that_have_no_end() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let path = dir.path().join("pipe");
    pipe(&path);
    let path = path.display().to_string();
    for file in [&*path, "/dev/zero"] {
        for command in [
            &["flow", "add", file][..],
            &["replay", "--file", file],
            &["config", "--config", file],
            &["status", "--redis-ca-file", file],
        ] {
            let done = toril(&redis, command).await;
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(!done.status.success(), "{command:?}");
            assert!(
                said.contains("it is not a regular file"),
                "{command:?}: {said}"
            );
        }
    }
}
