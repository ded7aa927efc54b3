//! The job of `chained-flow`, with durable steps: it adds a flow, once, and waits for it.
//!
//! The operator grants it the queues `children` and `grandchildren`.

use toril_sdk::prelude::*;

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    match job.queue_name().as_str() {
        "grandchildren" => return Ok(job.data()?),
        "children" => {
            let values = job.children_values::<Value>()?;
            return Ok(values.into_values().collect());
        }
        _ => {}
    }
    let grandchild = |idx: u32, value: &str| {
        Flow::new("grandchild", "grandchildren")
            .data(&json!({ "idx": idx, "foo": value }))
            .id(job.child_id(&format!("grandchild-{idx}")))
    };
    let flow = Flow::new("child-job", "children").id(job.child_id("child"));
    let flow = flow.children([grandchild(0, "bar"), grandchild(1, "baz")]);
    job.step("flow", || Ok(flow.child_of(&job).add()?))?;
    job.wait_for_children()?;
    Ok(json!(job.children_values::<Value>()?))
}
