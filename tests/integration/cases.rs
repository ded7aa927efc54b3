//! `toril test`: cases of processors, in the real sandbox, without Redis and network.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::harness::{TORIL, processor};

/// A project with a config and cases.
struct Project(TempDir);

/// What a command printed, and its exit code.
struct Ran {
    code: Option<i32>,
    printed: String,
    said: String,
}

impl Project {
    /// A queue `paint` that a guest works. `{}` in the config is its component.
    fn new(guest: &str, more: &str) -> Self {
        let dir = tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cases")).unwrap();
        let component = processor(guest).display().to_string();
        let config = format!("[queues.paint]\nprocessor = {component:?}\n{more}");
        std::fs::write(dir.path().join("toril.toml"), config).unwrap();
        Project(dir)
    }

    fn case(self, name: &str, text: &str) -> Self {
        std::fs::write(self.file(name), text).unwrap();
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0
            .path()
            .join("cases")
            .join(name)
            .with_extension("toml")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn test(&self, arguments: &[&str]) -> Ran {
        run(self.0.path(), arguments)
    }

    fn passes(&self) {
        let Ran {
            code,
            printed,
            said,
        } = self.test(&[]);
        assert_eq!(code, Some(0), "{printed}{said}");
    }

    /// The report of the only case.
    fn report(&self) -> Value {
        let mut report: Value = serde_json::from_str(&self.test(&["--json"]).printed).unwrap();
        report["cases"][0].take()
    }
}

fn run(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(TORIL);
    command.args(["--log", "warn", "test"]).args(arguments);
    command.env_remove("TORIL_CONFIG").current_dir(dir);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code(),
        printed: text(output.stdout),
        said: text(output.stderr),
    }
}

/// What differs between two runs is left out: times, and where the project is.
fn without_times(printed: &str, dir: &Path) -> String {
    let printed = printed.replace(&dir.display().to_string(), "PROJECT");
    let without = |line: &str| match (line.rsplit_once(" ("), line.rsplit_once(" in ")) {
        (Some((name, rest)), _) if rest.ends_with(" ms)") => format!("{name} (N ms)"),
        (_, Some((counts, rest))) if rest.ends_with(" s") => format!("{counts} in N s"),
        _ => line.to_owned(),
    };
    printed.lines().map(without).collect::<Vec<_>>().join("\n")
}

const STEPS: &str = "[job]\nname = \"steps\"\n";

#[test]
fn failing_cases_show_what_differs_and_all_are_run() {
    let project = Project::new("step-job", "")
        .case(
            "differs",
            "[job]\n[expect]\noutcome = \"completed\"\nvalue = \"done\"\ncalls = [\n  'log(\"initial step\")',\n  'log(\"third step\")',\n]\n",
        )
        .case("fails", "[job]\ndata = { failIn = \"second\" }\n[expect]\noutcome = \"completed\"\n")
        .case("holds", "[job]\n[expect]\nlogs = [\"initial step\", \"second step\"]\n")
        .case("misspelt", "[job]\n[expect]\nlog = []\n");
    let Ran { code, printed, .. } = project.test(&[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!("cases-that-fail", without_times(&printed, project.0.path()));
    let Ran { code, printed, .. } = project.test(&["--filter", "holds"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("1 passed in"), "{printed}");
    let Ran { code, said, .. } = project.test(&["--filter", "nothing"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("has a name that contains the text of `--filter`"),
        "{said}"
    );
}

#[test]
fn update_writes_what_was_seen_and_the_case_passes_then() {
    let project = Project::new("step-job", "")
        .case("new", &format!("# Nothing yet.\n{STEPS}"))
        .case(
            "old",
            &format!("{STEPS}\n[expect]\nvalue = \"done\" # at last\n"),
        );
    let Ran { code, printed, .. } = project.test(&["--filter", "new"]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("hint: fill in `[expect]`, or run the case with `--update`"));
    let Ran { code, printed, .. } = project.test(&["--update"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("0 passed, 2 updated in"), "{printed}");
    assert!(
        project
            .read("old")
            .ends_with("value = \"finish\" # at last\n")
    );
    insta::assert_snapshot!(project.read("new"), @r#"
    # Nothing yet.
    [job]
    name = "steps"

    [expect]
    outcome = "completed"
    value = "finish"
    data = { step = "finish" }
    calls = [
      'log("initial step")',
      'update-data({"step":"second"})',
      'log("second step")',
      'update-data({"step":"finish"})',
    ]
    "#);
    project.passes();
    let again = project.test(&["--update"]).printed;
    assert!(again.contains("2 passed in"), "{again}");
}

#[test]
fn case_names_its_file_alone() {
    let project = Project::new("step-job", "")
        .case("one", &format!("{STEPS}[expect]\nstate = \"completed\"\n"));
    let elsewhere = tempdir().unwrap();
    let file = project.file("one").display().to_string();
    let Ran { code, said, .. } = run(elsewhere.path(), &[&file]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn processor_of_many_cases_is_compiled_once() {
    let mut project = Project::new("step-job", "[runtime]\ncache = false\n");
    for number in 0..100 {
        let case = format!("{STEPS}[expect]\nvalue = \"finish\"\n");
        project = project.case(&format!("case-{number}"), &case);
    }
    let report: Value = serde_json::from_str(&project.test(&["--json"]).printed).unwrap();
    assert_eq!(report["passed"], 100);
    assert_eq!(report["processors"].as_array().unwrap().len(), 1);
}

#[test]
fn clock_shows_the_time_of_the_case_and_jobs_delay_themselves_by_it() {
    let case = "now = 2026-03-01T12:00:00Z\n[job]\ndata = { restMs = 60000 }\n[expect]\noutcome = \"delayed\"\ndelay_ms = 60000\n\
        data = { restMs = 60000, step = \"second\" }\n\
        calls = [\n 'log(\"initial step\")',\n 'move-to-delayed(1772366460000)',\n 'update-data({\"restMs\":60000,\"step\":\"second\"})',\n]\n";
    Project::new("delayed-step-job", "")
        .case("rests", case)
        .passes();
}

#[test]
fn children_and_grants_are_those_of_a_real_queue() {
    let done = "[job]\ndata = { step = \"third\" }\n[[children]]\nqueue = \"parts\"\nid = \"a\"\nvalue_json = '{\"n\":null}'\n\
        [expect]\nvalue_json = '{\"parts\":{\"bull:parts:a\":{\"n\":null}}}'\n";
    let adds = "[job]\n[expect]\noutcome = \"waiting-children\"\nstate = \"waiting-children\"\n\
        [[expect.added]]\nqueue = \"parts\"\nname = \"child-1\"\ndata = { foo = \"bar\" }\n[[expect.added]]\nname = \"child-2\"\n";
    Project::new(
        "step-job-with-children",
        "[queues.paint.grants]\nqueues = [\"parts\"]\n",
    )
    .case("done", done)
    .case("adds", adds)
    .passes();
    let project = Project::new("step-job-with-children", "").case("adds", adds);
    let report = project.report();
    let diff = report["diff"].as_str().unwrap();
    assert!(diff.contains("+ outcome = \"failed\""), "{diff}");
    assert!(diff.contains("may not use queue `parts`"), "{diff}");
}

#[test]
fn attempts_that_are_left_and_failures_of_children_count() {
    let retried = "[job]\ndata = { failures = 2 }\nattempts_made = 1\nopts = { attempts = 3, backoff = 500 }\n\
        [expect]\nfailed_reason = \"attempt 2 of 2 that fail\"\nstate = \"delayed\"\ndelay_ms = 500\n";
    let last = "[job]\ndata = { failures = 9 }\nattempts_made = 2\nopts = { attempts = 3 }\n[expect]\nstate = \"failed\"\n";
    Project::new("flaky", "")
        .case("retried", retried)
        .case("last", last)
        .passes();
    let failed = "[job]\nname = \"test-suite\"\n[[children]]\nqueue = \"runner\"\nid = \"a\"\nfailed_reason = \"red\"\n\
        opts = { continueParentOnFailure = true }\n[[children]]\nqueue = \"runner\"\nid = \"b\"\n\
        [expect.value]\nstatus = \"failed\"\nmessage = \"Test suite aborted due to critical failure\"\nfailedTests = { \"bull:runner:a\" = \"red\" }\n";
    let fails = "[job]\nname = \"test-suite\"\n[[children]]\nqueue = \"runner\"\nid = \"a\"\nfailed_reason = \"red\"\n\
        opts = { failParentOnFailure = true }\n[expect]\noutcome = \"failed\"\nfailed_reason = \"child bull:runner:a failed\"\ncalls = []\n";
    Project::new(
        "test-suite",
        "[queues.paint.grants]\nqueues = [\"runner\"]\n",
    )
    .case("continues", failed)
    .case("fails", fails)
    .passes();
}

const HTTP: &str =
    "[queues.paint.grants.http]\nhosts = [\"prices.example\"]\nresponse_bytes_max = 1000\n";

#[test]
fn requests_get_the_answers_of_the_case() {
    let get = "[job]\ndata = \"https://prices.example/paint\"\n\
        [[http]]\nurl = \"https://prices.example/paint\"\nstatus = 302\nheaders = { location = \"https://prices.example/new\" }\n\
        [[http]]\nurl = \"https://prices.example/new\"\njson = { price = 4 }\n\
        [expect]\nvalue = { status = 200, length = 11, begin = '{\"price\":4}' }\n\
        calls = [\"http(GET https://prices.example/paint)\", \"http(GET https://prices.example/new)\"]\n";
    let post = "[job]\nname = \"post\"\ndata = \"http://prices.example/\"\n\
        [[http]]\nmethod = \"POST\"\nurl = \"http://prices.example\"\nbody = \"taken\"\n[expect]\nvalue = { status = 200, length = 5, begin = \"taken\" }\n";
    let refused = "[job]\ndata = \"https://prices.example/\"\n[[http]]\nurl = \"https://prices.example/\"\nerror = \"connection-refused\"\n\
        [expect]\noutcome = \"failed\"\nfailed_reason = \"ErrorCode::ConnectionRefused\"\n";
    let mut long = "[job]\ndata = \"https://prices.example/\"\n[expect]\noutcome = \"failed\"\n[[http]]\nurl = \"https://prices.example/\"\n".to_owned();
    long += &format!("body = \"{}\"\n", "x".repeat(1001));
    Project::new("fixture-http", HTTP)
        .case("get", get)
        .case("post", post)
        .case("refused", refused)
        .case("too-long", &long)
        .passes();
}

#[test]
fn requests_without_an_answer_and_hosts_without_a_grant_fail_the_case() {
    let ask = |host: &str| {
        format!("[job]\ndata = \"https://{host}/a?b=c\"\n[expect]\noutcome = \"failed\"\n")
    };
    let project = Project::new("fixture-http", HTTP).case("ask", &ask("prices.example"));
    let problems = project.report()["problems"].clone();
    let problem = problems[0].as_str().unwrap();
    assert!(
        problem.starts_with("request GET https://prices.example/a?b=c has no answer\nhint: "),
        "{problem}"
    );
    // A processor that needs a grant is refused with the section of its queue.
    let project = Project::new("fixture-http", "").case("ask", &ask("prices.example"));
    let ran = project.test(&[]);
    assert!(
        ran.printed.contains("to `[queues.paint.grants]`"),
        "{}",
        ran.printed
    );
    // Judged first, as in production: no answer helps.
    let answered = format!(
        "{}[[http]]\nurl = \"https://other.example/a?b=c\"\n",
        ask("other.example")
    );
    let project = Project::new("fixture-http", HTTP).case("ask", &answered);
    let report = project.report();
    assert_eq!(
        report["problems"][0],
        "answer for GET https://other.example/a?b=c was not asked for"
    );
    assert!(
        report["log"]
            .as_str()
            .unwrap()
            .contains("was refused: not in grants.http.hosts of queue paint"),
        "{report}"
    );
}

#[test]
fn environment_is_what_is_granted_and_secrets_are_not_read() {
    let grants = "[queues.paint.grants]\nenv = { MODE = \"fast\" }\nconfig = { region = \"eu\" }\nsecrets = { SECRET = { env = \"NOWHERE\" } }\n";
    let leaks = "[job]\nname = \"leak-secret\"\n[expect]\nfailed_reason = \"the secret is ***\"\n";
    let config = "[job]\nname = \"config\"\ndata = \"region\"\n[config]\nregion = \"us\"\n[expect]\nvalue = \"us\"\n";
    let project = Project::new("fixture-rights", grants)
        .case("leaks", leaks)
        .case("config", config);
    project.passes();
    let project = project.case(
        "leaks",
        "env = { MODEL = \"x\" }\n[job]\n[expect]\noutcome = \"failed\"\n",
    );
    let printed = project.test(&["--filter", "leaks"]).printed;
    assert!(
        printed.contains("`env.MODEL` is not granted to queue `paint`"),
        "{printed}"
    );
}

#[test]
fn mistakes_in_a_case_are_explained() {
    for (case, reason) in [
        (
            "[job]\nqueue = \"pain\"\n[expect]\noutcome = \"failed\"\n",
            "hint: did you mean `paint`?",
        ),
        (
            "[job]\n[expect]\noutcome = \"complete\"\n",
            "hint: did you mean `completed`?",
        ),
        (
            "[job]\ndata_json = '{'\n[expect]\nstate = \"x\"\n",
            "`data_json` is not JSON",
        ),
        ("[expect]\nstate = \"x\"\n", "missing field `job`"),
        (
            "[job]\nprocessor = \"gone.wasm\"\n[expect]\nstate = \"x\"\n",
            "failed to read component",
        ),
    ] {
        let project = Project::new("step-job", "").case("wrong", case);
        let Ran { code, printed, .. } = project.test(&[]);
        assert_eq!(code, Some(1));
        assert!(printed.contains(reason), "{printed}");
    }
}
