//! Options of any kind, read by Toril and by BullMQ itself: `tests/interop/options.mjs` makes them up and says what
//! BullMQ's classes, and its scripts in a Redis of their own, make of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use toril_options::{JobOptions, KeepJobs, Retry};

const SEED: &str = "1";
const CASES: &str = "2500";
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// What BullMQ's own strategies get from `Math.random()`.
const RANDOM: f64 = 0.5;
/// How old the jobs are, in seconds, newest first. The newest is the one that ends.
const AGES: [u64; 6] = [0, 10, 20, 30, 40, 50];

fn answers_of_bullmq() -> Vec<Value> {
    // Cargo runs a test in its package. It may have been built in another clone with the same target directory.
    let folder = Path::new("../../tests/interop");
    assert!(
        folder.join("node_modules/bullmq").exists(),
        "BullMQ is missing\nhint: run `npm ci` in tests/interop"
    );
    let output = Command::new("node")
        .args(["options.mjs", SEED, CASES])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .expect("node starts");
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn retry(options: &JobOptions, made: u32) -> Value {
    if !options.has_attempts_left(made) {
        return json!("never");
    }
    let backoff = options.backoff.as_ref();
    match backoff.map_or(Retry::AtOnce, |backoff| backoff.retry(made, RANDOM)) {
        Retry::Never => json!("never"),
        Retry::AtOnce => json!("now"),
        Retry::After(delay_ms) => json!(delay_ms.min(SAFE_INTEGER_MAX)),
    }
}

/// Which of the jobs are left, by their ages: first a rule removes by age, the newest of them first, then by count.
fn kept(keep: Option<KeepJobs>) -> Value {
    let keep = keep.unwrap_or(KeepJobs::ALL);
    if keep.count == Some(0) {
        return json!(AGES[1..]);
    }
    let mut removable = keep.limit.unwrap_or(1000);
    let is_too_old = |age: u64| keep.age_s.is_some_and(|age_max| age as f64 >= age_max);
    let mut left: Vec<u64> = Vec::new();
    for age in AGES {
        if is_too_old(age) && removable > 0 {
            removable -= 1;
        } else {
            left.push(age);
        }
    }
    if let Some(count) = keep.count {
        left.truncate(count as usize);
    }
    json!(left)
}

fn answers(text: &str) -> Value {
    let options = JobOptions::parse(text);
    let retries = [1, 2, 3, 4].map(|made| retry(&options, made));
    json!({
        "text": text,
        "retries": retries,
        "traces": 5 - options.dropped_traces(5),
        "lifo": options.lifo,
        "logs": options.keep_logs.map_or(6, |keep| keep.min(6)),
        "completed": kept(options.remove_on_complete),
        "failed": kept(options.remove_on_fail),
    })
}

/// Leaves out what BullMQ breaks on.
fn without_broken(mut ours: Value, theirs: &Value) -> Value {
    for (name, answer) in theirs.as_object().unwrap() {
        if *answer == "broken" {
            ours[name] = json!("broken");
        }
    }
    for (at, answer) in theirs["retries"].as_array().unwrap().iter().enumerate() {
        if *answer == "broken" {
            ours["retries"][at] = json!("broken");
        }
    }
    ours
}

#[test]
fn options_of_any_kind_are_read_as_bullmq_reads_them() {
    let cases = answers_of_bullmq();
    assert_eq!(cases.len().to_string(), CASES);
    let (mut different, mut broken) = (Vec::new(), 0);
    for theirs in &cases {
        let ours = without_broken(answers(theirs["text"].as_str().unwrap()), theirs);
        broken += usize::from(theirs.to_string().contains("\"broken\""));
        if ours != *theirs {
            different.push(format!("BullMQ {theirs}\nToril  {ours}"));
        }
    }
    let shown = different.len().min(10);
    let first = different[..shown].join("\n");
    assert!(
        different.is_empty(),
        "{} of {CASES}:\n{first}",
        different.len()
    );
    assert!(
        broken < cases.len() / 2,
        "BullMQ breaks on {broken} of {CASES}"
    );
}
