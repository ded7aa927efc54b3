//! Computes what `tests/interop/schedules.test.mjs` compares with BullMQ: reads a JSON array of cases from standard
//! input, writes one of answers.

#![allow(clippy::print_stdout, reason = "the answers are the output")]

use serde_json::{Map, Value, json};
use toril_queue::{Cron, CronOptions, Zone, next_scheduled_job};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let cases: Vec<Value> = serde_json::from_reader(std::io::stdin())?;
    let answers: Vec<Value> = cases.iter().map(answer).collect();
    println!("{}", Value::from(answers));
    Ok(())
}

/// What the case asks for, or why it is refused.
fn answer(case: &Value) -> Value {
    let answer = match case["opts"].as_object() {
        Some(opts) => next_job(case, opts),
        None => chain(case),
    };
    answer.unwrap_or_else(|error| json!({ "refused": error.to_string() }))
}

/// The options of the job after one of a scheduler; null at its end.
fn next_job(case: &Value, opts: &Map<String, Value>) -> Result<Value, Error> {
    let stored = case["stored"].as_object().ok_or("no stored")?;
    let scheduler = case["scheduler"].as_str().ok_or("no scheduler")?;
    let current = case["current"].as_u64().ok_or("no current")?;
    let now = case["now"].as_u64().ok_or("no now")?;
    let next = next_scheduled_job(opts.clone(), stored, scheduler, current, now)?;
    Ok(next.map_or(
        Value::Null,
        |next| json!({ "at": next.at_ms, "opts": next.opts }),
    ))
}

/// A chain of times, each after the one before.
fn chain(case: &Value) -> Result<Value, Error> {
    let options = CronOptions {
        hash_seed: case["hashSeed"].as_str(),
        strict: case["strict"] == true,
    };
    let pattern = case["pattern"].as_str().ok_or("no pattern")?;
    let cron = Cron::parse(pattern, &options)?;
    let zone = case["tz"].as_str().map_or(Ok(Zone::Local), Zone::parse)?;
    let start = case["start"].as_i64().ok_or("no start")?;
    let length = case["length"].as_u64().ok_or("no length")?;
    let times = std::iter::successors(cron.next(&zone, start, None), |at| {
        cron.next(&zone, *at, None)
    });
    Ok(json!({ "times": times.take(length as usize).collect::<Vec<_>>() }))
}
