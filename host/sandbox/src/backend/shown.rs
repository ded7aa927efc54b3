//! A backend that tells of each call before another one carries it out: the one place that says how calls read.

mod kv;
mod steps;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    CallResult, CustomEvent, DependenciesQuery, DependencyKinds, Finished, FlowNode, FlowQuery,
    HttpAnswers, JobBackend, JobView, NewJob, NewScheduler, QueueBackend, SchedulerBackend,
    SchedulerRange, WallClock,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

/// Hears of calls, and of lines that a guest prints, in the guest's thread.
pub type ShowCall = Arc<dyn Fn(&str) + Send + Sync>;

/// A backend whose calls are shown.
pub struct Shown {
    backend: Box<dyn JobBackend>,
    show: ShowCall,
    with_lines: bool,
}

impl Shown {
    /// Shows what is asked of a backend.
    pub fn calls(backend: Box<dyn JobBackend>, show: ShowCall) -> Self {
        Shown {
            backend,
            show,
            with_lines: false,
        }
    }

    /// Shows the lines that the guest prints, too.
    pub fn calls_and_lines(backend: Box<dyn JobBackend>, show: ShowCall) -> Self {
        Shown {
            with_lines: true,
            ..Shown::calls(backend, show)
        }
    }

    fn show(&self, call: &str) {
        (self.show)(call);
    }
}

#[async_trait]
impl JobBackend for Shown {
    fn job(&self) -> JobView<'_> {
        self.backend.job()
    }

    fn wall_clock(&self) -> Option<WallClock> {
        self.backend.wall_clock()
    }

    fn http_answers(&self) -> Option<Arc<dyn HttpAnswers>> {
        self.backend.http_answers()
    }

    fn shows_lines(&self) -> Option<ShowCall> {
        self.with_lines.then(|| Arc::clone(&self.show))
    }

    fn logged(&mut self, level: tracing::Level, line: &str) {
        self.show(&format!("log({level}, {line:?})"));
        self.backend.logged(level, line);
    }

    async fn update_data(&mut self, data: &str) -> CallResult<()> {
        self.show(&format!("update-data({data})"));
        self.backend.update_data(data).await
    }

    async fn update_progress(&mut self, progress: &str) -> CallResult<()> {
        self.show(&format!("update-progress({progress})"));
        self.backend.update_progress(progress).await
    }

    async fn log(&mut self, line: &str) -> CallResult<u64> {
        self.show(&format!("log({line:?})"));
        self.backend.log(line).await
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        self.show(&format!("move-to-delayed({timestamp_ms})"));
        self.backend.move_to_delayed(timestamp_ms).await
    }

    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool> {
        let shown = child.unwrap_or_default();
        self.show(&format!("move-to-waiting-children({shown})"));
        self.backend.move_to_waiting_children(child).await
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        self.show("move-to-wait()");
        self.backend.move_to_wait().await
    }

    async fn children_values(&mut self, bytes_max: usize) -> CallResult<Vec<(String, String)>> {
        self.show("children-values()");
        self.backend.children_values(bytes_max).await
    }

    async fn failed_children_values(
        &mut self,
        bytes_max: usize,
    ) -> CallResult<Vec<(String, String)>> {
        self.show("failed-children-values()");
        self.backend.failed_children_values(bytes_max).await
    }

    async fn dependencies(
        &mut self,
        query: &DependenciesQuery,
        bytes_max: usize,
    ) -> CallResult<String> {
        self.show(&format!("dependencies({query:?})"));
        self.backend.dependencies(query, bytes_max).await
    }

    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String> {
        self.show(&format!("dependencies-count({kinds:?})"));
        self.backend.dependencies_count(kinds).await
    }

    async fn remove_unprocessed_children(&mut self, access: &QueueAccess) -> CallResult<u64> {
        self.show("remove-unprocessed-children()");
        self.backend.remove_unprocessed_children(access).await
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        self.show("remove-child-dependency()");
        self.backend.remove_child_dependency().await
    }

    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        for job in &jobs {
            let (queue, options) = (queue.name(), Value::Object(job.options_with_parent()));
            self.show(&format!(
                "add({queue}, {}, {}, {options})",
                job.name, job.data
            ));
        }
        self.backend.add(queue, jobs).await
    }

    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String> {
        let shown: Value = flows.iter().map(flow).collect();
        self.show(&format!("add-flows({shown})"));
        self.backend.add_flows(flows).await
    }

    async fn get_flow(
        &mut self,
        job: &JobRef,
        query: FlowQuery,
        access: &QueueAccess,
        bytes_max: usize,
    ) -> CallResult<String> {
        self.show(&format!("get-flow({job})"));
        self.backend.get_flow(job, query, access, bytes_max).await
    }

    async fn state(&mut self, job: &JobRef) -> CallResult<String> {
        self.show(&format!("state({job})"));
        self.backend.state(job).await
    }

    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> CallResult<()> {
        self.show(&format!("remove({job}, {with_children})"));
        self.backend.remove(job, with_children, access).await
    }
}

#[async_trait]
impl QueueBackend for Shown {
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()> {
        self.show(&format!("change-delay({job}, {delay_ms})"));
        self.backend.change_delay(job, delay_ms).await
    }

    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()> {
        self.show(&format!("change-priority({job}, {priority}, {lifo})"));
        self.backend.change_priority(job, priority, lifo).await
    }

    async fn promote(&mut self, job: &JobRef) -> CallResult<()> {
        self.show(&format!("promote({job})"));
        self.backend.promote(job).await
    }

    async fn retry(
        &mut self,
        job: &JobRef,
        ended: Finished,
        access: &QueueAccess,
    ) -> CallResult<()> {
        self.show(&format!("retry({job}, {ended:?})"));
        self.backend.retry(job, ended, access).await
    }

    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String> {
        self.show(&format!("counts({queue})"));
        self.backend.counts(queue).await
    }

    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        self.show(&format!("remove-deduplication-key({queue}, {id})"));
        self.backend.remove_deduplication_key(queue, id).await
    }

    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()> {
        self.show(&format!("rate-limit({queue}, {duration_ms})"));
        self.backend.rate_limit(queue, duration_ms).await
    }

    async fn publish_event(&mut self, queue: &QueueRef, event: &CustomEvent) -> CallResult<()> {
        let CustomEvent { name, fields } = event;
        self.show(&format!("publish-event({queue}, {name}, {fields:?})"));
        self.backend.publish_event(queue, event).await
    }
}

#[async_trait]
impl SchedulerBackend for Shown {
    async fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>> {
        let (id, schedule) = (&scheduler.id, Value::Object(scheduler.schedule.clone()));
        self.show(&format!("upsert-scheduler({queue}, {id}, {schedule})"));
        self.backend.upsert_scheduler(queue, scheduler).await
    }

    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        self.show(&format!("remove-scheduler({queue}, {id})"));
        self.backend.remove_scheduler(queue, id).await
    }

    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String> {
        self.show(&format!("scheduler({queue}, {id})"));
        self.backend.scheduler(queue, id).await
    }

    async fn schedulers(&mut self, queue: &QueueRef, range: SchedulerRange) -> CallResult<String> {
        self.show(&format!("schedulers({queue})"));
        self.backend.schedulers(queue, range).await
    }
}

fn flow(node: &FlowNode) -> Value {
    let data = toril_options::json::read(&node.job.data).unwrap_or_else(|_| json!(node.job.data));
    let mut shown = json!({
        "name": node.job.name, "queueName": node.queue.name(), "data": data, "opts": node.job.options_with_parent(),
    });
    if !node.children.is_empty() {
        shown["children"] = node.children.iter().map(flow).collect();
    }
    shown
}
