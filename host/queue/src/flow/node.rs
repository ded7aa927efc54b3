//! What a flow is made of: nodes to add, the jobs added, and the options of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::QueueError;

/// Deeper flows are refused: each level costs a round through every queue below it.
pub(super) const DEPTH_MAX: usize = 100;

/// A node of a flow, as BullMQ's `FlowJob`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowNode {
    /// The job's name.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Any JSON; `{}` where absent.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// The prefix of its queue, where it is not the producer's.
    #[serde(default)]
    pub prefix: Option<String>,
    /// BullMQ's `JobsOptions`; `parent` on the root only.
    #[serde(default)]
    pub opts: Option<Map<String, Value>>,
    /// The jobs that it waits for.
    #[serde(default)]
    pub children: Option<Vec<FlowNode>>,
}

/// Options of adding flows, as BullMQ's `FlowOpts`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowOptions {
    /// By queue name. These are all the defaults there are: none are taken from elsewhere.
    pub queues_options: BTreeMap<String, FlowQueueOptions>,
}

/// Defaults for the jobs of one queue.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowQueueOptions {
    /// Laid under the options of each job.
    pub default_job_options: Map<String, Value>,
}

/// A job of a flow that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowJob {
    /// The job's id.
    pub id: String,
    /// `prefix:queue:id`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Its children, in the order in which they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FlowJob>,
}
/// Reads a flow from JSON text. Depth is checked before anything recurses.
pub fn parse_flow<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, QueueError> {
    let invalid = |reason: String| QueueError::Invalid(format!("flow is invalid: {reason}"));
    // Two levels of JSON per level of the flow, and some for data.
    if nesting(json) > 2 * DEPTH_MAX + 100 {
        return Err(too_deep());
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let flow = T::deserialize(&mut deserializer).map_err(|error| invalid(error.to_string()))?;
    deserializer
        .end()
        .map_err(|error| invalid(error.to_string()))?;
    Ok(flow)
}

/// How deep brackets nest, outside of strings.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

pub(super) fn too_deep() -> QueueError {
    QueueError::Invalid(format!("flow has more than {DEPTH_MAX} levels"))
}
