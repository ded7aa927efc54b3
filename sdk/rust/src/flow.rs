//! Flows: trees of jobs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::Error;
use crate::queue::{Describe, NewJob, add_flows};

/// A tree of jobs: a parent runs when its children have ended. Added as a whole or not at all.
///
/// ```
/// # use toril_sdk::prelude::*;
/// fn plan(job: Job) -> Result<FlowJob, Failure> {
///     let paint = Flow::new("paint", "steps").data(&json!({ "price": 200 }));
///     let floor = Flow::new("floor", "steps").data(&json!({ "price": 300 })).fail_parent_on_failure();
///     Ok(Flow::new("renovate", "renovations").child_of(&job).child(paint).child(floor).add()?)
/// }
/// ```
#[derive(Debug)]
pub struct Flow {
    job: NewJob,
    queue: String,
    children: Vec<Flow>,
}

/// A job of a flow that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
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
    #[serde(default)]
    pub children: Vec<FlowJob>,
}

impl Flow {
    /// A job without children yet.
    pub fn new(name: impl Into<String>, queue: impl Into<String>) -> Self {
        Flow {
            job: NewJob::new(name),
            queue: queue.into(),
            children: Vec::new(),
        }
    }

    /// Adds a child, which may have children of its own.
    pub fn child(mut self, child: Flow) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    pub fn children(mut self, children: impl IntoIterator<Item = Flow>) -> Self {
        self.children.extend(children);
        self
    }

    /// Adds the flow, all jobs or none, and returns every job.
    pub fn add(self) -> Result<FlowJob, Error> {
        let added = add_flows(&[self])?;
        added
            .into_iter()
            .next()
            .ok_or_else(|| Error::Unavailable("host returned no flow".into()))
    }

    /// Adds several flows, all jobs of all of them or none.
    pub fn add_bulk(flows: impl IntoIterator<Item = Flow>) -> Result<Vec<FlowJob>, Error> {
        add_flows(&flows.into_iter().collect::<Vec<_>>())
    }

    pub(crate) fn node(&self) -> Result<Node<'_>, Error> {
        let data = match &self.job.data {
            Ok(data) => serde_json::from_str(data).map_err(|source| Error::Json {
                what: "job data",
                source,
            })?,
            Err(error) => return Err(Error::Invalid(format!("job data does not fit: {error}"))),
        };
        let children = self.children.iter().map(Flow::node);
        Ok(Node {
            name: &self.job.name,
            queue_name: &self.queue,
            data,
            opts: &self.job.options,
            children: children.collect::<Result<_, _>>()?,
        })
    }
}

/// BullMQ's `FlowJob`. The data keeps its text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node<'a> {
    name: &'a str,
    queue_name: &'a str,
    data: &'a RawValue,
    opts: &'a Map<String, Value>,
    children: Vec<Node<'a>>,
}

impl Describe for Flow {
    fn describe(&mut self) -> &mut NewJob {
        &mut self.job
    }
}
