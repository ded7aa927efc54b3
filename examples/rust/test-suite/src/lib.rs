//! Runs tests in parallel and stops the rest when a critical one fails: that test is a child with
//! `continueParentOnFailure`.

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Test {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    broken: bool,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    match job.name().as_str() {
        "test-suite" => report(job),
        _ => run_test(job),
    }
}

fn report(job: Job) -> Result<Value, Failure> {
    let failed = job.failed_children_values()?;
    if failed.is_empty() {
        let results = job.children_values::<Value>()?;
        return Ok(json!({ "status": "passed", "results": results }));
    }
    job.remove_unprocessed_children()?;
    Ok(json!({
        "status": "failed",
        "failedTests": failed,
        "message": "Test suite aborted due to critical failure",
    }))
}

fn run_test(job: Job) -> Result<Value, Failure> {
    let Test { kind, broken } = job.data()?;
    if broken {
        return Err(Failure::new(format!("{kind} tests failed")));
    }
    Ok(json!({ "passed": kind }))
}
