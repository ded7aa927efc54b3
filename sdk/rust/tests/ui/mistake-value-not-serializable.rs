use toril_sdk::prelude::*;

struct Cost(u32);

#[toril_sdk::processor]
fn process(job: Job) -> Result<Cost, Failure> {
    Ok(Cost(job.priority()))
}

fn main() {}
