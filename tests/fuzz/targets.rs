//! What reads input of others: whatever the bytes are, an answer or an error. Used by the fuzz targets, and by
//! `tests/integration/fuzz.rs`, which runs the corpus on stable Rust.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each fuzz target is a program that uses one of these, and fails by panicking"
)]

use std::io::Write as _;

use serde_json::{Map, Value};
use toril::config::{Overrides, Source};
use toril::queue::{Cron, CronOptions, FlowNode, JobOptions, Zone, fuzzing, parse_flow};
use toril_options::NewOptions;

type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub(crate) const ALL: [(&str, Target); 8] = [
    ("reply", reply),
    ("job_hash", job_hash),
    ("options", options),
    ("flow", flow),
    ("cron", cron),
    ("config", config),
    ("address", address),
    ("component", component),
];

/// A reply of a script.
pub(crate) fn reply(data: &[u8]) {
    fuzzing::reply(data);
}

/// The hash of a job, as any producer may have written it.
pub(crate) fn job_hash(data: &[u8]) {
    let job = fuzzing::job_hash(data);
    decide(&job.options, job.attempts_made);
}

/// Options of a job: stored ones, and those of one that is added.
pub(crate) fn options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    decide(&JobOptions::parse(&text), 1);
    let options = serde_json::from_str::<Map<String, Value>>(&text);
    let new = options.map(|options| NewOptions::read("any", "{}", &options));
    if let Ok(Ok(new)) = new {
        decide(&JobOptions::parse(&new.stored), 1);
    }
}

/// What a worker asks of the options.
fn decide(options: &JobOptions, made: u32) {
    let _ = options.has_attempts_left(made);
    let _ = options.dropped_traces(made as usize);
    if let Some(backoff) = &options.backoff {
        let _ = backoff.retry(made, 0.5);
    }
}

/// A flow in JSON.
pub(crate) fn flow(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = parse_flow::<FlowNode>(&text) {
        assert!(!error.to_string().is_empty());
    }
}

/// A line with a pattern, one with a zone, and one with a time: each time found is after the one before.
pub(crate) fn cron(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let mut line = || lines.next().unwrap_or_default();
    let (pattern, zone, after) = (line(), line(), line().parse().unwrap_or(1_700_000_000_000));
    let options = CronOptions::default();
    let (Ok(cron), Ok(zone)) = (Cron::parse(pattern, &options), Zone::parse(zone)) else {
        return;
    };
    let mut at: i64 = after;
    for _ in 0..3 {
        match cron.next(&zone, at, None) {
            Some(next) => {
                assert!(next > at, "{pattern}: {next} is not after {at}");
                at = next;
            }
            None => return,
        }
    }
}

/// A `toril.toml`.
pub(crate) fn config(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(data).unwrap();
    let source = Source {
        file: Some(file.path().to_owned()),
        overrides: Overrides::default(),
    };
    if let Err(error) = source.load() {
        assert!(!format!("{error:#}").is_empty());
    }
}

/// Where Redis is.
pub(crate) fn address(data: &[u8]) {
    let _ = fuzzing::address(&String::from_utf8_lossy(data));
}

/// A component.
pub(crate) fn component(data: &[u8]) {
    if let Err(error) = toril::sandbox::inspect(data) {
        assert!(!error.to_string().is_empty());
    }
}
