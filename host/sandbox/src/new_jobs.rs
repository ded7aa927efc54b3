//! Jobs that a guest wants to add: parsed once, judged by the policy, carried out by the backend.

use serde_json::{Map, Value, json};

use crate::names::{JobRef, QueueRef};

/// A job to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its name.
    pub name: String,
    /// Its data, JSON.
    pub data: String,
    /// BullMQ's `JobsOptions` but `parent`.
    pub options: Map<String, Value>,
    /// The job that waits for it.
    pub parent: Option<JobRef>,
}

impl NewJob {
    /// BullMQ's `JobsOptions`, as a producer of Node gives them.
    pub(crate) fn options_with_parent(&self) -> Map<String, Value> {
        let mut options = self.options.clone();
        if let Some(parent) = &self.parent {
            let parent = json!({ "id": parent.id, "queue": parent.queue.to_string() });
            options.insert("parent".into(), parent);
        }
        options
    }
}

/// A node of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowNode {
    /// Its queue.
    pub queue: QueueRef,
    /// Its job. A node that is no root has its parent from its place in the flow.
    pub job: NewJob,
    /// The jobs that it waits for.
    pub children: Vec<FlowNode>,
}
