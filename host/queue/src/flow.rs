//! Flows: trees of jobs, added in one call and read as a whole.

mod node;
mod plan;
mod tree;

use std::pin::Pin;

use self::plan::Plan;
use crate::access::QueueAccess;
use crate::add::{QueuedJob, add_jobs};
use crate::dependencies::{DependenciesQuery, Page};
use crate::error::QueueError;
use crate::getters::JobRecord;
use crate::keys::QueueName;
use crate::queue::Queue;
use crate::redis::connection::Redis;
use crate::request::Request;
use serde_json::value::RawValue;
use toril_options::json;

pub use self::node::{FlowJob, FlowNode, FlowOptions, FlowQueueOptions, parse_flow};
pub use self::tree::{FlowQuery, FlowTree};

/// A shown flow is cut here, whatever depth and breadth were asked for.
const SHOWN_MAX: usize = 10_000;

/// Adds flows to, and reads them from, any queues.
#[derive(Clone)]
pub struct Flows {
    redis: Redis,
    prefix: String,
}
impl Queue {
    /// Flows over the queues of the same prefix.
    pub fn flows(&self) -> Flows {
        Flows::new(self.redis.clone(), self.keys.prefix())
    }
}

impl Flows {
    /// Names the producer's prefix; nothing is sent to Redis.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Flows {
            redis,
            prefix: prefix.to_owned(),
        }
    }

    /// Adds flows in one call, all jobs or none, and returns the trees.
    pub async fn add(
        &self,
        roots: Vec<FlowNode>,
        options: &FlowOptions,
    ) -> Result<Vec<FlowJob>, QueueError> {
        self.plan(roots, options)?.add().await
    }

    /// Checks flows and gives each job its id. Adding the same plan again adds nothing twice.
    pub fn plan(
        &self,
        roots: Vec<FlowNode>,
        options: &FlowOptions,
    ) -> Result<FlowPlan, QueueError> {
        Ok(FlowPlan {
            redis: self.redis.clone(),
            plan: Plan::new(&self.prefix, roots, options)?,
        })
    }

    /// Reads a flow from its root, or from any job of it.
    pub async fn get(
        &self,
        queue: &QueueName,
        id: &str,
        query: FlowQuery,
    ) -> Result<Option<FlowTree>, QueueError> {
        self.get_within(queue, id, query, None, usize::MAX).await
    }

    /// Reads a flow as [`Flows::get`] does, if all that is read lies within the access and has no more bytes than that.
    pub async fn get_within(
        &self,
        queue: &QueueName,
        id: &str,
        query: FlowQuery,
        access: Option<&QueueAccess>,
        bytes_max: usize,
    ) -> Result<Option<FlowTree>, QueueError> {
        let queue = Queue::new(self.redis.clone(), &self.prefix, queue);
        let mut reading = Reading {
            max_children: query.max_children,
            left: SHOWN_MAX,
            bytes: 0,
            bytes_max,
            access,
        };
        let depth = query.depth.min(json::FLOW_LEVELS_MAX);
        self.tree(queue, id.to_owned(), depth, &mut reading).await
    }

    fn tree<'a>(
        &'a self,
        queue: Queue,
        id: String,
        depth: usize,
        reading: &'a mut Reading<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<Option<FlowTree>, QueueError>> + Send + 'a>> {
        Box::pin(async move {
            if reading.left == 0 {
                return Ok(None);
            }
            // In this order: a job shown as completed has its value.
            let state = queue.state(&id).await?;
            let Some(mut record) = queue.shown_fields(&id).await? else {
                return Ok(None);
            };
            reading.left -= 1;
            reading.take(&record)?;
            let mut children = Vec::new();
            if depth > 1 {
                let (count, bytes_max) = (reading.max_children, reading.bytes_max);
                for key in self.children_of(&queue, &id, count, bytes_max).await? {
                    let Some((child_queue, child_id)) = self.locate(&key) else {
                        continue;
                    };
                    if !reading.may_read(&child_queue, &child_id).await? {
                        continue;
                    }
                    children.extend(self.tree(child_queue, child_id, depth - 1, reading).await?);
                }
            }
            Ok(Some(FlowTree {
                key: queue.keys().job(&id),
                state,
                name: record.remove("name").unwrap_or_default(),
                queue_name: queue.keys().name().to_owned(),
                returnvalue: record
                    .remove("returnvalue")
                    .and_then(|value| RawValue::from_string(value).ok()),
                failed_reason: record.remove("failedReason"),
                id,
                children,
            }))
        })
    }

    async fn children_of(
        &self,
        queue: &Queue,
        id: &str,
        count: u64,
        bytes_max: usize,
    ) -> Result<Vec<String>, QueueError> {
        let page = Some(Page { cursor: 0, count });
        let query = DependenciesQuery {
            processed: page,
            unprocessed: page,
            ignored: page,
            failed: page,
        };
        let dependencies = queue.dependencies_within(id, &query, bytes_max).await?;
        let mut keys: Vec<String> = dependencies
            .processed
            .unwrap_or_default()
            .into_keys()
            .collect();
        keys.extend(dependencies.unprocessed.unwrap_or_default());
        keys.extend(dependencies.failed.unwrap_or_default());
        keys.extend(dependencies.ignored.unwrap_or_default().into_keys());
        Ok(keys)
    }

    pub(crate) fn locate(&self, key: &str) -> Option<(Queue, String)> {
        let (base, id) = key.rsplit_once(':')?;
        let (prefix, name) = base.rsplit_once(':')?;
        let name = QueueName::new(name).ok()?;
        Some((Queue::new(self.redis.clone(), prefix, &name), id.to_owned()))
    }
}

/// How much of a flow is read, and where.
struct Reading<'a> {
    max_children: u64,
    left: usize,
    bytes: usize,
    bytes_max: usize,
    access: Option<&'a QueueAccess>,
}

impl Reading<'_> {
    /// Counts what was read.
    fn take(&mut self, record: &JobRecord) -> Result<(), QueueError> {
        self.bytes += record.values().map(String::len).sum::<usize>();
        match self.bytes <= self.bytes_max {
            true => Ok(()),
            false => Err(QueueError::TooLarge {
                what: "results of the flow",
                bytes_max: self.bytes_max,
            }),
        }
    }

    /// Refuses a job beyond the access. False: there is no such job.
    async fn may_read(&self, queue: &Queue, id: &str) -> Result<bool, QueueError> {
        let base = queue.keys().base();
        if self.access.is_none_or(|access| access.admits(base)) {
            return Ok(true);
        }
        // An id with colons was taken for a part of the prefix: such a queue is nobody's.
        match queue.job(id).await? {
            Some(_) => Err(QueueError::BeyondAccess(base.to_owned())),
            None => Ok(false),
        }
    }
}

/// Flows that were checked and are ready to be added.
pub struct FlowPlan {
    redis: Redis,
    plan: Plan,
}

impl FlowPlan {
    /// Adds the flows in one call, all jobs or none, and returns the trees.
    pub async fn add(&self) -> Result<Vec<FlowJob>, QueueError> {
        self.add_once(&Request::untracked()).await
    }

    /// Adds the flows, once however often the same request is sent, also if their jobs are gone already.
    pub async fn add_once(&self, request: &Request) -> Result<Vec<FlowJob>, QueueError> {
        let jobs = self.plan.jobs.iter().map(|planned| QueuedJob {
            base: &planned.base,
            job: &planned.job,
            waits_for_children: planned.waits_for_children,
        });
        let ids = add_jobs(&self.redis, jobs, request).await?;
        Ok(self.plan.trees(ids))
    }
}
