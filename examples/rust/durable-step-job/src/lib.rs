//! The job in steps of `step-job`, with durable steps: each runs once, and its value is kept in the job.

use toril_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    /// Fails the first attempt in this step.
    fail_in: Option<String>,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<&'static str, Failure> {
    let Data { fail_in } = job.data()?;
    for step in ["initial", "second"] {
        job.step(step, || {
            if fail_in.as_deref() == Some(step) && job.attempts_made() == 0 {
                Err("this step fails once")?;
            }
            Ok(job.log(format!("{step} step"))?)
        })?;
    }
    Ok("finish")
}
