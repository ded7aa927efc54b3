use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Paint {
    walls: u32,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<impl Serialize, Failure> {
    let Paint { walls } = job.data()?;
    if walls == 0 {
        // No further attempt can help.
        return Err(Failure::unrecoverable("there are no walls to paint"));
    }
    job.log(format!("painting {walls} walls"))?;
    Ok(json!({ "cost": walls * 100 }))
}
