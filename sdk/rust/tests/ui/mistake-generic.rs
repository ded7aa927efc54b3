use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process<T: Default + Serialize>(_job: Job) -> Result<T, Failure> {
    Ok(T::default())
}

fn main() {}
