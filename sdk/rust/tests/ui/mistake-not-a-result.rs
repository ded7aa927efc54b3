use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job) -> u32 {
    job.priority()
}

fn main() {}
