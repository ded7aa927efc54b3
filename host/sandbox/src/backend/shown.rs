//! A backend that tells of each call before another one carries it out: the one place that says how calls read.

mod kv;
mod steps;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    CallResult, CustomEvent, DependenciesQuery, DependencyKinds, Finished, FlowNode, FlowQuery,
    HttpAnswers, JobBackend, JobView, NewJob, NewScheduler, QueueBackend, SchedulerBackend,
    SchedulerRange, Told, WallClock,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

/// Hears of calls, and of lines that a guest prints, in the guest's thread.
pub type ShowCall = Arc<dyn Fn(&str) + Send + Sync>;

/// Hears of the calls of an attempt and of their answers, in the guest's thread.
pub trait Watch: Send + Sync {
    /// A call, before it is carried out. `call` is for people; `rest` is what that leaves out.
    fn called(&self, call: &str, rest: &[u8]);
    /// What the last call was answered.
    fn answered(&self, answer: &dyn Told);
    /// The time by which a sleep is reckoned, in ms since the epoch.
    fn time_ms(&self, now_ms: u64) -> u64 {
        now_ms
    }
}

/// Shows calls only.
impl<F: Fn(&str) + Send + Sync + ?Sized> Watch for F {
    fn called(&self, call: &str, _: &[u8]) {
        self(call);
    }

    fn answered(&self, _: &dyn Told) {}
}

/// A backend whose calls are watched.
pub struct Shown {
    backend: Box<dyn JobBackend>,
    watch: Arc<dyn Watch>,
    lines: Option<ShowCall>,
}

impl Shown {
    /// Shows what is asked of a backend.
    pub fn calls(backend: Box<dyn JobBackend>, show: ShowCall) -> Self {
        Shown::watched(backend, Arc::new(move |call: &str| show(call)))
    }

    /// Shows the lines that the guest prints, too.
    pub fn calls_and_lines(backend: Box<dyn JobBackend>, show: ShowCall) -> Self {
        Shown {
            lines: Some(Arc::clone(&show)),
            ..Shown::calls(backend, show)
        }
    }

    /// Tells somebody what is asked of a backend, and what it answers.
    pub fn watched(backend: Box<dyn JobBackend>, watch: Arc<dyn Watch>) -> Self {
        Shown {
            backend,
            watch,
            lines: None,
        }
    }
}

/// Tells of a call, carries it out, and tells of its answer. `rest` is what the text leaves out of the arguments.
macro_rules! told {
    ($this:ident, $call:expr, $method:ident($($argument:expr),*)) => {
        told!($this, $call, &[], $method($($argument),*))
    };
    ($this:ident, $call:expr, $rest:expr, $method:ident($($argument:expr),*)) => {{
        $this.watch.called($call.as_ref(), $rest);
        let answer = $this.backend.$method($($argument),*).await;
        $this.watch.answered(&answer);
        answer
    }};
}
use told;

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
        self.lines.clone()
    }

    fn logged(&mut self, level: tracing::Level, line: &str) {
        self.watch.called(&format!("log({level}, {line:?})"), &[]);
        self.backend.logged(level, line);
    }

    async fn update_data(&mut self, data: &str) -> CallResult<()> {
        told!(self, format!("update-data({data})"), update_data(data))
    }

    async fn update_progress(&mut self, progress: &str) -> CallResult<()> {
        told!(
            self,
            format!("update-progress({progress})"),
            update_progress(progress)
        )
    }

    async fn log(&mut self, line: &str) -> CallResult<u64> {
        told!(self, format!("log({line:?})"), log(line))
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        told!(
            self,
            format!("move-to-delayed({timestamp_ms})"),
            move_to_delayed(timestamp_ms)
        )
    }

    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool> {
        let shown = child.unwrap_or_default();
        told!(
            self,
            format!("move-to-waiting-children({shown})"),
            move_to_waiting_children(child)
        )
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        told!(self, "move-to-wait()", move_to_wait())
    }

    async fn children_values(&mut self, bytes_max: usize) -> CallResult<Vec<(String, String)>> {
        told!(self, "children-values()", children_values(bytes_max))
    }

    async fn failed_children_values(
        &mut self,
        bytes_max: usize,
    ) -> CallResult<Vec<(String, String)>> {
        told!(
            self,
            "failed-children-values()",
            failed_children_values(bytes_max)
        )
    }

    async fn dependencies(
        &mut self,
        query: &DependenciesQuery,
        bytes_max: usize,
    ) -> CallResult<String> {
        told!(
            self,
            format!("dependencies({query:?})"),
            dependencies(query, bytes_max)
        )
    }

    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String> {
        told!(
            self,
            format!("dependencies-count({kinds:?})"),
            dependencies_count(kinds)
        )
    }

    async fn remove_unprocessed_children(&mut self, access: &QueueAccess) -> CallResult<u64> {
        told!(
            self,
            "remove-unprocessed-children()",
            remove_unprocessed_children(access)
        )
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        told!(self, "remove-child-dependency()", remove_child_dependency())
    }

    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        let shown = jobs.iter().map(|job| {
            let options = Value::Object(job.options_with_parent());
            let (queue, name, data) = (queue.name(), &job.name, &job.data);
            format!("add({queue}, {name}, {data}, {options})")
        });
        // One job, one line.
        let mut shown: Vec<String> = shown.collect();
        let last = shown
            .pop()
            .unwrap_or_else(|| format!("add({})", queue.name()));
        shown.iter().for_each(|call| self.watch.called(call, &[]));
        told!(self, last, add(queue, jobs))
    }

    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String> {
        let shown: Value = flows.iter().map(flow).collect();
        told!(self, format!("add-flows({shown})"), add_flows(flows))
    }

    async fn get_flow(
        &mut self,
        job: &JobRef,
        query: FlowQuery,
        access: &QueueAccess,
        bytes_max: usize,
    ) -> CallResult<String> {
        told!(
            self,
            format!("get-flow({job})"),
            get_flow(job, query, access, bytes_max)
        )
    }

    async fn state(&mut self, job: &JobRef) -> CallResult<String> {
        told!(self, format!("state({job})"), state(job))
    }

    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> CallResult<()> {
        told!(
            self,
            format!("remove({job}, {with_children})"),
            remove(job, with_children, access)
        )
    }
}

#[async_trait]
impl QueueBackend for Shown {
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()> {
        told!(
            self,
            format!("change-delay({job}, {delay_ms})"),
            change_delay(job, delay_ms)
        )
    }

    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()> {
        told!(
            self,
            format!("change-priority({job}, {priority}, {lifo})"),
            change_priority(job, priority, lifo)
        )
    }

    async fn promote(&mut self, job: &JobRef) -> CallResult<()> {
        told!(self, format!("promote({job})"), promote(job))
    }

    async fn retry(
        &mut self,
        job: &JobRef,
        ended: Finished,
        access: &QueueAccess,
    ) -> CallResult<()> {
        told!(
            self,
            format!("retry({job}, {ended:?})"),
            retry(job, ended, access)
        )
    }

    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String> {
        told!(self, format!("counts({queue})"), counts(queue))
    }

    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        told!(
            self,
            format!("remove-deduplication-key({queue}, {id})"),
            remove_deduplication_key(queue, id)
        )
    }

    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()> {
        told!(
            self,
            format!("rate-limit({queue}, {duration_ms})"),
            rate_limit(queue, duration_ms)
        )
    }

    async fn publish_event(&mut self, queue: &QueueRef, event: &CustomEvent) -> CallResult<()> {
        let CustomEvent { name, fields } = event;
        told!(
            self,
            format!("publish-event({queue}, {name}, {fields:?})"),
            publish_event(queue, event)
        )
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
        told!(
            self,
            format!("upsert-scheduler({queue}, {id}, {schedule})"),
            upsert_scheduler(queue, scheduler)
        )
    }

    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        told!(
            self,
            format!("remove-scheduler({queue}, {id})"),
            remove_scheduler(queue, id)
        )
    }

    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String> {
        told!(
            self,
            format!("scheduler({queue}, {id})"),
            scheduler(queue, id)
        )
    }

    async fn schedulers(&mut self, queue: &QueueRef, range: SchedulerRange) -> CallResult<String> {
        told!(
            self,
            format!("schedulers({queue})"),
            schedulers(queue, range)
        )
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
