use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job) -> Result<impl Serialize, Failure> {
    let number: u32 = job.raw_data().parse()?;
    info!("number {number}");
    Ok(json!({ "number": number }))
}

fn main() {}
