//! What a flow is made of: nodes to add, the jobs added, and the options of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use toril_options::json;

use crate::error::QueueError;

/// A node of a flow, as BullMQ's `FlowJob`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowNode {
    /// The job's name.
    #[serde(deserialize_with = "json::text")]
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Any JSON; `{}` where absent.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// The prefix of its queue, where it is not the producer's.
    #[serde(default)]
    pub prefix: Option<String>,
    /// BullMQ's `JobsOptions`; the `parent` of a root only counts.
    #[serde(default, deserialize_with = "json::object")]
    pub opts: Option<Map<String, Value>>,
    /// The jobs that it waits for.
    #[serde(default, deserialize_with = "json::children")]
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

/// Reads a flow, or several, from JSON text.
pub fn parse_flow<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, QueueError> {
    json::read_flow(json).map_err(QueueError::Invalid)
}
