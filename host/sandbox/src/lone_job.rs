//! A job that is in no queue: each call is shown, and answered as a healthy queue would.

mod queues;

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
    show: Box<dyn FnMut(String) + Send>,
}

impl LoneJob {
    /// A job of this name and data, JSON.
    pub fn new(name: &str, data: &str) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        LoneJob {
            id: "rehearsal".into(),
            queue: "rehearsal".into(),
            name: name.to_owned(),
            data: data.to_owned(),
            timestamp: since_epoch.map_or(0, |elapsed| elapsed.as_millis() as u64),
            show: Box::new(drop),
        }
    }

    /// Shows each call.
    pub fn shown(mut self, show: Box<dyn FnMut(String) + Send>) -> Self {
        self.show = show;
        self
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
            data: self.data.as_bytes(),
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

    fn logged(&mut self, level: tracing::Level, line: &str) {
        (self.show)(format!("log({level}, {line:?})"));
    }

    async fn update_data(&mut self, data: &str) -> CallResult<()> {
        (self.show)(format!("update-data({data})"));
        Ok(())
    }

    async fn update_progress(&mut self, progress: &str) -> CallResult<()> {
        (self.show)(format!("update-progress({progress})"));
        Ok(())
    }

    async fn log(&mut self, line: &str) -> CallResult<u64> {
        (self.show)(format!("log({line:?})"));
        Ok(1)
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        (self.show)(format!("move-to-delayed({timestamp_ms})"));
        Ok(())
    }

    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool> {
        (self.show)(format!(
            "move-to-waiting-children({})",
            child.unwrap_or_default()
        ));
        Ok(false)
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        (self.show)("move-to-wait()".into());
        Ok(())
    }

    async fn children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        (self.show)("children-values()".into());
        Ok(Vec::new())
    }

    async fn failed_children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        (self.show)("failed-children-values()".into());
        Ok(Vec::new())
    }

    async fn dependencies(&mut self, query: &DependenciesQuery, _: usize) -> CallResult<String> {
        (self.show)(format!("dependencies({query:?})"));
        Ok("{}".into())
    }

    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String> {
        (self.show)(format!("dependencies-count({kinds:?})"));
        Ok("{}".into())
    }

    async fn remove_unprocessed_children(&mut self, _: &QueueAccess) -> CallResult<u64> {
        (self.show)("remove-unprocessed-children()".into());
        Ok(0)
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        (self.show)("remove-child-dependency()".into());
        Ok(false)
    }

    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        for job in &jobs {
            let options = serde_json::Value::Object(job.options.clone());
            (self.show)(format!(
                "add({}, {}, {}, {options})",
                queue.name(),
                job.name,
                job.data
            ));
        }
        Ok((1..=jobs.len())
            .map(|number| format!("rehearsal-{number}"))
            .collect())
    }

    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String> {
        (self.show)(format!("add-flows({} flows)", flows.len()));
        Ok("[]".into())
    }

    async fn get_flow(
        &mut self,
        job: &JobRef,
        _: FlowQuery,
        _: &QueueAccess,
        _: usize,
    ) -> CallResult<String> {
        (self.show)(format!("get-flow({job})"));
        Ok("null".into())
    }

    async fn state(&mut self, job: &JobRef) -> CallResult<String> {
        (self.show)(format!("state({job})"));
        Ok("unknown".into())
    }

    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        _: &QueueAccess,
    ) -> CallResult<()> {
        (self.show)(format!("remove({job}, {with_children})"));
        Ok(())
    }
}
