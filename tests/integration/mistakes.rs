//! Mistakes that people make on the command line and in the config: each error says what to do about it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::{TORIL, TestRedis, processor};

/// A directory with a config.
fn project(config: &str) -> TempDir {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("toril.toml"), config).unwrap();
    dir
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(TORIL);
    command.args(arguments).current_dir(dir);
    command.env_remove("TORIL_REDIS").stdin(Stdio::null());
    command
}

fn toril(dir: &Path, arguments: &[&str]) -> Output {
    command(dir, arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The error of a command that fails, and prints no data.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = toril(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    stderr(&output)
}

fn noop_section(queue: &str) -> String {
    format!(
        "[queues.{queue}]\nprocessor = {:?}\n",
        processor("fixture-noop")
    )
}

#[test]
fn hint_is_below_all_causes() {
    let dir = project("redis = \"redis://127.0.0.1:1\"\n");
    let error = refused(dir.path(), &["status", "--quiet"]);
    let lines: Vec<&str> = error.lines().collect();
    let begins = |at: usize, text: &str| lines.get(at).is_some_and(|line| line.starts_with(text));
    assert!(
        lines.len() == 3
            && begins(0, "error: failed to connect")
            && begins(1, "  caused by: ")
            && begins(2, "hint: start it"),
        "{error}"
    );
}

#[tokio::test]
async fn json_of_an_option_is_an_argument_a_file_or_standard_input() {
    let redis = TestRedis::start(false).await;
    let dir = project(&format!("redis = \"{}\"\n", redis.server.url()));
    std::fs::write(dir.path().join("data.json"), "{\"walls\": 3}\n").unwrap();
    std::fs::write(dir.path().join("opts.json"), "{\"attempts\": 7}").unwrap();
    let add = ["add", "paint", "hall", "--quiet"];
    let files = ["--data", "@data.json", "--opts", "@opts.json"];
    assert_eq!(
        stdout(&toril(dir.path(), &[&add[..], &files].concat())),
        "1\n"
    );
    for (id, given) in [("2\n", "-"), ("3\n", "@-")] {
        let mut adding = command(dir.path(), &[&add[..], &["--data", given]].concat());
        let adding = adding.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut adding = adding.unwrap();
        adding.stdin.take().unwrap().write_all(b"[4]").unwrap();
        assert_eq!(stdout(&adding.wait_with_output().unwrap()), id);
    }
    let jobs = ["1", "2", "3"].map(|id| {
        let shown = toril(dir.path(), &["job", "paint", id, "--json", "--quiet"]);
        let job: Value = serde_json::from_str(&stdout(&shown)).unwrap();
        (job["data"].clone(), job["opts"]["attempts"].clone())
    });
    let expected = [
        (json!({ "walls": 3 }), json!(7)),
        (json!([4]), json!(0)),
        (json!([4]), json!(0)),
    ];
    assert_eq!(jobs, expected);
}

#[test]
fn json_that_is_none_is_explained_alike_by_each_command() {
    let dir = project(&noop_section("paint"));
    std::fs::write(dir.path().join("bad.json"), "{walls:4}").unwrap();
    let flow = r#"{ "name": "hall", "queueName": "paint" }"#;
    std::fs::write(dir.path().join("flow.json"), flow).unwrap();
    let noop = processor("fixture-noop").display().to_string();
    for (command, option) in [
        (&["add", "paint", "hall"][..], "--data"),
        (&["add", "paint", "hall"], "--opts"),
        (&["flow", "add", "flow.json"], "--opts"),
        (&["run", &noop], "--data"),
    ] {
        let error = refused(dir.path(), &[command, &[option, "@missing.json"]].concat());
        let named = format!("error: failed to read `missing.json`, the file of `{option}`\n");
        assert!(error.starts_with(&named), "{error}");
        let error = refused(dir.path(), &[command, &[option, "@bad.json"]].concat());
        assert!(error.contains("needs no quotes for the shell"), "{error}");
        // What a shell leaves of quotes that were not quoted.
        for given in ["{walls:4}", "'{}'", ""] {
            let error = refused(dir.path(), &[command, &[option, given]].concat());
            let what = format!("error: `{option}` is not JSON: ");
            let hint = format!("`{option} '{{\"key\":\"text\"}}'`; `{option} @FILE` reads a file");
            assert!(
                error.starts_with(&what) && error.contains(&hint),
                "{command:?}: {error}"
            );
        }
    }
}

#[test]
fn url_that_is_none_and_a_wrong_password_have_hints_of_their_own() {
    let dir = tempdir().unwrap();
    for url in ["localhost", "127.0.0.1:6379", "http://:pass-9@127.0.0.1"] {
        for command in [&["status", "--quiet"][..], &["serve", "--queue", "paint"]] {
            let error = refused(dir.path(), &[command, &["--redis", url]].concat());
            assert!(
                error.ends_with("percent signs and hexadecimal digits\n")
                    && error.contains("caused by: this is not the URL of a Redis\nhint: it has the form `redis://host:6379`"),
                "{error}"
            );
            assert!(
                !error.contains("start it") && !error.contains("pass-9"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn name_that_is_nearly_a_queue_of_the_config_is_pointed_out() {
    let redis = TestRedis::start(false).await;
    let config = format!(
        "redis = \"{}\"\n{}",
        redis.server.url(),
        noop_section("paint")
    );
    let dir = project(&config);
    let note = "queue `pant` is not in `toril.toml`; did you mean `paint`?\n";
    for arguments in [
        &["add", "pant", "hall"][..],
        &["status", "pant"],
        &["versions", "pant"],
    ] {
        let output = toril(dir.path(), arguments);
        // A busy machine may say before that it is still connecting.
        assert!(stderr(&output).contains(note), "{output:?}");
        stdout(&output);
        let quiet = toril(dir.path(), &[arguments, &["--quiet"]].concat());
        assert_eq!(stderr(&quiet), "");
    }
    for known in ["paint", "something-else"] {
        let output = toril(dir.path(), &["add", known, "hall"]);
        assert!(!stderr(&output).contains("did you mean"), "{output:?}");
    }
    let error = refused(dir.path(), &["run", "--queue", "pant"]);
    assert!(
        error.contains("hint: did you mean `paint`? Otherwise add `[queues.pant]`"),
        "{error}"
    );
}

#[test]
fn command_without_a_file_takes_the_only_processor() {
    let dir = project(&noop_section("paint"));
    assert_eq!(stdout(&toril(dir.path(), &["run"])), "completed: 1\n");
    let checked = stdout(&toril(dir.path(), &["check"]));
    assert!(checked.contains("  granted to queue paint\n"), "{checked}");
    let checked = stdout(&toril(dir.path(), &["check", "--queue", "paint"]));
    assert!(checked.contains("  granted to queue paint\n"), "{checked}");

    let dir = project(&(noop_section("paint") + &noop_section("fix")));
    let dir = dir.path();
    for command in ["run", "check"] {
        let error = refused(dir, &[command]);
        let expected = "error: `toril.toml` names several processors\n\
                        hint: name one of their queues with `--queue`: fix, paint\n";
        assert_eq!(error, expected);
        let empty = tempdir().unwrap();
        let error = refused(empty.path(), &[command]);
        assert!(
            error.contains("there is no processor in `.`\nhint: name its file"),
            "{error}"
        );
    }
}

#[test]
fn command_in_a_wrong_directory_is_pointed_to_the_project() {
    let parent = tempdir().unwrap();
    let project = parent.path().join("painter");
    let inside = project.join("cases");
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::write(project.join("toril.toml"), noop_section("paint")).unwrap();
    let above = std::fs::canonicalize(&project).unwrap();
    for (dir, shown) in [
        (parent.path(), "painter"),
        (&inside, above.to_str().unwrap()),
    ] {
        for arguments in [
            &["run"][..],
            &["run", "--queue", "paint"],
            &["check"],
            &["build"],
            &["test"],
            &["dev"],
            &["serve"],
        ] {
            let error = refused(dir, arguments);
            let hint = format!("hint: there is a project in `{shown}`: run the command there\n");
            assert!(error.ends_with(&hint), "{arguments:?}: {error}");
        }
    }
}

#[test]
fn queue_that_a_named_config_lacks_is_corrected_there() {
    let dir = project(&noop_section("other"));
    let config = dir.path().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("prod.toml"), noop_section("paint")).unwrap();
    let named = ["--config", "config/prod.toml", "--queue", "pain"];
    let error = refused(dir.path(), &[&["run"], &named[..]].concat());
    assert!(error.contains("hint: did you mean `paint`?"), "{error}");
}

/// Paths are shown without `./`, so that a directory may be an empty path.
#[test]
fn build_without_a_file_finds_the_only_source() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("paint.c"), "int nothing;\n").unwrap();
    let error = refused(dir.path(), &["build", "--quiet"]);
    assert!(
        error.starts_with("error: failed to build `paint.c`\n"),
        "{error}"
    );
    let empty = tempdir().unwrap();
    let error = refused(empty.path(), &["build", "--quiet"]);
    assert!(
        error.contains("there is no processor in `.`\nhint: name its file"),
        "{error}"
    );
}

#[test]
fn file_that_is_named_wrongly_has_a_hint_in_each_command() {
    let dir = project("[queues.paint]\nprocessor = \"paintr.ts\"\n");
    std::fs::write(dir.path().join("painter.ts"), "").unwrap();
    for arguments in [
        &["run"][..],
        &["check", "paintr.ts"],
        &["build"],
        &["build", "paintr.ts"],
        &["deploy", "paint", "paintr.ts"],
    ] {
        let error = refused(dir.path(), arguments);
        assert!(
            error.starts_with("error: failed to build `paintr.ts`\n")
                && error.ends_with("\nhint: did you mean `painter.ts`?\n"),
            "{arguments:?}: {error}"
        );
    }
    for command in ["run", "check"] {
        let error = refused(dir.path(), &[command, "."]);
        assert!(
            error.contains("hint: it is a directory; name the file in it: "),
            "{error}"
        );
    }
}

#[tokio::test]
async fn address_that_is_none_or_is_in_use_has_a_hint() {
    let redis = TestRedis::start(false).await;
    let dir = project(&format!(
        "redis = \"{}\"\n{}",
        redis.server.url(),
        noop_section("paint")
    ));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let error = refused(dir.path(), &["serve", "--admin", &taken]);
    assert!(
        error.ends_with("hint: choose another address with `--admin` or as `listen` in `[admin]`; port 0 is a free one\n"),
        "{error}"
    );
    for given in ["7717", "localhost:7717"] {
        for command in ["serve", "health"] {
            let output = toril(dir.path(), &[command, "--admin", given]);
            assert_eq!(output.status.code(), Some(2));
            assert!(
                stderr(&output).contains("such as `127.0.0.1:7717`"),
                "{output:?}"
            );
        }
    }
}

#[test]
fn doctor_judges_nothing_by_defaults_that_a_broken_config_may_not_have() {
    let abouts = |config: &str| {
        let dir = project(config);
        let output = toril(dir.path(), &["doctor", "--json", "--quiet"]);
        assert_eq!(output.status.code(), Some(1));
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let about = |finding: &Value| finding["about"].as_str().unwrap().to_owned();
        findings.iter().map(about).collect::<Vec<_>>()
    };
    assert_eq!(abouts("[queues.x"), ["config"]);
    // What can be read is looked at.
    let config = "redis = \"redis://127.0.0.1:1\"\n[admin]\nlisten = \"0.0.0.0:1\"\n[queues.x]\n";
    assert_eq!(
        abouts(config),
        ["config", "address space", "cache", "redis"]
    );
}

/// What answers there is no Redis: a host that has none would start its own at this port.
#[test]
fn port_of_the_local_redis_that_another_program_has_is_named() {
    let dir = project(&noop_section("paint"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = refused(dir.path(), &["serve", "--local-redis-port", &port]);
    let hint = format!(
        "hint: a program that is not Redis, or does not answer, listens at 127.0.0.1:{port}; name a running Redis with \
         `--redis`, or another port with `--local-redis-port`\n"
    );
    assert!(error.ends_with(&hint), "{error}");
}

/// A script that reads stdout gets nothing that it could take for a version or a store.
#[tokio::test]
async fn list_with_nothing_in_it_says_so_apart_from_the_data() {
    let redis = TestRedis::start(false).await;
    let dir = project(&format!("redis = \"{}\"\n", redis.server.url()));
    for (arguments, said) in [
        (
            &["versions", "paint"][..],
            "no version of `paint` is stored\n    hint: `toril deploy paint FILE` deploys one\n",
        ),
        (
            &["kv", "list", "paint"],
            "queue `paint` has no key-value stores\n",
        ),
        (
            &["status"],
            "no host runs, and no queue of this prefix was served or changed in the last day\n    hint: `toril serve` starts \
             a host; `--redis` names another Redis, `--prefix` another prefix\n",
        ),
    ] {
        let output = toril(dir.path(), arguments);
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).ends_with(said), "{output:?}");
    }
}

#[test]
fn text_that_is_no_component_is_refused_with_the_way_to_make_one() {
    let dir = project("");
    for command in ["run", "check"] {
        let error = refused(dir.path(), &[command, "toril.toml"]);
        assert!(
            error.ends_with("hint: `toril build` makes a component of a source file\n"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn job_that_is_copied_names_its_queue_and_a_flow_names_none() {
    let redis = TestRedis::start(false).await;
    let config = format!(
        "redis = {:?}\n{}",
        redis.server.url(),
        noop_section("flows")
    );
    let dir = project(&config);
    // The config has no processor for it, and the only one that there is belongs to another queue.
    let id = stdout(&toril(dir.path(), &["add", "mail", "paint"]));
    let job = format!("mail/{}", id.trim());
    let error = refused(dir.path(), &["run", "--job", &job]);
    assert!(error.contains("queue `mail` is not in"), "{error}");
    let flow = r#"{"name":"paint","queueName":"flows","data":{}}"#;
    std::fs::write(dir.path().join("flow.json"), flow).unwrap();
    let added = toril(dir.path(), &["flow", "add", "flow.json"]);
    assert!(added.status.success(), "{added:?}");
    assert!(!stderr(&added).contains("did you mean"), "{added:?}");
}

#[tokio::test]
async fn job_in_another_state_is_called_what_it_is() {
    let redis = TestRedis::start(false).await;
    let dir = project(&format!("redis = \"{}\"\n", redis.server.url()));
    let added = toril(dir.path(), &["add", "paint", "hall"]);
    assert_eq!(stdout(&added), "1\n");
    for (verb, reason) in [
        (&["retry"][..], "job `1` of `paint` is waiting, not failed"),
        (
            &["retry", "--completed"],
            "job `1` of `paint` is waiting, not completed",
        ),
        (
            &["retry", "--from-step", "paint"],
            "job `1` of `paint` is waiting, not failed",
        ),
        (&["promote"], "job `1` of `paint` is waiting, not delayed"),
    ] {
        let error = refused(
            dir.path(),
            &[&["job"], verb, &["paint", "1", "--quiet"]].concat(),
        );
        assert_eq!(error, format!("error: {reason}\n"));
    }
    for verb in [
        &["show"][..],
        &["retry"],
        &["retry", "--from-step", "paint"],
        &["promote"],
        &["remove"],
    ] {
        let error = refused(
            dir.path(),
            &[&["job"], verb, &["paint", "2", "--quiet"]].concat(),
        );
        assert_eq!(error, "error: queue `bull:paint` has no job `2`\n");
    }
}

#[test]
fn config_of_a_queue_that_it_does_not_have_is_refused() {
    let dir = project("[queues.paint]\n");
    for flag in ["--quiet", "--json", "--changed"] {
        let error = refused(dir.path(), &["config", "--queue", "pain", flag]);
        let hint = "hint: did you mean `paint`? Otherwise add `[queues.pain]` to it";
        assert!(
            error.starts_with("error: queue `pain` is not in `toril.toml`\n")
                && error.contains(hint),
            "{error}"
        );
    }
}

#[test]
fn completions_name_every_command_and_flag_for_each_shell() {
    let dir = tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&toril(dir.path(), &["completions", shell]));
        for word in ["rehearse", "max-children", "local-redis-port"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // What the shell itself makes of it.
    let script = r#"source <("$0" completions bash); COMP_WORDS=(toril job ret); COMP_CWORD=2
        _toril toril ret job; echo "${COMPREPLY[@]}""#;
    let shell = Command::new("bash").args(["-c", script, TORIL]).output();
    assert_eq!(stdout(&shell.unwrap()), "retry\n");
}

#[test]
fn manual_has_a_page_of_each_command() {
    let dir = tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let shown = pages.display().to_string();
    assert_eq!(stdout(&toril(dir.path(), &["man", &shown])), "");
    for (page, words) in [
        ("toril.1", "toril\\-serve(1)"),
        ("toril-serve.1", "\\-\\-concurrency"),
        ("toril-job-retry.1", "\\-\\-from\\-step"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(words), "{page}: {text}");
    }

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    let error = stderr(&toril(dir.path(), &["man", &file]));
    assert!(
        error.starts_with("error: failed to write pages to `"),
        "{error}"
    );
}
