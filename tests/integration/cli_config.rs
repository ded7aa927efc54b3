//! What commands take from `toril.toml`, and what they say of it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::tempdir;
use toril::queue::JobState;

use crate::harness::{
    TORIL, TestHost, TestRedis, eventually, new_job, processor, queue_section, reaches,
    reserved_port,
};
use crate::starting::large_processor;

fn toril_in(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(TORIL);
    command
        .args(arguments)
        .env_remove("TORIL_REDIS")
        .current_dir(dir);
    command.output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn commands_talk_to_the_redis_of_the_config_and_say_so() {
    let redis = TestRedis::start(false).await;
    let url = redis.server.url();
    let dir = tempdir().unwrap();
    let config = format!(
        "redis = \"{url}\"\nprefix = \"shop\"\n[queues.paint]\nprefix = \"hall\"\n\
        [queues.paint.grants]\nsecrets = {{ KEY = {{ file = \"/nowhere\" }} }}\n"
    );
    std::fs::write(dir.path().join("toril.toml"), config).unwrap();
    let (id, said) = texts(&toril_in(dir.path(), &["add", "paint", "walls"]));
    assert_eq!(
        (&*id, &*said),
        (
            "1\n",
            &*format!("redis {url} (from toril.toml), prefix hall\n")
        )
    );
    let (_, said) = texts(&toril_in(dir.path(), &["add", "other", "walls"]));
    assert!(said.ends_with("prefix shop\n"), "{said}");
    let quiet = ["add", "shed", "walls", "--quiet", "--prefix", "cellar"];
    assert_eq!(
        texts(&toril_in(dir.path(), &quiet)),
        ("1\n".to_owned(), String::new())
    );
    for key in ["hall:paint:1", "shop:other:1", "cellar:shed:1"] {
        let name: String = redis.command(&["HGET", key, "name"]).await;
        assert_eq!(name, "walls", "{key}");
    }
    let (_, said) = texts(&toril_in(dir.path(), &["status", "--redis", &url]));
    let named = format!("redis {url} (from the command line or TORIL_REDIS), all prefixes");
    assert_eq!(said.lines().next(), Some(&*named));
}

#[test]
fn run_of_a_queue_has_its_processor_its_grants_and_its_limits() {
    let dir = tempdir().unwrap();
    let section = |grants: &str| {
        let config = format!(
            "{}{grants}",
            queue_section("my ring", "fixture-http", "")
                .replace("queues.my ring", "queues.\"my ring\"")
        );
        std::fs::write(dir.path().join("toril.toml"), config).unwrap();
        toril_in(dir.path(), &["run", "--queue", "my ring"])
    };
    let (_, said) = texts(&section(""));
    assert!(
        said.contains("hint: add `http = { hosts =")
            && said.contains("to `[queues.\"my ring\".grants]`"),
        "{said}"
    );
    let (outcome, said) = texts(&section(
        "[queues.\"my ring\".grants.http]\nhosts = [\"a.example\"]\n",
    ));
    assert!(outcome.starts_with("failed"), "{outcome}{said}");

    let limits = queue_section(
        "ring",
        "fixture-misbehaving",
        "limits = { deadline_ms = 60 }",
    );
    std::fs::write(dir.path().join("toril.toml"), limits).unwrap();
    let run = ["run", "--queue", "ring", "--name", "loop"];
    let (outcome, said) = texts(&toril_in(dir.path(), &run));
    assert!(
        outcome.contains("exceeded its time limit of 60 ms"),
        "{outcome}{said}"
    );
    let (_, said) = texts(&toril_in(dir.path(), &["run", "--queue", "rnig"]));
    assert!(
        said.contains("hint: did you mean `ring`? Otherwise add `[queues.rnig]` to it"),
        "{said}"
    );
}

#[test]
fn command_for_one_queue_reads_nothing_that_only_a_host_needs() {
    let dir = tempdir().unwrap();
    let section = queue_section("ring", "fixture-noop", "");
    let noop = processor("fixture-noop").display().to_string();
    std::fs::create_dir(dir.path().join("cases")).unwrap();
    let case = "[job]\nqueue = \"ring\"\n[expect]\noutcome = \"completed\"\n";
    std::fs::write(dir.path().join("cases/first.toml"), case).unwrap();
    for host in [
        "[admin]\ntoken_file = \"nowhere\"\n",
        "[admin]\nlisten = \"0.0.0.0:1\"\n",
        "processors_dir = \"nowhere\"\n",
        "otlp_endpoint = \"nonsense\"\n",
        "prefix = \"\"\n",
    ] {
        std::fs::write(dir.path().join("toril.toml"), format!("{host}{section}")).unwrap();
        for arguments in [
            &["check", &noop, "--queue", "ring"][..],
            &["run", "--queue", "ring"],
            &["test"],
        ] {
            let output = toril_in(dir.path(), arguments);
            assert!(output.status.success(), "{arguments:?}, {host}: {output:?}");
        }
    }
    let (_, said) = texts(&toril_in(dir.path(), &["run", "--queue", "other"]));
    assert!(said.contains("hint: add `[queues.other]` to it"), "{said}");
}

#[tokio::test]
async fn failed_attempt_is_a_line_of_the_log() {
    let redis = TestRedis::start(false).await;
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", "").await;
    let url = redis.server.url();
    let options = r#"{"attempts":2,"backoff":50}"#;
    let added = toril_in(
        host.dir.path(),
        &["add", "ring", "panic", "--opts", options, "--redis", &url],
    );
    assert!(added.status.success(), "{added:?}");
    host.logs("attempt failed, and so has the job").await;
    let log = host.log();
    let line = |text: &str| log.lines().find(|line| line.contains(text)).unwrap();
    let first = line("attempt failed: the job is tried again");
    let last = line("attempt failed, and so has the job");
    assert!(first.contains(" INFO ") && last.contains(" WARN "), "{log}");
    assert!(first.contains("attempt=1 attempts=2"), "{first}");
    assert!(first.contains("retry_in_ms=50"), "{first}");
    for field in [
        "queue=\"ring\"",
        "job_id=\"1\"",
        "job_name=\"panic\"",
        "attempt=2 attempts=2",
    ] {
        assert!(last.contains(field), "{last}");
    }
    host.stop().await;
}

#[tokio::test]
async fn backoff_strategy_that_no_config_has_is_a_warning_with_its_key() {
    let redis = TestRedis::start(false).await;
    let known = "backoff = { gentle = [1] }";
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-misbehaving", known).await;
    let queue = redis.queue("ring").await;
    for strategy in ["gentle", "fixed", "other"] {
        let options = json!({ "attempts": 2, "backoff": { "type": strategy, "delay": 1 } });
        let id = queue.add(&new_job("panic", json!(null), options)).await;
        reaches(&queue, &id.unwrap(), JobState::Failed).await;
    }
    host.logs("no such backoff strategy").await;
    let log = host.log();
    let warned = log
        .lines()
        .filter(|line| line.contains("no such backoff strategy"));
    let warned: Vec<_> = warned.collect();
    assert!(
        matches!(warned[..], [one] if one.contains("strategy=\"other\"")),
        "{log}"
    );
    host.stop().await;
}

#[tokio::test]
async fn status_says_at_which_port_the_admin_api_listens() {
    let redis = TestRedis::start(false).await;
    let config = queue_section("ring", "fixture-noop", "") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let host = TestHost::serve(&redis, &config).await;
    let log = host.log();
    let address = log.split("address=\"").nth(1).unwrap();
    let address = address.split('"').next().unwrap();
    assert!(!address.ends_with(":0"), "{log}");
    let url = redis.server.url();
    let reported = async || {
        let (shown, _) = texts(&toril_in(host.dir.path(), &["status", "--redis", &url]));
        let line = format!("\n    admin API at {address}\n");
        shown.contains(&line).then_some(())
    };
    eventually("the host reports its address", reported).await;
    host.stop().await;
}

#[tokio::test]
async fn host_without_a_queue_is_found_by_its_config_and_by_redis() {
    let (redis, (port, number)) = (TestRedis::start(false).await, reserved_port());
    let url = redis.server.url();
    let address = format!("127.0.0.1:{number}");
    let config = format!("redis = \"{url}\"\n[admin]\nlisten = \"{address}\"\n");
    let mut host = TestHost::spawn(&config, &[]);
    host.logs("the admin API listens").await;
    drop(port);
    let dir = host.dir.path();
    // The address is the config's, and Redis need not be asked.
    let health = toril_in(dir, &["health"]);
    assert_eq!(texts(&health), ("ok\n".to_owned(), String::new()));
    let shown = async || {
        let (shown, _) = texts(&toril_in(dir, &["status"]));
        let lines = format!("\n  serves no queue\n  admin API at {address}\n");
        shown.contains(&lines).then_some(())
    };
    eventually("the host reports its address", shown).await;
    let (json, _) = texts(&toril_in(dir, &["status", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["queue"], Value::Null);
    assert_eq!(json[0]["hosts"][0]["admin"], *address);
    // One that serves a queue is shown with its queue alone; one that left is not shown.
    let other = queue_section("ring", "fixture-noop", "") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let other = TestHost::serve(&redis, &other).await;
    let name = format!(":{}", other.pid());
    let shown = async || {
        let (shown, _) = texts(&toril_in(dir, &["status"]));
        let works = shown.split("bull:ring\n").nth(1)?;
        let is_there = works.contains(&name) && shown.matches(&name).count() == 1;
        is_there.then_some(())
    };
    eventually("the other host is shown once", shown).await;
    let announced = redis.command::<usize>(&["HLEN", "toril:hosts"]);
    assert_eq!(announced.await, 2);
    other.stop().await;
    let announced = redis.command::<usize>(&["HLEN", "toril:hosts"]);
    assert_eq!(announced.await, 1);
    host.signal("TERM");
    assert!(host.ended().await.success());
    assert_eq!(
        texts(&toril_in(host.dir.path(), &["status"]))
            .0
            .matches("no queue")
            .count(),
        0
    );
    let (_, said) = texts(&toril_in(host.dir.path(), &["health"]));
    assert!(
        said.contains(&format!("no host listens at `{address}`")),
        "{said}"
    );
}

#[tokio::test]
async fn command_says_that_it_compiles_unless_it_is_to_be_quiet() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("large.wasm"), large_processor()).unwrap();
    for (arguments, expected) in [(&[][..], "compiling `large.wasm` …\n"), (&["--quiet"], "")] {
        let mut command = Command::new(TORIL);
        command.args(["check", "large.wasm"]).args(arguments);
        // Nothing that is compiled already.
        command.env(
            "XDG_CACHE_HOME",
            dir.path().join(arguments.len().to_string()),
        );
        let output = command.current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(texts(&output).1, expected);
    }
}

#[tokio::test]
async fn what_cannot_be_undone_is_refused_with_what_can() {
    let redis = TestRedis::start(false).await;
    let url = redis.server.url();
    let dir = tempdir().unwrap();
    let toril = |arguments: &[&str]| {
        let all = [arguments, &["--redis", &url, "--wait", "0"]].concat();
        texts(&toril_in(dir.path(), &all))
    };
    let (_, said) = toril(&["undeploy", "pant"]);
    assert!(
        said.contains("nothing is deployed on queue `pant`"),
        "{said}"
    );
    let (_, said) = toril(&["rollback", "pant"]);
    assert!(
        said.contains("nothing is deployed on queue `pant`") && !said.contains("hint"),
        "{said}"
    );
    let (listed, _) = texts(&toril_in(dir.path(), &["status", "--redis", &url]));
    assert_eq!(listed, "");
    let noop = processor("fixture-noop").display().to_string();
    toril(&["deploy", "paint", &noop]);
    let (_, said) = toril(&["rollback", "paint"]);
    assert!(said.contains("hint: `toril undeploy paint`"), "{said}");
    let (undeployed, _) = texts(&toril_in(
        dir.path(),
        &["undeploy", "paint", "--redis", &url],
    ));
    let line = "no host serves this queue now; hosts that start later serve their own files\n";
    assert!(undeployed.ends_with(line), "{undeployed}");
}

#[test]
fn config_that_is_shown_is_one_with_the_same_meaning() {
    let dir = tempdir().unwrap();
    let config = "prefix = \"shop\"\n[queues.\"my ring\"]\nlimiter = { max = 5, duration_ms = 1000 }\n\
        remove_on_fail = { age = 60.0, count = 5 }\nbackoff = { gentle = [1, 2] }\n[queues.\"my ring\".grants]\nenv = { A = \"b\" }\n";
    std::fs::write(dir.path().join("toril.toml"), config).unwrap();
    let (shown, said) = texts(&toril_in(dir.path(), &["config"]));
    assert_eq!(said, "");
    assert!(
        shown.contains("prefix = \"shop\"                          # toril.toml\n"),
        "{shown}"
    );
    assert!(shown.contains("\n[queues.\"my ring\".limits]\n"), "{shown}");
    std::fs::write(dir.path().join("shown.toml"), &shown).unwrap();
    let again = toril_in(dir.path(), &["config", "--config", "shown.toml"]);
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.rsplit_once(" # "));
        lines.map(|(line, _)| line.trim_end().to_owned()).collect()
    };
    assert_eq!(values(&texts(&again).0), values(&shown));
    let (changed, _) = texts(&toril_in(dir.path(), &["config", "--changed"]));
    assert_eq!(changed.matches(" # toril.toml").count(), 5, "{changed}");
    assert!(!changed.contains("# default"), "{changed}");
}

#[tokio::test]
async fn run_begins_where_a_job_was() {
    let redis = TestRedis::start(false).await;
    let url = redis.server.url();
    let dir = tempdir().unwrap();
    let toril = |arguments: &[&str]| texts(&toril_in(dir.path(), arguments));
    let flaky = processor("flaky").display().to_string();
    let (outcome, _) = toril(&["run", &flaky, "--data", r#"{"failures":2}"#]);
    assert!(outcome.starts_with("failed"), "{outcome}");
    let (outcome, said) = toril(&[
        "run",
        &flaky,
        "--data",
        r#"{"failures":2}"#,
        "--attempt",
        "3",
    ]);
    assert!(outcome.contains("completed"), "{outcome}{said}");

    let sum = processor("renovate-interior").display().to_string();
    let children = dir.path().join("children.json");
    std::fs::write(
        &children,
        r#"[{"queue":"steps","name":"paint","value":100},{"queue":"steps","value":300}]"#,
    )
    .unwrap();
    let (outcome, said) = toril(&[
        "run",
        &sum,
        "--name",
        "renovate-interior",
        "--children",
        "children.json",
    ]);
    assert!(outcome.contains("completed: 400"), "{outcome}{said}");
    std::fs::write(&children, r#"[{"queue":"steps","result":1}]"#).unwrap();
    let (_, said) = toril(&["run", &sum, "--children", "children.json"]);
    assert!(said.contains("unknown field `result`"), "{said}");

    let data = r#"{"price":70}"#;
    toril(&["add", "paint", "paint", "--data", data, "--redis", &url]);
    let (outcome, said) = toril(&["run", &sum, "--job", "paint/1", "--redis", &url]);
    assert!(outcome.ends_with("completed: 70\n"), "{outcome}{said}");
    let (_, said) = toril(&["run", &sum, "--job", "paint/2", "--redis", &url]);
    assert!(said.contains("has no job `2`"), "{said}");
}

#[test]
fn config_without_a_cache_keeps_no_compiled_code() {
    let dir = tempdir().unwrap();
    let cache = dir.path().join("cache");
    let section = queue_section("ring", "fixture-noop", "");
    let kept = |runtime: &str| {
        std::fs::write(
            dir.path().join("toril.toml"),
            format!("{runtime}\n{section}"),
        )
        .unwrap();
        for command in [
            &["run", "--queue", "ring"][..],
            &["check", "--queue", "ring"],
        ] {
            let mut toril = Command::new(TORIL);
            toril.args(command).current_dir(dir.path());
            if command[0] == "check" {
                toril.arg(processor("fixture-noop"));
            }
            let output = toril.env("XDG_CACHE_HOME", &cache).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        cache.exists()
    };
    assert!(!kept("runtime = { cache = false }"));
    assert!(kept(""));
}

#[test]
fn job_that_cannot_be_added_is_refused_in_words() {
    let dir = tempdir().unwrap();
    std::fs::write(
        dir.path().join("children.json"),
        r#"[{"queue":"steps","id":"7"}]"#,
    )
    .unwrap();
    let noop = processor("fixture-noop").display().to_string();
    let run = ["run", &noop, "--children", "children.json"];
    let (_, said) = texts(&toril_in(dir.path(), &run));
    assert!(
        said.contains("child `child` cannot be added: Custom Id cannot be integers"),
        "{said}"
    );
}
