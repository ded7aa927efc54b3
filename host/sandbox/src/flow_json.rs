//! What comes as JSON to add jobs, read once into the values that are judged and carried out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use toril_options::json;

use crate::backend::{CallResult, FlowNode, JobError, NewJob};
use crate::names::{InvalidName, JobRef, QueueRef};

/// BullMQ's `FlowJob`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Node {
    #[serde(deserialize_with = "json::text")]
    name: String,
    queue_name: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default, deserialize_with = "json::object")]
    opts: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "json::children")]
    children: Option<Vec<Node>>,
}

/// BullMQ's `FlowOpts`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct FlowOptions {
    queues_options: BTreeMap<String, QueueOptions>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueueOptions {
    default_job_options: Map<String, Value>,
}

impl FlowOptions {
    /// What the defaults add to these flows: each node of a queue has its own copy of them.
    pub(crate) fn bytes_under(&self, flows: &[Node]) -> usize {
        fn of_nodes(nodes: &[Node], sizes: &BTreeMap<&str, usize>) -> usize {
            let bytes = nodes.iter().map(|node| {
                let own = sizes.get(node.queue_name.as_str()).copied().unwrap_or(0);
                let children = node.children.as_deref().unwrap_or_default();
                own.saturating_add(of_nodes(children, sizes))
            });
            bytes.fold(0, usize::saturating_add)
        }
        let size = |queue: &QueueOptions| {
            serde_json::to_string(&queue.default_job_options).map_or(0, |json| json.len())
        };
        let sizes = self.queues_options.iter();
        let sizes = sizes.map(|(name, queue)| (name.as_str(), size(queue)));
        of_nodes(flows, &sizes.collect())
    }
}

/// Reads options that came as JSON.
pub(crate) fn options<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> CallResult<T> {
    json::read(text).map_err(|error| JobError::Invalid(format!("`{what}` is not valid: {error}")))
}

/// A job from its name, its data and its options.
pub(crate) fn new_job(
    name: String,
    data: String,
    mut options: Map<String, Value>,
) -> Result<NewJob, JobError> {
    let parent = match options.remove("parent") {
        None | Some(Value::Null) => None,
        Some(parent) => Some(job_ref(&parent)?),
    };
    Ok(NewJob {
        name,
        data,
        options,
        parent,
    })
}

fn job_ref(parent: &Value) -> Result<JobRef, JobError> {
    let text = |name: &str| {
        let text = parent.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let (Some(id), Some(queue)) = (text("id"), text("queue")) else {
        return Err(JobError::Invalid(
            "`parent` must be { id, queue }, queue being `prefix:queue`".into(),
        ));
    };
    Ok(JobRef {
        queue: QueueRef::parse(queue).map_err(invalid)?,
        id: id.to_owned(),
    })
}

/// Flows as they came: a JSON array.
pub(crate) fn parse_flows(text: &str) -> Result<Vec<Node>, JobError> {
    json::read_flow(text).map_err(JobError::Invalid)
}

/// Flows with the defaults of their queues. `prefix` is that of a node that names none.
pub(crate) fn flows(
    nodes: Vec<Node>,
    options: &FlowOptions,
    prefix: &str,
) -> Result<Vec<FlowNode>, JobError> {
    nodes
        .into_iter()
        .map(|node| node.read(options, prefix))
        .collect()
}

impl Node {
    /// A parent that the options name is kept, for the policy to judge: where the node is added, the one above it is its
    /// parent.
    fn read(self, options: &FlowOptions, prefix: &str) -> Result<FlowNode, JobError> {
        let in_node = |error: JobError| match error {
            JobError::Invalid(reason) => {
                JobError::Invalid(format!("job `{}` of the flow: {reason}", self.name))
            }
            other => other,
        };
        let defaults = options.queues_options.get(&self.queue_name);
        let mut job_options = defaults
            .map(|queue| queue.default_job_options.clone())
            .unwrap_or_default();
        job_options.extend(self.opts.unwrap_or_default());
        let own_prefix = self.prefix.as_deref().unwrap_or(prefix);
        let queue =
            QueueRef::new(own_prefix, &self.queue_name).map_err(|error| in_node(invalid(error)))?;
        let data = self.data.as_ref().map_or("{}", |data| data.get());
        let job = new_job(self.name.clone(), data.to_owned(), job_options).map_err(in_node)?;
        let children = self.children.unwrap_or_default().into_iter();
        Ok(FlowNode {
            queue,
            job,
            children: children
                .map(|child| child.read(options, prefix))
                .collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn invalid(error: InvalidName) -> JobError {
    JobError::Invalid(error.to_string())
}
