//! A job in steps. The step is kept in the job's data, so that a retry resumes where it failed.

use toril_sdk::prelude::*;

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
    /// Fails the first attempt in this step.
    fail_in: Option<Step>,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Step, Failure> {
    let Data { fail_in } = job.data()?;
    let mut step: Step = job.current_step()?;
    loop {
        if fail_in == Some(step) && job.attempts_made() == 0 {
            return Err(Failure::new("this step fails once"));
        }
        step = match step {
            Step::Initial => {
                job.log("initial step")?;
                job.next_step(Step::Second)?
            }
            Step::Second => {
                job.log("second step")?;
                job.next_step(Step::Finish)?
            }
            Step::Finish => return Ok(Step::Finish),
        };
    }
}
