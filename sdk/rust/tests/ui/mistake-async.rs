use toril_sdk::prelude::*;

#[toril_sdk::processor]
async fn process(job: Job<'_>) -> Result<u32, Failure> {
    Ok(job.priority())
}

fn main() {}
