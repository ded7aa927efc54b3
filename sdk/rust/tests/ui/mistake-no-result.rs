use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job) {
    let _ = job.id();
}

fn main() {}
