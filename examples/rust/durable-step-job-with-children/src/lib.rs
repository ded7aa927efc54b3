//! The job of `step-job-with-children`, with durable steps: two children, each added once, work side by side.
//!
//! The operator grants it the queue of the children, `parts`.

use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    if job.queue_name() == "parts" {
        return Ok(json!({ "made": job.name() }));
    }
    for name in ["child-1", "child-2"] {
        let part = NewJob::new(name).data(&json!({ "foo": "bar" }));
        // The id is the same in every attempt: one that ends between adding the child and noting it adds no second one.
        let part = part.child_of(&job).id(job.child_id(name));
        job.step(name, || Ok(Queue::new("parts").add(part)?))?;
    }
    job.wait_for_children()?;
    Ok(json!({ "parts": job.children_values::<Value>()? }))
}
