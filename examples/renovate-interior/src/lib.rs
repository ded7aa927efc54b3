//! Renovates an interior: each job is one step of the work and returns what it cost.

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Step {
    price: u32,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<impl Serialize, Failure> {
    let step: Step = job.data()?;
    job.log(format!("{} for {}", job.name(), step.price))?;
    job.update_progress(&100)?;
    Ok(step.price)
}
