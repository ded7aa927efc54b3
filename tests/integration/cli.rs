//! The commands as a person or a script meets them.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{TORIL, TestRedis, processor};

fn toril(arguments: &[&str]) -> Output {
    let mut command = Command::new(TORIL);
    command
        .args(["--log", "warn"])
        .args(arguments)
        .env_remove("TORIL_REDIS")
        .env("COLUMNS", "100");
    command.current_dir(std::env::temp_dir()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = toril(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn path(crate_name: &str) -> String {
    processor(crate_name).display().to_string()
}

/// Every command, as the help texts list them.
const COMMANDS: &str = "new, build, dev, serve, check, config, doctor, run, test, add, \
    job, job show, job state, job retry, job promote, job remove, job cancel, flow, flow add, flow show, \
    kv, kv list, kv get, kv set, kv delete, \
    recordings, recordings list, recordings export, recordings delete, replay, rehearse, events, \
    deploy, rollback, promote, abort, undeploy, versions, status, forget, health, \
    completions, man";

#[test]
fn help_reads_well() {
    let verbs: Vec<&str> = std::iter::once("").chain(COMMANDS.split(", ")).collect();
    for verb in &verbs {
        let arguments: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let name = format!("help {verb}").trim_end().replace(' ', "-");
        let help = stdout(&toril(&arguments));
        for below in commands_of(&help) {
            let path = format!("{verb} {below}");
            assert!(verbs.contains(&path.trim_start()), "`{path}` is not listed");
        }
        insta::assert_snapshot!(name, help);
    }
}

/// The commands that a help text lists.
fn commands_of(help: &str) -> Vec<&str> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let list = list.split("\n\n").next().unwrap_or_default();
    let names = list.lines().filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn check_tells_what_a_processor_is() {
    let output = toril(&["check", &path("fixture-noop"), "--json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["world"], "toril:processor/processor");
    assert_eq!(report["worldVersion"], "1.1.0");
    assert_eq!(report["sdk"]["sdk"], "rust");
    assert!(report["digest"].as_str().unwrap().starts_with("sha256:"));
    let imports = report["imports"].as_array().unwrap();
    assert!(
        imports.contains(&json!("toril:processor/jobs@1.1.0")),
        "{imports:?}"
    );
}

#[test]
fn check_names_the_world() {
    for (fixture, world) in [
        ("fixture-calls", "processor"),
        ("fixture-plain-calls", "plain-processor"),
    ] {
        let output = toril(&["check", &path(fixture)]);
        let line = format!("  world    toril:processor/{world} 1.1.0\n");
        assert!(stdout(&output).contains(&line), "{}", stdout(&output));
    }
}

#[test]
fn files_that_are_no_processor_are_refused_with_the_reason() {
    let dir = tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let whole = std::fs::read(processor("fixture-noop")).unwrap();
    let newer = replaced(
        &whole,
        b"toril:processor/jobs@1.1.0",
        b"toril:processor/jobs@2.0.0",
    );
    let neither = wat::parse_str(
        r#"(component (import "f" (func $f (param "data" string))) (export "process" (func $f)))"#,
    );
    let neither = neither.unwrap();
    for (file, reason) in [
        (file("text.wasm", b"hello"), "not a WebAssembly component"),
        (
            file("module.wasm", b"\0asm\x01\0\0\0"),
            "hint: build it for the target wasm32-wasip2",
        ),
        (
            file("half.wasm", &whole[..whole.len() / 2]),
            "component is damaged",
        ),
        (file("newer.wasm", &newer), "built for version 2.0.0"),
        (path("fixture-another-world"), "exports `wasi:cli/run"),
        (
            file("neither.wasm", &neither),
            "component does not fit any world of processors: `process` is `func(data: string)`\nhint: it is ",
        ),
        ("missing.wasm".into(), "No such file"),
    ] {
        let error = refused(&["check", &file]);
        assert!(error.contains(reason) && error.contains(&file), "{error}");
    }
}

#[test]
fn check_of_a_processor_that_needs_a_grant_exits_with_1() {
    let output = toril(&["check", &path("fixture-http")]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("needs a grant"), "{text}");
    // The hint has a line of its own.
    assert!(
        text.lines()
            .any(|line| line.trim_start().starts_with("hint: ")),
        "{text}"
    );
}

#[test]
fn check_of_one_queue_does_not_read_secrets_of_others() {
    let dir = tempdir().unwrap();
    let config = dir.path().join("toril.toml");
    let text =
        "[queues.ring]\n[queues.other.grants]\nsecrets = { KEY = { file = \"/nowhere\" } }\n";
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let check = |queue: &str| {
        toril(&[
            "check",
            &path("fixture-noop"),
            "--queue",
            queue,
            "--config",
            &config,
        ])
    };
    assert!(check("ring").status.success());
    assert_eq!(check("other").status.code(), Some(1));
}

#[test]
fn check_shows_a_stub_apart_from_what_is_granted() {
    let dir = tempdir().unwrap();
    let config = dir.path().join("toril.toml");
    let text = "[queues.ring.grants]\nstub = [\"wasi:http\"]\n";
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let noop = path("fixture-noop");
    let check = ["check", &noop, "--queue", "ring", "--config", &config];
    let shown = stdout(&toril(&check));
    let lines = "  granted to queue ring\n    nothing\n  stub     wasi:http: it is linked, but every call fails\n  limits\n";
    assert!(shown.contains(lines), "{shown}");
    let printed = stdout(&toril(&[&check[..], &["--json"]].concat()));
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&report["grants"], &report["stubs"]),
        (&json!([]), &json!(["wasi:http"]))
    );
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!at.is_empty());
    for at in at {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn run_shows_each_call_and_the_outcome() {
    let output = toril(&[
        "run",
        &path("renovate-interior"),
        "--name",
        "paint",
        "--data",
        r#"{"price":100}"#,
    ]);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output), @r#"
      log("paint for 100")
      update-progress(100)
    completed: 100
    "#);
}

#[test]
fn run_of_a_job_that_fails_exits_with_1() {
    let output = toril(&[
        "run",
        &path("fixture-misbehaving"),
        "--name",
        "panic",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["outcome"]["kind"], "failed");
    assert!(
        report["outcome"]["failedReason"]
            .as_str()
            .unwrap()
            .contains("the roof is on fire")
    );
    let refused = refused(&["run", &path("fixture-noop"), "--data", "{"]);
    assert!(refused.contains("`--data` is not JSON"), "{refused}");
}

#[test]
fn run_shows_a_job_that_moves_itself() {
    let data = r#"{"restMs":60000}"#;
    let output = toril(&["run", &path("delayed-step-job"), "--data", data, "--json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        report["outcome"],
        json!({ "kind": "moved", "to": "delayed" })
    );
    assert_eq!(report["calls"].as_array().unwrap().len(), 3, "{report}");
}

#[test]
fn one_shot_command_without_redis_fails_with_a_hint() {
    let error = refused(&[
        "add",
        "ring",
        "any",
        "--redis",
        "redis://user:secret@127.0.0.1:1",
    ]);
    assert!(
        error.contains("hint: start it") && error.contains("***@127.0.0.1:1"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
}

/// The kernel takes the connection, and nobody reads it.
#[test]
fn server_that_says_nothing_is_given_up_and_named() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", server.local_addr().unwrap());
    let error = refused(&["add", "ring", "any", "--quiet", "--redis", &url]);
    assert!(
        error.contains(&url) && error.contains("no answer within 5 s"),
        "{error}"
    );
}

#[test]
fn arguments_that_would_do_nothing_are_refused() {
    for (arguments, reason) in [
        (
            &["rehearse", "ring", "a.wasm", "--count", "0"][..],
            "invalid value '0' for '--count <N>'",
        ),
        (
            &["deploy", "ring", "a.wasm", "--rehearse", "0"],
            "invalid value '0' for '--rehearse <N>'",
        ),
        (
            &["deploy", "ring", "a.wasm", "--abort-margin", "5%"],
            "--canary <PERCENT>|--jobs <NAME,NAME>",
        ),
        (
            &["deploy", "ring", "a.wasm", "--abort-after", "9"],
            "--canary <PERCENT>|--jobs <NAME,NAME>",
        ),
        (
            &["deploy", "ring", "a.wasm", "--canary", "0"],
            "a canary of 0 % would get no job",
        ),
        (
            &["serve", "--queue", "x=a.wasm", "--queue", "x=b.wasm"],
            "`--queue x` is given twice",
        ),
        (
            &["serve", "paint.ts"],
            "hint: `toril serve --queue NAME=paint.ts`",
        ),
        (
            &["serve", "paint.ts", "--queue", "paint"],
            "hint: `toril serve --queue paint=paint.ts`",
        ),
    ] {
        let output = toril(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    // The margin and the number of jobs go with either.
    for candidate in [["--canary", "9%"], ["--jobs", "a"]] {
        let all = [
            "deploy",
            "ring",
            "missing.wasm",
            "--abort-margin",
            "5%",
            "--abort-after",
            "9",
        ];
        let error = refused(&[&all[..], &candidate].concat());
        assert!(error.contains("missing.wasm"), "{error}");
    }
}

#[test]
fn mistakes_in_the_config_are_named() {
    let dir = tempdir().unwrap();
    let config = dir.path().join("toril.toml");
    let serve = |text: &str| {
        std::fs::write(&config, text).unwrap();
        refused(&["serve", "--config", &config.display().to_string()])
    };
    let error = serve("[queues.paint]\nprocesor = \"paint.wasm\"");
    assert!(
        error.contains("unknown field `procesor`") && error.contains("toril.toml"),
        "{error}"
    );
    assert!(error.contains("hint: did you mean `processor`?"), "{error}");
    let nested = "[queues.paint]\nremove_on_fail = { cuont = 1 }";
    assert!(serve(nested).contains("hint: did you mean `count`?"));
    let grants = "[queues.paint.grants]\nqueue = [\"ring\"]";
    assert!(serve(grants).contains("hint: did you mean `queues`?"));
    let shown = refused(&["config", "--config", &config.display().to_string()]);
    assert!(
        shown.contains("queue `paint`") && shown.contains("`grants` is invalid"),
        "{shown}"
    );
    assert!(serve("").contains("hint: name one with `--queue NAME=FILE`"));
    let error = serve("[queues.paint]\nprocessor = \"missing.wasm\"");
    assert!(
        error.contains("queue `paint`") && error.contains("missing.wasm"),
        "{error}"
    );
}

#[tokio::test]
async fn added_job_is_shown() {
    let redis = TestRedis::start(false).await;
    let url = redis.server.url();
    let output = toril(&[
        "add",
        "ring",
        "walls",
        "--data",
        r#"{"price":1}"#,
        "--opts",
        r#"{"delay":60000}"#,
        "--redis",
        &url,
    ]);
    assert_eq!(stdout(&output), "1\n", "{output:?}");
    let shown = stdout(&toril(&["job", "ring", "1", "--redis", &url]));
    assert!(shown.starts_with("job 1 of ring is delayed\n"), "{shown}");
    let job: Value = serde_json::from_str(&stdout(&toril(&[
        "job", "ring", "1", "--json", "--redis", &url,
    ])))
    .unwrap();
    assert_eq!(
        (&job["state"], &job["data"], &job["delay"]),
        (&json!("delayed"), &json!({ "price": 1 }), &json!(60000))
    );
    assert!(refused(&["job", "ring", "2", "--redis", &url]).contains("has no job `2`"));
    assert!(
        refused(&["add", "ring", "x", "--opts", "[]", "--redis", &url])
            .contains("not a JSON object")
    );
    assert!(
        refused(&["add", "ring", "x", "--data", "{", "--redis", &url])
            .contains("`--data` is not JSON: ")
    );
}
