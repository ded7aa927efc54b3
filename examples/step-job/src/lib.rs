//! A job in steps. The step is kept in the job's data, so that a retry resumes where it failed.

use std::time::{Duration, SystemTime};

use toril_sdk::prelude::*;

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Initial,
    Second,
    Finish,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    step: Step,
    /// Fails the first attempt in this step.
    fail_in: Option<Step>,
    /// Rests so many milliseconds between the steps, without holding a worker.
    rest_ms: Option<u64>,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Step, Failure> {
    let mut data: Data = job.data()?;
    loop {
        if data.fail_in == Some(data.step) && job.attempts_made() == 0 {
            return Err(Failure::new("this step fails once"));
        }
        match data.step {
            Step::Initial => {
                job.log("initial step")?;
                data.step = Step::Second;
                if let Some(rest) = data.rest_ms.take() {
                    let wake = SystemTime::now() + Duration::from_millis(rest);
                    let exit = job.move_to_delayed(wake)?;
                    job.update_data(&data)?;
                    return Err(exit);
                }
            }
            Step::Second => {
                job.log("second step")?;
                data.step = Step::Finish;
            }
            Step::Finish => return Ok(Step::Finish),
        }
        job.update_data(&data)?;
    }
}
