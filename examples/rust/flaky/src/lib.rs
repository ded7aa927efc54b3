//! Fails a number of times, then succeeds: what attempts and backoff are for.

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Data {
    failures: u32,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<impl Serialize, Failure> {
    let Data { failures } = job.data()?;
    let attempt = job.attempts_made() + 1;
    if attempt <= failures {
        return Err(Failure::new(format!(
            "attempt {attempt} of {failures} that fail"
        )));
    }
    Ok(json!({ "attempts": attempt }))
}
