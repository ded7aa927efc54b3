use toril_sdk::prelude::*;

#[toril_sdk::processor(queue = "paint")]
fn process(job: Job) -> Result<u32, Failure> {
    Ok(job.priority())
}

fn main() {}
