use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process() -> Result<u32, Failure> {
    Ok(1)
}

fn main() {}
