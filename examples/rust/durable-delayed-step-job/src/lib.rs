//! The job of `delayed-step-job`, with durable steps. While it sleeps it holds no worker, and no attempt is spent.

use std::time::Duration;

use toril_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    rest_ms: u64,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<&'static str, Failure> {
    let Data { rest_ms } = job.data()?;
    job.step("initial", || Ok(job.log("initial step")?))?;
    job.sleep("rest", Duration::from_millis(rest_ms))?;
    job.step("second", || Ok(job.log("second step")?))?;
    Ok("finish")
}
