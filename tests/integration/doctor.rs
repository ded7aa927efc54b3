//! `toril doctor`: each finding broken, and repaired.

mod tools;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use toril::queue::JobState;

use crate::harness::{self, TORIL, TestHost, TestRedis, add, processor, reaches};

/// A project with one queue, and a home of its own.
struct Project {
    dir: TempDir,
    redis: String,
}

impl Project {
    fn with(redis: &str, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Project {
            dir,
            redis: redis.to_owned(),
        };
        project.configure(config);
        project
    }

    fn configure(&self, config: &str) {
        std::fs::write(self.path("toril.toml"), config).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(TORIL);
        self.adjust(&mut command);
        command.arg("doctor");
        command
    }

    fn adjust(&self, command: &mut Command) {
        command.current_dir(self.dir.path());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
            .env_remove("TORIL_CARGO")
            .env("TORIL_REDIS", &self.redis);
    }

    fn findings(&self, arguments: &[&str]) -> Findings {
        findings_of(self.command().args(arguments))
    }
}

struct Findings {
    all: Vec<Value>,
    exit_code: Option<i32>,
}

fn findings_of(command: &mut Command) -> Findings {
    let output = command.args(["--json", "--quiet"]).output().unwrap();
    let found = Findings {
        all: serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")),
        exit_code: output.status.code(),
    };
    for one in found.all.iter().filter(|one| one["level"] != "ok") {
        let repair = one["repair"].as_str().unwrap_or_default();
        assert!(!repair.is_empty(), "nobody learns what to do: {one}");
    }
    found
}

/// Writes a program that stands for a tool.
fn write_tool(file: &Path, script: &str) {
    harness::write_tool(file, &format!("#!/bin/sh\n{script}\n"));
}

/// A Redis behind a peer that takes its time for each answer, and changes what it answers.
async fn behind(redis: &TestRedis, delay: Duration, change: fn(&mut [u8])) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, redis_port) = (listener.local_addr().unwrap().port(), redis.server.port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", redis_port)).await.unwrap();
            let (mut questions, mut back) = client.into_split();
            let (mut answers, mut there) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut questions, &mut there).await });
            tokio::spawn(async move {
                let mut answer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = answers.read(&mut answer).await {
                    tokio::time::sleep(delay).await;
                    change(&mut answer[..read]);
                    if back.write_all(&answer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("redis://127.0.0.1:{port}")
}

/// Has Redis say that it is version 4. It is as long as the true answer.
fn say_version_4(answer: &mut [u8]) {
    const FIELD: &[u8] = b"redis_version:";
    let at = answer.windows(FIELD.len()).position(|found| found == FIELD);
    if let Some(at) = at {
        answer[at + FIELD.len()] = b'4';
    }
}

impl Findings {
    /// The level of the finding whose text contains this, and its repair.
    #[track_caller]
    fn of(&self, about: &str, text: &str) -> (&str, &str) {
        let found = self.all.iter().find(|found| {
            found["about"] == about
                && found["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(text))
        });
        let found = found.unwrap_or_else(|| panic!("{about}: {text} in {:#?}", self.all));
        let text = |key: &str| found[key].as_str().unwrap_or_default();
        (text("level"), text("repair"))
    }
}

fn noop() -> String {
    format!(
        "[queues.ring]\nprocessor = {:?}\n",
        processor("fixture-noop")
    )
}

#[tokio::test]
async fn all_is_well() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(&redis.server.url(), &noop());
    let found = project.findings(&[]);
    assert_eq!(found.exit_code, Some(0), "{:#?}", found.all);
    for (about, text) in [
        ("config", "serves ring"),
        ("address space", "is not limited"),
        ("cache", "compiled code is kept"),
        ("redis", "version "),
        ("redis", "drops no jobs"),
        ("redis", "scripts may use the keys"),
        ("queue ring", "can be served"),
    ] {
        assert_eq!(found.of(about, text).0, "ok");
    }
}

#[tokio::test]
async fn config_and_component_are_judged() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(
        &redis.server.url(),
        "[queues.ring]\nprocesor = \"a.wasm\"\n",
    );
    let found = project.findings(&[]);
    assert_eq!(found.exit_code, Some(1));
    assert_eq!(found.of("config", "toril.toml").0, "error");
    project.configure("prefix = 7\n");
    assert_eq!(project.findings(&[]).of("config", "invalid").0, "error");
    project.configure(&noop());
    let found = project.findings(&[]);
    assert_eq!(found.of("config", "serves ring").0, "ok");
    assert_eq!(found.exit_code, Some(0));
    project.configure("");
    let (level, repair) = (
        "warning",
        "add a section `[queues.NAME]` to toril.toml; `toril new NAME` makes a project with one",
    );
    assert_eq!(
        project.findings(&[]).of("config", "no queue"),
        (level, repair)
    );

    let http = format!(
        "[queues.ring]\nprocessor = {:?}\n",
        processor("fixture-http")
    );
    project.configure(&http);
    let found = project.findings(&[]);
    let (level, repair) = found.of("queue ring", "was refused");
    assert_eq!((level, found.exit_code), ("error", Some(1)));
    assert!(repair.ends_with("to `[queues.ring.grants]`"), "{repair}");
    project.configure(&format!(
        "{http}[queues.ring.grants.http]\nhosts = [\"a.example\"]\n"
    ));
    assert_eq!(
        project.findings(&[]).of("queue ring", "can be served").0,
        "ok"
    );
}

#[tokio::test]
async fn cache_that_others_may_write_to_is_closed() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(&redis.server.url(), &noop());
    let cache = project.path("cache/toril/compiled");
    std::fs::create_dir_all(&cache).unwrap();
    let mode = |mode| std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(mode));
    mode(0o777).unwrap();
    let found = project.findings(&[]);
    let (level, repair) = found.of("cache", "others may write to it");
    assert!(
        level == "warning" && repair.contains("chmod 700"),
        "{repair}"
    );
    assert_eq!(
        project
            .findings(&["--fix"])
            .of("cache", "compiled code is kept")
            .0,
        "ok"
    );
    project.configure(&format!("runtime = {{ cache = false }}\n{}", noop()));
    assert_eq!(
        project.findings(&[]).of("cache", "is not kept").0,
        "warning"
    );
}

#[tokio::test]
async fn directory_that_others_use_is_left_as_it_is() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(&redis.server.url(), "");
    for (name, mode, files) in [("shared", 0o1777, &[][..]), ("mixed", 0o777, &["mine.txt"])] {
        let dir = project.path(name);
        std::fs::create_dir(&dir).unwrap();
        for file in files {
            std::fs::write(dir.join(file), "").unwrap();
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode)).unwrap();
        project.configure(&format!("runtime = {{ cache_dir = {dir:?} }}\n{}", noop()));
        let found = project.findings(&["--fix"]);
        assert_eq!(found.of("cache", "others may write to it").0, "warning");
        let now = std::fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(now & 0o7777, mode, "{name}");
    }
}

#[tokio::test]
async fn redis_that_may_drop_jobs_no_longer_does() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(&redis.server.url(), &noop());
    let set = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    let _: () = redis.command(&set).await;
    let found = project.findings(&[]);
    let (level, repair) = found.of("redis", "`allkeys-lru`");
    assert!(
        level == "warning" && repair.contains("noeviction"),
        "{repair}"
    );
    assert_eq!(
        project.findings(&["--fix"]).of("redis", "drops no jobs").0,
        "ok"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_too_old_is_an_error() {
    let redis = TestRedis::start(false).await;
    let old = behind(&redis, Duration::ZERO, say_version_4).await;
    let found = Project::with(&old, &noop()).findings(&[]);
    assert_eq!(found.exit_code, Some(1));
    let (level, repair) = found.of("redis", "redis 4");
    assert_eq!(
        (level, repair),
        ("error", "install redis 6.2 or newer, or any valkey")
    );
    let found = Project::with(&redis.server.url(), &noop()).findings(&[]);
    assert_eq!(found.of("redis", "version ").0, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_slow_is_a_warning() {
    let redis = TestRedis::start(false).await;
    let far = behind(&redis, Duration::from_millis(10), |_| {}).await;
    let found = Project::with(&far, &noop()).findings(&[]);
    let (level, repair) = found.of("redis", "answers in ");
    assert!(
        level == "warning" && repair.contains("same network"),
        "{repair}"
    );
    // Nothing fails: such a host only takes fewer jobs.
    assert_eq!(found.exit_code, Some(0));
    let found = Project::with(&redis.server.url(), &noop()).findings(&[]);
    let answer = found.all.iter().find_map(|found| {
        let time = found["what"].as_str()?.strip_prefix("answers in ")?;
        Some((
            found["level"] == "ok",
            time.trim_end_matches(" ms").parse::<f64>().ok()?,
        ))
    });
    let (is_ok, ms) = answer.unwrap();
    // A busy machine may be slow, too.
    assert_eq!(is_ok, ms <= 5.0, "{ms}");
}

#[tokio::test]
async fn user_who_may_not_ask_redis_what_it_is_is_told() {
    let redis = TestRedis::start(false).await;
    let allow = async |right: &str| {
        let user = [
            "ACL", "SETUSER", "worker", "on", ">secret", "+@all", "~*", "&*", right,
        ];
        let _: () = redis.command(&user).await;
        let url = redis.server.url();
        let url = url.replace("redis://", "redis://worker:secret@");
        Project::with(&url, &noop()).findings(&[])
    };
    let found = allow("-info").await;
    let (level, repair) = found.of("redis", "info");
    assert!(level == "error" && repair.contains("INFO"), "{repair}");
    assert_eq!(allow("+info").await.of("redis", "version ").0, "ok");
}

#[tokio::test]
async fn rights_of_the_user_are_tried() {
    let redis = TestRedis::start(false).await;
    let user = [
        "ACL", "SETUSER", "worker", "on", ">secret", "+@all", "~bull:*",
    ];
    let _: () = redis.command(&user).await;
    let url = redis
        .server
        .url()
        .replace("redis://", "redis://worker:secret@");
    let project = Project::with(&url, &noop());
    let found = project.findings(&[]);
    let (level, repair) = found.of("redis", "keys of deployments cannot be used");
    assert!(level == "error" && repair.contains("~toril:*"), "{repair}");
    // A host can serve with what the repair names.
    let advised = repair.split("SETUSER NAME ").nth(1).unwrap();
    let advised = advised.trim_end_matches('`').split(' ');
    let user = [
        "ACL", "SETUSER", "worker", "reset", "on", ">secret", "~bull:*", "&*",
    ];
    let user: Vec<&str> = user.into_iter().chain(advised).collect();
    let _: () = redis.command(&user).await;
    assert_eq!(project.findings(&[]).of("redis", "scripts may use").0, "ok");
    let mut host = TestHost::spawn(&format!("redis = \"{url}\"\n{}", noop()), &[]);
    host.logs("serving").await;
    let queue = redis.queue("ring").await;
    let id = add(&queue, "any", Value::Null).await;
    reaches(&queue, &id, JobState::Completed).await;
    host.stop().await;
}

#[test]
fn redis_that_does_not_answer_is_an_error_and_none_is_a_warning() {
    let project = Project::with("redis://127.0.0.1:1", &noop());
    let found = project.findings(&[]);
    let (level, repair) = found.of("redis", "failed to connect");
    assert!(
        level == "error" && repair.starts_with("start it"),
        "{repair}"
    );
    project.configure(&format!("local_redis_port = 1\n{}", noop()));
    let mut command = project.command();
    let found = findings_of(command.env_remove("TORIL_REDIS"));
    assert_eq!(found.of("redis", "no Redis is configured").0, "warning");
    // Without a server that could be started, nothing can be served.
    let mut command = project.command();
    let found = findings_of(command.env_remove("TORIL_REDIS").env("PATH", "/nowhere"));
    assert_eq!(found.of("redis", "failed to connect").0, "error");
}

#[tokio::test]
async fn limited_address_space_is_named() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(&redis.server.url(), &noop());
    let mut shell = Command::new("sh");
    project.adjust(&mut shell);
    let kib = (64 << 20).to_string();
    shell.args([
        "-c",
        "ulimit -v \"$0\" && exec \"$@\"",
        &kib,
        TORIL,
        "doctor",
    ]);
    let found = findings_of(&mut shell);
    let (level, repair) = found.of("address space", "is limited to 64 GiB");
    assert!(
        level == "warning" && repair.contains("ulimit -v unlimited"),
        "{repair}"
    );
    // What the repair says, in the same shell.
    let mut shell = Command::new("sh");
    project.adjust(&mut shell);
    shell.args([
        "-c",
        "ulimit -v unlimited && exec \"$@\"",
        "sh",
        TORIL,
        "doctor",
    ]);
    let found = findings_of(&mut shell);
    assert_eq!(found.of("address space", "is not limited").0, "ok");
}
