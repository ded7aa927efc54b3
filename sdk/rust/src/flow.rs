//! Flows: trees of jobs.

use serde::Deserialize;
use serde_json::{Value, json};

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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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

    pub(crate) fn to_json(&self) -> Result<Value, Error> {
        let json = |source| Error::Json {
            what: "job data",
            source,
        };
        let data = match &self.job.data {
            Ok(data) => serde_json::from_str::<Value>(data).map_err(json)?,
            Err(error) => return Err(Error::Invalid(format!("job data does not fit: {error}"))),
        };
        let children = self
            .children
            .iter()
            .map(Flow::to_json)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(json!({
            "name": self.job.name,
            "queueName": self.queue,
            "data": data,
            "opts": self.job.options,
            "children": children,
        }))
    }
}

impl Describe for Flow {
    fn describe(&mut self) -> &mut NewJob {
        &mut self.job
    }
}
