//! A job in steps that adds a child in each of two steps and then waits for both. The ids of the children
//! are the same in every attempt: a retry between adding a child and storing the step adds no second one.
//!
//! The operator grants it the queue of the children, `parts`.

use toril_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    #[default]
    Initial,
    Second,
    Third,
    Finish,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    if job.queue_name() == "parts" {
        return Ok(json!({ "made": job.name() }));
    }
    let mut step: Step = job.current_step()?;
    loop {
        step = match step {
            Step::Initial => {
                add_part(job, "child-1")?;
                job.next_step(Step::Second)?
            }
            Step::Second => {
                add_part(job, "child-2")?;
                job.next_step(Step::Third)?
            }
            Step::Third => match job.move_to_waiting_children()? {
                Some(exit) => return Err(exit),
                None => job.next_step(Step::Finish)?,
            },
            Step::Finish => return Ok(json!({ "parts": job.children_values::<Value>()? })),
        };
    }
}

fn add_part(job: Job, name: &str) -> Result<(), Failure> {
    let part = NewJob::new(name)
        .data(&json!({ "foo": "bar" }))
        .child_of(&job)
        .id(job.child_id(name));
    Queue::new("parts").add(part)?;
    Ok(())
}
