//! What the commands write to a terminal: nothing that a job's producer wrote controls it.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;
use toril::queue::JobState;

use crate::harness::{
    PATIENCE, TORIL, TestHost, TestRedis, eventually, new_job, queue_section, reaches, toril,
    version,
};

/// Sets a title, clears the screen, and does so once more by the eight-bit forms.
const ESCAPES: &str = "\x1b]0;title\x07\x1b[2J\u{9b}2J\u{202e}\u{61c}\u{2028}";

/// Runs a command of `toril` on a terminal, and returns what it wrote there.
async fn on_a_terminal(redis: &TestRedis, arguments: &[&str]) -> String {
    let quoted = arguments.iter().map(|argument| format!("'{argument}'"));
    let arguments: Vec<String> = quoted.collect();
    let line = format!(
        "{TORIL} {} --quiet --redis {}",
        arguments.join(" "),
        redis.server.url()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    command.env("TERM", "dumb").stdin(Stdio::null());
    let output = command.output().await.expect("util-linux is installed");
    String::from_utf8(output.stdout).unwrap()
}

fn assert_harmless(what: &[&str], text: &str) {
    for character in ['\x1b', '\x07', '\u{9b}', '\u{202e}', '\u{61c}', '\u{2028}'] {
        assert!(!text.contains(character), "{what:?}: {text:?}");
    }
}

#[tokio::test]
async fn commands_write_no_escapes_of_others_to_a_terminal() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let config = queue_section("ring", "fixture-scenarios", "");
    let host = TestHost::serve(&redis, &config).await;
    // No scenario is called so: the name becomes the reason, too.
    let name = format!("n{ESCAPES}");
    let id = format!("i{ESCAPES}");
    let job = new_job(&name, json!(ESCAPES), json!({ "jobId": id }));
    queue.add(&job).await.unwrap();
    reaches(&queue, &id, JobState::Failed).await;
    let [first, second] = ["good-00001", "good-00002"].map(|name| {
        let file = dir.path().join(format!("{name}.wasm"));
        std::fs::write(&file, version(name)).unwrap();
        file.display().to_string()
    });
    for command in [
        &["deploy", "ring", &first, "--wait", "0"][..],
        &["deploy", "ring", &second, "--canary", "5%", "--wait", "0"],
        &["abort", "ring", "--reason", ESCAPES, "--wait", "0"],
    ] {
        assert!(toril(&redis, command).await.status.success());
    }

    let commands: [&[&str]; 8] = [
        &["job", "show", "ring", &id],
        &["job", "show", "ring", &id, "--json"],
        &["job", "show", "ring", &format!("gone{ESCAPES}")],
        &["events", "ring", "--all", "--idle-ms", "1"],
        &["events", "ring", "--all", "--idle-ms", "1", "--json"],
        &["flow", "show", "ring", &id],
        &["versions", "ring"],
        &["status"],
    ];
    for command in commands {
        let text = on_a_terminal(&redis, command).await;
        assert!(!text.is_empty(), "{command:?}");
        assert_harmless(command, &text);
    }
    let text = on_a_terminal(&redis, &["job", "show", "ring", &id]).await;
    assert!(text.contains("\\u{1b}]0;title\\u{7}"), "{text}");

    // A pipe gets what is stored.
    let piped = toril(&redis, &["job", "show", "ring", &id, "--json"]).await;
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    let shown = on_a_terminal(&redis, &["job", "show", "ring", &id, "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), piped);
    assert_eq!(piped["name"], name);
    let plain = toril(&redis, &["job", "show", "ring", &id]).await;
    assert!(String::from_utf8(plain.stdout).unwrap().contains(ESCAPES));
    host.stop().await;
}

#[tokio::test]
async fn long_step_is_a_spinner_on_a_terminal_a_line_elsewhere_and_silent_if_quiet() {
    let dir = tempdir().unwrap();
    // Connections are accepted, and nobody answers: each command waits until it gives up.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let status = format!(
        "{TORIL} status --redis redis://{}",
        server.local_addr().unwrap()
    );
    let run = async |program: &str, option: &str, line: &str| {
        let mut command = Command::new(program);
        // `script` keeps a copy of what it shows in this directory.
        command.args([option, line]).stdin(Stdio::null());
        command.current_dir(dir.path()).env("TERM", "xterm");
        let output = command.output().await.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let quiet = format!("{status} --quiet");
    // Data may go elsewhere: progress is no data.
    let piped = format!("{status} | cat");
    let dumb = format!("TERM=dumb {status}");
    let (terminal, piped, dumb, lines, silent) = tokio::join!(
        run("script", "-qec", &status),
        run("script", "-qec", &piped),
        run("script", "-qec", &dumb),
        run("sh", "-c", &status),
        run("sh", "-c", &quiet),
    );
    assert!(piped.contains("| connecting to Redis (0 s)"), "{piped:?}");
    assert!(
        dumb.contains("\nconnecting to Redis …\r\nerror: ") && !dumb.contains('\x1b'),
        "{dumb:?}"
    );
    assert!(
        terminal.contains("| connecting to Redis (0 s)"),
        "{terminal:?}"
    );
    // The spinner is gone before the next line is written.
    assert!(
        terminal.contains("\r\x1b[2Kerror: failed to connect"),
        "{terminal:?}"
    );
    assert!(
        lines.contains("\nconnecting to Redis …\nerror: "),
        "{lines:?}"
    );
    assert!(!lines.contains('\x1b'), "{lines:?}");
    assert!(silent.starts_with("error: failed to connect"), "{silent:?}");
}

/// A `toril serve` on a terminal whose Redis cuts each connection, until `is_seen` of what the terminal got. Then Ctrl-C.
async fn serve_without_redis(
    variables: &[(&str, &str)],
    flags: &str,
    is_seen: impl Fn(&str) -> bool,
) -> String {
    let (dir, server) = (
        tempdir().unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let address = server.local_addr().unwrap();
    tokio::spawn(async move { while server.accept().await.is_ok() {} });
    let mut command = Command::new("script");
    // Shells that stay would end at Ctrl-C before the host does.
    let line = format!("exec {TORIL} serve --queue ring --redis redis://{address} {flags}");
    command
        .args(["-qec", &line, "/dev/null"])
        .env_remove("NO_COLOR");
    command.env("TERM", "xterm").envs(variables.iter().copied());
    command.current_dir(dir.path()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut bytes, mut is_told) = (Vec::new(), false);
    let until_the_end = async {
        while output.read_buf(&mut bytes).await.unwrap() > 0 {
            if !is_told && is_seen(&String::from_utf8_lossy(&bytes)) {
                keys.write_all(b"\x03").await.unwrap();
                is_told = true;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, until_the_end).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(ended.is_ok(), "not seen: {text:?}");
    let status = child.wait().await.unwrap();
    assert!(is_told && status.success(), "{status}: {text:?}");
    text
}

/// What a terminal shows in the end: lines that were taken away are gone.
fn screen(text: &str) -> String {
    let lines = text.lines();
    let left = lines.map(|line| line.rsplit("\r\x1b[2K").next().unwrap_or_default());
    left.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn host_on_a_terminal_shows_what_it_waits_for_below_its_log() {
    let spinner = "waiting for Redis at";
    let warned_below_it = |text: &str| {
        let after = text.split_once(spinner).map(|(_, after)| after);
        after.is_some_and(|after| after.contains("trying again") && after.ends_with("\x1b[0m"))
    };
    let text = serve_without_redis(&[], "", warned_below_it).await;
    let left = screen(&text);
    assert!(!left.contains(spinner), "{text:?}");
    // Each line has its own beginning and end.
    for line in left.lines().filter(|line| line.contains("WARN")) {
        assert!(line.starts_with("\x1b[2m20"), "{line:?}");
        assert_eq!(line.matches("trying again").count(), 1, "{line:?}");
    }

    // What is logged says nothing about it.
    for (variables, flags) in [(&[][..], "--log error"), (&[("TORIL_LOG", "off")], "")] {
        let text = serve_without_redis(variables, flags, |text| text.contains(spinner)).await;
        assert!(!screen(&text).contains("trying again"), "{text:?}");
    }

    // Programs read JSON, and such terminals take nothing away: there are lines alone.
    let warned_thrice = |text: &str| text.matches("trying again").count() >= 3;
    for (variables, flags) in [
        (&[][..], "--log-json"),
        (&[("TERM", "dumb")], ""),
        (&[("TERM", "")], ""),
    ] {
        let text = serve_without_redis(variables, flags, warned_thrice).await;
        assert!(
            !text.contains(spinner) && !text.contains('\x1b'),
            "{text:?}"
        );
    }
    let plain = serve_without_redis(&[("NO_COLOR", "1")], "", |text| text.contains(spinner)).await;
    assert!(!screen(&plain).contains('\x1b'), "{plain:?}");
}

#[tokio::test]
async fn output_that_is_lost_is_an_error() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let set = ["kv", "set", "ring", "words", "door", "red"];
    assert!(toril(&redis, &set).await.status.success());
    let component = dir.path().join("good.wasm");
    std::fs::write(&component, version("good-00001")).unwrap();
    let component = component.display().to_string();
    let deploy = ["deploy", "ring", &component, "--wait", "0"];
    assert!(toril(&redis, &deploy).await.status.success());
    let commands: [&[&str]; 7] = [
        &["status"],
        &["status", "--json"],
        &["kv", "get", "ring", "words", "door"],
        &["config", "--schema"],
        &["--help"],
        &["--version"],
        &["status", "--help"],
    ];
    for arguments in commands {
        assert!(toril(&redis, arguments).await.status.success());
        let mut command = Command::new(TORIL);
        let url = redis.server.url();
        command
            .args(arguments)
            .args(["--redis", &url, "--quiet"])
            .stdout(std::fs::File::create("/dev/full").unwrap())
            .stderr(Stdio::piped());
        // `output` would take stdout for itself.
        let child = command.spawn().unwrap();
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("failed to write to standard output"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn names_with_line_breaks_stay_in_their_lines() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let component = dir.path().join("good.wasm");
    std::fs::write(&component, version("good-00001")).unwrap();
    let component = component.display().to_string();
    let queue = "ring\nno host";
    for command in [
        &["deploy", queue, &component, "--wait", "0"][..],
        &["kv", "set", queue, "words", "do\nor", "red"],
    ] {
        assert!(toril(&redis, command).await.status.success());
    }
    let commands: [&[&str]; 3] = [
        &["status"],
        &["kv", "list", queue, "words"],
        &["forget", queue],
    ];
    for command in commands {
        let output = toril(&redis, command).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{command:?}: {text}");
        assert!(text.contains("\\u{a}"), "{command:?}: {text}");
        assert!(
            !text.contains("\nno host\n") && !text.contains("\nor"),
            "{text}"
        );
    }
}

/// The text of a command for people, which has the name of a job in it, and no line that begins with what is in that name
/// below its line break.
async fn says_in_lines(redis: &TestRedis, arguments: &[&str]) -> String {
    let output = toril(redis, arguments).await;
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let forged = text.lines().any(|line| line.starts_with("FORGED"));
    assert!(!forged, "{arguments:?}: {text}");
    assert!(text.contains("FORGED"), "{arguments:?}: {text}");
    text
}

#[tokio::test]
async fn jobs_with_line_breaks_make_no_lines_of_their_own() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let config = queue_section("ring", "fixture-scenarios", "record = \"all\"");
    let host = TestHost::serve(&redis, &config).await;
    // No scenario is called so: the name becomes the reason, too.
    let (name, id) = ("n\nFORGED name", "i\r\nFORGED id");
    let opts = json!({ "jobId": id, "parent": { "id": id, "queue": "bull:other" } });
    redis
        .queue("other")
        .await
        .add(&new_job(name, json!({}), json!({ "jobId": id })))
        .await
        .unwrap();
    queue.add(&new_job(name, json!({}), opts)).await.unwrap();
    reaches(&queue, id, JobState::Failed).await;
    let flow = dir.path().join("flow.json");
    let tree = json!({ "name": name, "queueName": "later", "children": [{ "name": name, "queueName": "later" }] });
    std::fs::write(&flow, tree.to_string()).unwrap();
    let flow = flow.display().to_string();

    let events = says_in_lines(&redis, &["events", "ring", "--all", "--idle-ms", "1"]).await;
    assert!(events.contains("jobId=i\\u{d}\\u{a}FORGED id"), "{events}");
    let shown = says_in_lines(&redis, &["flow", "show", "ring", id]).await;
    assert!(shown.starts_with("n\\u{a}FORGED name [failed]"), "{shown}");
    let shown = says_in_lines(&redis, &["job", "ring", id]).await;
    assert!(shown.contains("n\\u{a}FORGED name"), "{shown}");
    // A reason may have several lines, which are indented.
    assert!(shown.contains("\n      FORGED name"), "{shown}");
    eventually("the attempt is recorded", async || {
        let listed = toril(&redis, &["recordings", "list", "ring"]).await;
        (!listed.stdout.is_empty()).then_some(())
    })
    .await;
    says_in_lines(&redis, &["recordings", "list", "ring"]).await;
    says_in_lines(&redis, &["flow", "add", &flow]).await;
    says_in_lines(&redis, &["job", "cancel", "other", id]).await;
    host.stop().await;
}

#[tokio::test]
async fn health_says_what_is_no_admin_api() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for answer in [&b""[..], b"220 mail.example ESMTP\r\n"] {
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let mut command = Command::new(TORIL);
        command.args(["health", "--admin", &address]);
        let ((), output) = tokio::join!(peer, command.output());
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("did not answer as an admin API does"),
            "{said}"
        );
        assert!(!said.contains("Ok("), "{said}");
    }
}
