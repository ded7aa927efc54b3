//! Builds a car, one step after the other: the engine's child is the wheels, and theirs the chassis, so the
//! chassis comes first. Each step hands on what was built so far.

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Car {
    step: String,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Vec<String>, Failure> {
    let Car { step } = job.data()?;
    let before = job.children_values::<Vec<String>>()?;
    let mut built: Vec<String> = before.into_values().flatten().collect();
    built.push(step);
    Ok(built)
}
