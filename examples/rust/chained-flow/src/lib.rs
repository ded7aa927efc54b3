//! A job that adds a flow at run time: the flow's root is a child of the job, which waits for it.
//!
//! The operator grants it the queues `children` and `grandchildren`.

use toril_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    #[default]
    Initial,
    Waiting,
    Finish,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    match job.queue_name().as_str() {
        "grandchildren" => Ok(job.data()?),
        "children" => Ok(json!(
            job.children_values::<Value>()?
                .into_values()
                .collect::<Vec<_>>()
        )),
        _ => parent(job),
    }
}

fn parent(job: Job) -> Result<Value, Failure> {
    let mut step: Step = job.current_step()?;
    loop {
        step = match step {
            Step::Initial => {
                add_flow(job)?;
                job.next_step(Step::Waiting)?
            }
            Step::Waiting => match job.move_to_waiting_children()? {
                Some(exit) => return Err(exit),
                None => job.next_step(Step::Finish)?,
            },
            Step::Finish => return Ok(json!(job.children_values::<Value>()?)),
        };
    }
}

fn add_flow(job: Job) -> Result<FlowJob, Failure> {
    let grandchild = |idx: u32, value: &str| {
        Flow::new("grandchild", "grandchildren")
            .data(&json!({ "idx": idx, "foo": value }))
            .id(job.child_id(&format!("grandchild-{idx}")))
    };
    let flow = Flow::new("child-job", "children")
        .id(job.child_id("child"))
        .child_of(&job)
        .children([grandchild(0, "bar"), grandchild(1, "baz")]);
    Ok(flow.add()?)
}
