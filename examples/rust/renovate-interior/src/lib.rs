//! Renovates an interior: each step of the work is a child and returns its price, the parent sums them up.
//!
//! One processor serves both queues of the flow, `renovate` and `steps`.

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Step {
    price: u32,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<u32, Failure> {
    match job.name().as_str() {
        "renovate-interior" => {
            let costs = job.children_values::<u32>()?;
            Ok(costs.values().sum())
        }
        step => {
            let Step { price } = job.data()?;
            job.log(format!("{step} for {price}"))?;
            job.update_progress(&100)?;
            Ok(price)
        }
    }
}
