use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job, token: String) -> Result<u32, Failure> {
    Ok(job.priority())
}

fn main() {}
