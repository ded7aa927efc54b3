//! A job in steps that rests between them. While it rests it holds no worker, and no attempt is spent.

use std::time::{Duration, SystemTime};

use toril_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    #[default]
    Initial,
    Second,
    Finish,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    rest_ms: u64,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Step, Failure> {
    let Data { rest_ms } = job.data()?;
    match job.current_step()? {
        Step::Initial => {
            job.log("initial step")?;
            let exit = job.move_to_delayed(SystemTime::now() + Duration::from_millis(rest_ms))?;
            job.next_step(Step::Second)?;
            Err(exit)
        }
        Step::Second => {
            job.log("second step")?;
            Ok(job.next_step(Step::Finish)?)
        }
        Step::Finish => Ok(Step::Finish),
    }
}
