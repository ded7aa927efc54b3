//! A job that is in no queue: each call is answered as a healthy queue would.

mod kv;
mod queues;
mod steps;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::backend::{
    CallResult, DependenciesQuery, DependencyKinds, FlowNode, FlowQuery, JobBackend, JobView,
    NewJob,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

/// A job without a queue.
pub struct LoneJob {
    id: Arc<str>,
    queue: Arc<str>,
    name: String,
    data: String,
    timestamp: u64,
}

impl LoneJob {
    /// A job of this name and data, JSON.
    pub fn new(name: &str, data: &str) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        LoneJob {
            id: "lone".into(),
            queue: "lone".into(),
            name: name.to_owned(),
            data: data.to_owned(),
            timestamp: since_epoch.map_or(0, |elapsed| elapsed.as_millis() as u64),
        }
    }
}

#[async_trait]
impl JobBackend for LoneJob {
    fn job(&self) -> JobView<'_> {
        JobView {
            id: &self.id,
            name: &self.name,
            queue: &self.queue,
            prefix: "bull",
            data: &self.data,
            opts: "{}",
            progress: "0",
            attempts_made: 0,
            attempts_started: 1,
            stalled_counter: 0,
            timestamp: self.timestamp,
            delay_ms: 0,
            priority: 0,
            timeout_ms: None,
            parent_key: None,
            parent: None,
            scheduler: None,
            deduplication_id: None,
            failed_reason: None,
            stacktrace: "[]",
            processed_on: self.timestamp,
        }
    }

    async fn update_data(&mut self, _: &str) -> CallResult<()> {
        Ok(())
    }

    async fn update_progress(&mut self, _: &str) -> CallResult<()> {
        Ok(())
    }

    async fn log(&mut self, _: &str) -> CallResult<u64> {
        Ok(1)
    }

    async fn move_to_delayed(&mut self, _: u64) -> CallResult<()> {
        Ok(())
    }

    async fn move_to_waiting_children(&mut self, _: Option<&str>) -> CallResult<bool> {
        Ok(false)
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        Ok(())
    }

    async fn children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    async fn failed_children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    async fn dependencies(&mut self, _: &DependenciesQuery, _: usize) -> CallResult<String> {
        Ok("{}".into())
    }

    async fn dependencies_count(&mut self, _: DependencyKinds) -> CallResult<String> {
        Ok("{}".into())
    }

    async fn remove_unprocessed_children(&mut self, _: &QueueAccess) -> CallResult<u64> {
        Ok(0)
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        Ok(false)
    }

    async fn add(&mut self, _: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        Ok((1..=jobs.len())
            .map(|number| format!("lone-{number}"))
            .collect())
    }

    async fn add_flows(&mut self, _: Vec<FlowNode>) -> CallResult<String> {
        Ok("[]".into())
    }

    async fn get_flow(
        &mut self,
        _: &JobRef,
        _: FlowQuery,
        _: &QueueAccess,
        _: usize,
    ) -> CallResult<String> {
        Ok("null".into())
    }

    async fn state(&mut self, _: &JobRef) -> CallResult<String> {
        Ok("unknown".into())
    }

    async fn remove(&mut self, _: &JobRef, _: bool, _: &QueueAccess) -> CallResult<()> {
        Ok(())
    }
}
