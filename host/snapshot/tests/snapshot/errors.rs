//! What goes wrong in a script, as the reason and the stack of a failed job.

use toril_sandbox::{Limits, Outcome, Policy};

use crate::processor::{
    Jobs, failure_of, policy, refusal_of, snapshot, snapshot_with_warnings, value_of, with_runtime,
};

/// Jobs of several kinds, each by a name: one snapshot for all of them.
struct Cases {
    jobs: Jobs,
    names: Vec<&'static str>,
}

impl Cases {
    /// Each case is a body of the processor's function.
    async fn of(policy: Policy, cases: &[(&'static str, &str)]) -> Self {
        let bodies: String = cases
            .iter()
            .map(|(name, body)| format!("'{name}'() {{ {body} }},\n"))
            .collect();
        let script = format!(
            "const cases = {{\n{bodies}}}; const main = () => cases[JSON.parse(toril.job.data())]();"
        );
        Cases {
            jobs: Jobs::under(policy, &script).await,
            names: cases.iter().map(|(name, _)| *name).collect(),
        }
    }

    async fn failure(&self, name: &str) -> (String, String) {
        match self.jobs.run_with(&format!("{name:?}")).await {
            Outcome::Failed { message, stack, .. } => (message, stack),
            outcome => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn thrown_error_has_its_lines() {
    let script = "function inner() { throw new TypeError('no paint'); }
const main = async () => {
  await null;
  inner();
};";
    let (message, stack) = failure_of(script).await;
    assert_eq!(message, "no paint");
    let stack: Vec<&str> = stack.lines().collect();
    let expected = [
        "TypeError: no paint",
        "    at inner (processor.js:1:26)",
        "    at main (processor.js:4:3)",
    ];
    assert_eq!(stack[..3], expected);
}

#[tokio::test]
async fn places_are_those_of_the_source() {
    // Made by esbuild 0.25 with `--bundle --minify --sourcemap --format=iife`, of two files.
    let script = include_str!("bundle/processor.js");
    let map = include_str!("bundle/processor.js.map");
    let jobs = Jobs::of_component(policy(), snapshot(script, map).unwrap()).await;
    let (message, stack) = jobs.failure().await;
    assert_eq!(message, "no paint left");
    let places = stack
        .lines()
        .filter_map(|line| line.split(['(', ')']).nth(1));
    // As Node shows them with `--enable-source-maps`; it writes `<anonymous>` for `native`.
    let expected = [
        "src/paint.ts:8:11",
        "src/processor.ts:6:39",
        "native",
        "src/processor.ts:6:16",
        "src/processor.ts:11:22",
    ];
    assert_eq!(places.collect::<Vec<_>>()[..5], expected, "{stack}");
}

#[tokio::test]
async fn call_is_where_its_function_is_named() {
    let script = "const fail = (...all) => { throw new Error(all.length); };
const main = () => {
  return Math.max(
    1 + 2,
    fail(
      4 + Math.abs(5),
      6,
    ),
  );
};";
    let (_, stack) = failure_of(script).await;
    let place = "\n    at main (processor.js:5:5)\n";
    assert!(stack.contains(place), "{stack}");
}

#[tokio::test]
async fn rejections_that_nobody_handles_fail_the_job() {
    let cases = Cases::of(
        policy(),
        &[
            ("lost", "void Promise.reject(new Error('lost'));"),
            ("text", "void Promise.reject('text');"),
            ("42", "void Promise.reject(42);"),
            ("undefined", "void Promise.reject();"),
            (r#"{"code":7}"#, "void Promise.reject({ code: 7 });"),
            ("odd", "void Promise.reject({ message: 'odd' });"),
            ("Symbol(sign)", "void Promise.reject(Symbol('sign'));"),
            (
                "a value was thrown that cannot be shown",
                "void Promise.reject(new Proxy({}, { get() { throw 1; } }));",
            ),
        ],
    )
    .await;
    for (index, name) in cases.names.iter().enumerate() {
        let job = name.replace('"', "\\\"");
        let (message, stack) = match cases.jobs.run_with(&format!("\"{job}\"")).await {
            Outcome::Failed { message, stack, .. } => (message, stack),
            outcome => panic!("{name}: {outcome:?}"),
        };
        assert_eq!(message, *name);
        if index == 0 {
            assert!(
                stack.starts_with("Error: lost\n    at lost (processor.js:2:"),
                "{stack}"
            );
        }
    }
}

#[tokio::test]
async fn rejection_that_is_handled_in_time_is_none() {
    let script = "const main = async () => {
        const late = Promise.reject(new Error('early'));
        await null;
        return late.catch((error) => error.message);
    };";
    assert_eq!(value_of(script).await, r#""early""#);
}

#[tokio::test]
async fn callback_that_throws_fails_the_job() {
    let boom =
        "const boom = () => { throw new Error('late'); }; const never = new Promise(() => {});";
    let bodies = [
        "setTimeout",
        "setInterval",
        "queueMicrotask",
        "setImmediate",
    ]
    .map(|start| (start, format!("{boom} {start}(boom, 1); return never;")));
    let cases = Cases::of(
        policy(),
        &bodies.each_ref().map(|(name, body)| (*name, body.as_str())),
    )
    .await;
    for name in &cases.names {
        let (message, stack) = cases.failure(name).await;
        assert_eq!(message, "late", "{name}");
        assert!(
            stack.starts_with("Error: late\n    at boom (processor.js:"),
            "{stack}"
        );
        assert!(!stack.contains("toril:engine"), "{stack}");
    }
}

#[tokio::test]
async fn promise_that_can_never_settle_ends_the_job() {
    let cases = Cases::of(
        policy(),
        &[
            ("pending", "return new Promise(() => {});"),
            (
                "unheld",
                "return new Promise((done) => setTimeout(done, 9e5).unref());",
            ),
        ],
    )
    .await;
    for name in &cases.names {
        let expected =
            "the processor's promise can never settle: nothing is left that it could wait for";
        assert_eq!(cases.failure(name).await.0, expected, "{name}");
    }
}

#[tokio::test]
async fn stack_overflow_is_a_range_error_with_its_line() {
    let cases = Cases::of(
        policy(),
        &[
            (
                "plain",
                "const down = (n) => down(n + 1) + 1; return down(0);",
            ),
            (
                "map",
                "const down = (n) => [n].map((m) => down(m + 1)); return down(0);",
            ),
            (
                "getter",
                "const o = { get deeper() { return o.deeper; } }; return o.deeper;",
            ),
            (
                "json",
                "const o = { toJSON() { return JSON.stringify(o); } }; return JSON.stringify(o);",
            ),
            (
                "string",
                "const o = { toString() { return `${o}`; } }; return `${o}`;",
            ),
            (
                "proxy",
                "const p = new Proxy({}, { get: (t, k, r) => r[k] }); return p.x;",
            ),
            (
                "apply",
                "const down = () => Reflect.apply(down, null, []); return down();",
            ),
            ("call", "const down = () => down.call(null); return down();"),
            (
                "spread",
                "const down = (...all) => down(...all, 1); return down();",
            ),
            (
                "constructor",
                "class A { constructor() { new A(); } } return new A();",
            ),
            (
                "replace",
                "const down = () => 'a'.replace(/a/, down); return down();",
            ),
            (
                "sort",
                "const down = () => [2, 1].sort(down); return down();",
            ),
            (
                "generator",
                "function* down() { yield* down(); } return [...down()];",
            ),
            (
                "async",
                "const down = async () => { await down(); }; return down();",
            ),
            ("eval", "const down = () => eval('down()'); return down();"),
            (
                "proxies",
                "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x;",
            ),
        ],
    )
    .await;
    for name in &cases.names {
        let (message, stack) = cases.failure(name).await;
        assert_eq!(message, "Maximum call stack size exceeded", "{name}");
        let begin = "RangeError: Maximum call stack size exceeded\n    at ";
        assert!(
            stack.starts_with(begin) && stack.contains("(processor.js:"),
            "{name}: {stack}"
        );
    }
}

#[tokio::test]
async fn stacks_can_be_those_of_v8_also_where_the_stack_is_used_up() {
    let script = "Error.prepareStackTrace = globalThis.__toril.prepareStackTrace;
const down = (n) => down(n + 1) + 1;
const main = () => {
  const named = Object.assign(new Error(''), { name: 'Nameless' });
  class Own extends RangeError { constructor() { super('own'); } }
  const own = new Own();
  try { down(0); } catch (error) {
    return [error, new TypeError('no'), named, own].map(({ stack }) => stack.slice(0, 90));
  }
};";
    let value: Vec<String> = serde_json::from_str(&value_of(script).await).unwrap();
    let deep = "RangeError: Maximum call stack size exceeded\n    at down (processor.js:2:21)\n    at down (";
    assert!(value[0].starts_with(deep), "{value:?}");
    assert!(
        value[1].starts_with("TypeError: no\n    at main (processor.js:8:20)"),
        "{value:?}"
    );
    assert!(
        value[2].starts_with("Error\n    at main (processor.js:4:31)"),
        "{value:?}"
    );
    let own = "RangeError: own\n    at main (processor.js:6:15)";
    assert!(value[3].starts_with(own), "{value:?}");
}

/// Whatever an error is made of, as far as a script can replace it, here tells that it ran.
const REPLACED: &str = "\
let ran = [];
Error.prepareStackTrace = () => { ran.push('prepareStackTrace'); globalThis.tell?.(ran); return ''; };
for (const name of ['name', 'message']) {
  Object.defineProperty(Error.prototype, name, { get() { ran.push(name); globalThis.tell?.(ran); return ''; } });
}
Error.stackTraceLimit = 0;
";

#[tokio::test]
async fn place_of_a_loop_is_found_without_functions_of_the_script() {
    let script = format!(
        "{REPLACED}const main = () => {{ globalThis.tell = (ran) => toril.job.log(`ran ${{ran}}`);\nfor (;;); }};"
    );
    let mut policy = policy();
    policy.limits.deadline_ms = 3000;
    let jobs = Jobs::under(policy, &script).await;
    let (message, stack) = jobs.failure().await;
    assert!(message.contains("time limit of 3000 ms"), "{message}");
    // The one of the loop, which is the line after `main`'s.
    assert!(stack.contains("at main (processor.js:8:"), "{stack}");
    let shown = jobs.shown.lock().join("\n");
    assert!(!shown.contains("ran "), "{shown}");
}

#[tokio::test]
async fn value_that_is_taken_once_is_told_without_functions_of_the_script() {
    let script = format!("{REPLACED}const once = Math.random();\nconst main = () => ran;");
    let map = r#"{"version":3,"sources":["paint.ts"],"names":[],"mappings":"AAAA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA"}"#;
    let snapshot = snapshot_with_warnings(&with_runtime(&script), map).unwrap();
    let warning = "paint.ts:7:";
    assert!(
        snapshot
            .warnings
            .iter()
            .any(|told| told.starts_with(warning)),
        "{:?}",
        snapshot.warnings
    );
    let jobs = Jobs::of_component(policy(), snapshot.component).await;
    assert_eq!(jobs.value().await, "[]");
}

#[tokio::test]
async fn text_with_half_a_surrogate_pair_reaches_the_host() {
    let jobs = Jobs::of("const main = () => toril.job.log('a\\ud800b');").await;
    jobs.value().await;
    let shown = jobs.shown.lock().join("\n");
    assert!(shown.contains("a\u{fffd}b"), "{shown}");
}

#[tokio::test]
async fn calls_go_as_deep_as_three_thousand() {
    let script =
        "const down = (n) => n === 0 ? 0 : 1 + down(n - 1); const main = () => down(3000);";
    assert_eq!(value_of(script).await, "3000");
}

#[tokio::test]
async fn memory_that_is_used_up_is_an_error_with_its_line() {
    let hogs = [
        (
            "objects",
            "const all = []; for (;;) all.push({ a: all.length, b: [1, 2] });",
        ),
        (
            "bytes",
            "const all = []; for (;;) all.push(new Uint8Array(1e5));",
        ),
        ("list", "return new Array(1e9).fill(0);"),
        ("text", "return 'x'.repeat(1e9);"),
        (
            "map",
            "const all = new Map(); for (;;) all.set(all.size, 1);",
        ),
    ];
    for memory_bytes_max in [24 << 20, 128 << 20] {
        let limits = Limits {
            memory_bytes_max,
            ..Limits::default()
        };
        let cases = Cases::of(Policy { limits, ..policy() }, &hogs).await;
        for name in &cases.names {
            let (message, stack) = cases.failure(name).await;
            assert_eq!(message, "out of memory", "{name} {memory_bytes_max}");
            let begin = "InternalError: out of memory\n    at ";
            assert!(
                stack.starts_with(begin) && stack.contains("(processor.js:"),
                "{name}: {stack}"
            );
        }
    }
}

#[tokio::test]
async fn job_may_use_nearly_all_that_its_queue_allows() {
    let script = "const main = () => {
        const all = [];
        for (let i = 0; i < 45; i++) all.push(new Uint8Array(1e6));
        return all.length;
    };";
    let limits = Limits {
        memory_bytes_max: 48 << 20,
        ..Limits::default()
    };
    let jobs = Jobs::under(Policy { limits, ..policy() }, script).await;
    assert_eq!(jobs.value().await, "45");
}

#[test]
fn script_that_throws_is_refused_with_its_stack() {
    let error = refusal_of("const main = () => 1;\nfunction start() { null.x; }\nstart();");
    let lines: Vec<&str> = error.lines().collect();
    let reason = "TypeError: Cannot read properties of null (reading 'x')";
    assert_eq!(lines[0], reason, "{error}");
    assert!(
        lines[1].starts_with("    at start (processor.js:2:"),
        "{error}"
    );
    let error = refusal_of("const main = () => 1; Promise.reject('early');");
    assert_eq!(error, "early");
    let error = refusal_of("const main = () => {;");
    assert!(error.starts_with("SyntaxError: "), "{error}");
    let error = snapshot("1 + 1", "").unwrap_err().to_string();
    assert_eq!(error, "the script does not set `__toril.process`");
}

#[test]
fn calls_of_the_host_are_refused_while_the_script_is_loaded() {
    for call in [
        "job.data()",
        "queues.counts('paint')",
        "producer.add('paint', { name: 'a', data: '1', options: '{}' })",
        "environment()",
        "randomBytes(4)",
    ] {
        let error = refusal_of(&format!("const main = () => 1; globalThis.__toril.{call};"));
        let name = call.split('(').next().unwrap();
        let expected = format!("Error: `{name}` is not possible while the processor is built");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("processor.js:1:"), "{error}");
    }
    let ignored = "const main = () => 1; globalThis.__toril.logging.log('info', 'at build');";
    assert!(snapshot(&with_runtime(ignored), "").is_ok());
}
