//! A running job over its queue in Redis: what the sandbox's guests change, carried out by `toril-queue`.
//!
//! The worker makes one for each attempt. It asks nothing whether the guest may: the sandbox's policy did.

mod calls;
mod job_writes;
mod kv;
mod queues;
mod step_notes;
mod steps;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use self::calls::{Lock, error_within, job_error, retried, until_answered};
pub(crate) use self::job_writes::JobWrites;
pub(crate) use self::step_notes::StepNotes;
use crate::listeners::{Changes, Listeners};
use toril_queue::{
    Caller, FlowOptions, Job, JobWrite, LockedAttempt, Moved, Queue, QueueError, QueueName,
    Request, Settlement, SettlementKind, Writer, now_ms,
};
use toril_sandbox::backend::{
    CallResult, DependenciesQuery, DependencyKinds, FlowNode, FlowQuery, JobBackend, JobError,
    JobView, NewJob, Page,
};
use toril_sandbox::names::{JobRef, QueueRef};
use toril_sandbox::policy::QueueAccess;

/// How long a lock holds where nobody says otherwise, as in BullMQ.
const LOCK_MS: u64 = 30_000;

/// One attempt of a job of a queue in Redis.
pub struct RedisBackend {
    queue: Queue,
    queue_name: Arc<str>,
    job: Arc<Job>,
    listeners: Listeners,
    changes: Arc<Changes>,
    lock_ms: u64,
    /// What is remembered of steps, where a worker runs the job.
    step_notes: Option<Arc<StepNotes>>,
    /// None before the first one.
    writes: Arc<OnceLock<JobWrites>>,
    /// Names the calls that must not be carried out twice; none before the first one.
    caller: Option<Caller>,
}

impl RedisBackend {
    /// An attempt of this job, whose lock is held.
    pub fn new(queue: Queue, job: Arc<Job>, listeners: Listeners) -> Self {
        RedisBackend {
            caller: None,
            writes: Arc::default(),
            step_notes: None,
            queue_name: queue.keys().names().0,
            queue,
            job,
            listeners,
            changes: Arc::default(),
            lock_ms: LOCK_MS,
        }
    }

    /// Notes here what the attempt changes. The job's lock holds for `lock_ms`.
    pub(crate) fn noting_changes(mut self, changes: Arc<Changes>, lock_ms: u64) -> Self {
        (self.changes, self.lock_ms) = (changes, lock_ms);
        self
    }

    /// Notes here which steps are kept.
    pub(crate) fn noting_steps(mut self, notes: Arc<StepNotes>) -> Self {
        self.step_notes = Some(notes);
        self
    }

    /// Keeps here what the attempt writes to its job, for those who wait for the end of it.
    pub(crate) fn writing_to(mut self, writes: Arc<OnceLock<JobWrites>>) -> Self {
        self.writes = writes;
        self
    }

    fn writes(&self) -> &JobWrites {
        self.writes.get_or_init(|| {
            JobWrites::new(job_writes::Author {
                queue: self.queue.clone(),
                job: Arc::clone(&self.job),
                lock_ms: self.lock_ms,
                listeners: self.listeners.clone(),
                changes: Arc::clone(&self.changes),
            })
        })
    }

    /// Waits until Redis has answered all that was written to the job.
    pub async fn stored(&self) {
        if let Some(writes) = self.writes.get() {
            writes.stored().await;
        }
    }

    /// The token to write with: none once the job was moved and the lock is gone.
    fn token(&self) -> Option<&str> {
        (!self.changes.is_moved()).then_some(&*self.job.token)
    }

    fn writer(&self) -> Writer<'_> {
        Writer::attempt(self.token())
    }

    fn lock(&self) -> Lock<'_> {
        Lock {
            queue: &self.queue,
            attempt: LockedAttempt::of(&self.job),
            lock_ms: self.lock_ms,
        }
    }

    /// Repeats a call that writes to the job while Redis is unreachable.
    async fn written<T, F: Future<Output = Result<T, QueueError>>>(
        &self,
        call: impl FnMut() -> F,
    ) -> CallResult<T> {
        self.stored().await;
        self.lock().retried(call).await.map_err(job_error)
    }

    fn request(&mut self) -> Request {
        let (queue, job) = (&self.queue, &self.job);
        let named = || Caller::new(queue.redis().clone(), &format!("{}/{}", job.token, job.id));
        self.caller.get_or_insert_with(named).request()
    }

    /// A queue that the guest names. What the attempt wrote to its job is stored before anything happens there.
    async fn other(&self, queue: &QueueRef) -> CallResult<Queue> {
        self.stored().await;
        let name = QueueName::new(queue.name()).map_err(job_error)?;
        let redis = self.queue.redis().clone();
        Ok(Queue::new(redis, queue.prefix(), &name))
    }

    async fn move_job(&mut self, kind: SettlementKind) -> CallResult<bool> {
        let settlement = Settlement::new(&self.job, kind);
        self.stored().await;
        self.changes.begin_move();
        let moved = self.lock().settle(settlement).await;
        self.changes.end_move(matches!(moved, Ok(Moved::Yes)));
        Ok(moved? == Moved::Yes)
    }
}

#[async_trait]
impl JobBackend for RedisBackend {
    fn job(&self) -> JobView<'_> {
        let job = &*self.job;
        JobView {
            id: &job.id,
            name: &job.name,
            queue: &self.queue_name,
            prefix: self.queue.keys().prefix(),
            data: &job.data,
            opts: &job.opts_json,
            progress: &job.progress,
            attempts_made: job.attempts_made,
            attempts_started: job.attempts_started,
            stalled_counter: job.stalled_counter,
            timestamp: job.timestamp,
            delay_ms: job.delay_ms,
            priority: job.priority,
            timeout_ms: job.options.timeout_ms,
            parent_key: job.parent_key.as_deref(),
            parent: job.parent.as_deref(),
            scheduler: job.scheduler.as_deref(),
            deduplication_id: job.deduplication_id.as_deref(),
            failed_reason: job.failed_reason.as_deref(),
            stacktrace: job.stacktrace.as_deref().unwrap_or("[]"),
            processed_on: job.processed_on,
        }
    }

    async fn update_data(&mut self, data: &str) -> CallResult<()> {
        self.writes().keep(JobWrite::Data(data.to_owned())).await
    }

    async fn update_progress(&mut self, progress: &str) -> CallResult<()> {
        let progress = JobWrite::Progress(progress.to_owned());
        self.writes().note(progress).await.map(drop)
    }

    async fn log(&mut self, line: &str) -> CallResult<u64> {
        self.writes().log(line.to_owned()).await
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        let delay_ms = timestamp_ms.saturating_sub(now_ms());
        let kind = SettlementKind::Delayed {
            delay_ms,
            attempt: None,
        };
        self.move_job(kind).await.map(drop)
    }

    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool> {
        let child = child.map(str::to_owned);
        self.move_job(SettlementKind::WaitingChildren { child })
            .await
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        self.move_job(SettlementKind::Wait).await.map(drop)
    }

    async fn children_values(&mut self, bytes_max: usize) -> CallResult<Vec<(String, String)>> {
        let values =
            until_answered(|| self.queue.children_values_within(&self.job.id, bytes_max)).await?;
        Ok(values.into_iter().collect())
    }

    async fn failed_children_values(
        &mut self,
        bytes_max: usize,
    ) -> CallResult<Vec<(String, String)>> {
        let values = until_answered(|| {
            self.queue
                .ignored_children_failures_within(&self.job.id, bytes_max)
        })
        .await?;
        Ok(values.into_iter().collect())
    }

    async fn dependencies(
        &mut self,
        query: &DependenciesQuery,
        bytes_max: usize,
    ) -> CallResult<String> {
        let page = |page: Option<Page>| {
            page.map(|Page { cursor, count }| toril_queue::Page { cursor, count })
        };
        let query = toril_queue::DependenciesQuery {
            processed: page(query.processed),
            unprocessed: page(query.unprocessed),
            ignored: page(query.ignored),
            failed: page(query.failed),
        };
        let found = until_answered(|| {
            self.queue
                .dependencies_within(&self.job.id, &query, bytes_max)
        })
        .await?;
        to_json(&found)
    }

    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String> {
        let kinds = toril_queue::DependencyKinds {
            processed: kinds.processed,
            unprocessed: kinds.unprocessed,
            ignored: kinds.ignored,
            failed: kinds.failed,
        };
        let counts = until_answered(|| self.queue.dependency_counts(&self.job.id, kinds)).await?;
        to_json(&counts)
    }

    async fn remove_unprocessed_children(&mut self, access: &QueueAccess) -> CallResult<u64> {
        let (within, request) = (within(access), self.request());
        self.stored().await;
        let remove = || {
            let (queue, id) = (&self.queue, &self.job.id);
            queue.remove_unprocessed_children_by(self.writer(), id, Some(&within), &request)
        };
        let removed = self.lock().retried(remove).await;
        removed.map_err(|error| error_within(access, error))
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        let request = self.request();
        let (id, writer) = (&self.job.id, self.writer());
        self.written(|| self.queue.remove_child_dependency_by(writer, id, &request))
            .await
    }

    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        let queue = self.other(queue).await?;
        let jobs: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let options = options_of(job.options, job.parent);
                toril_queue::NewJob::new(&job.name, &job.data, options)
            })
            .collect::<Result<_, _>>()
            .map_err(job_error)?;
        let request = self.request();
        until_answered(|| queue.add_bulk_once(&jobs, &request)).await
    }

    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String> {
        let nodes = flows.into_iter().map(flow_node).collect::<Result<_, _>>()?;
        let plan = self.queue.flows().plan(nodes, &FlowOptions::default());
        let plan = plan.map_err(job_error)?;
        let request = self.request();
        self.stored().await;
        let trees = until_answered(|| plan.add_once(&request)).await?;
        to_json(&trees)
    }

    async fn get_flow(
        &mut self,
        job: &JobRef,
        query: FlowQuery,
        access: &QueueAccess,
        bytes_max: usize,
    ) -> CallResult<String> {
        let queue = self.other(&job.queue).await?;
        let query = toril_queue::FlowQuery {
            depth: query.depth,
            max_children: query.max_children,
        };
        let flows = queue.flows();
        let name = queue.keys().queue_name();
        let within = within(access);
        let tree =
            retried(|| flows.get_within(name, &job.id, query, Some(&within), bytes_max)).await;
        to_json(&tree.map_err(|error| error_within(access, error))?)
    }

    async fn state(&mut self, job: &JobRef) -> CallResult<String> {
        let queue = self.other(&job.queue).await?;
        let state = until_answered(|| queue.state(&job.id)).await?;
        Ok(state.to_string())
    }

    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> CallResult<()> {
        let (queue, request) = (self.other(&job.queue).await?, self.request());
        let within = within(access);
        retried(|| queue.remove_within(&job.id, with_children, Some(&within), &request))
            .await
            .map_err(|error| error_within(access, error))
    }
}

/// An access as the scripts read it.
fn within(access: &QueueAccess) -> toril_queue::QueueAccess {
    toril_queue::QueueAccess {
        own_job: access.own_job.to_string(),
        whole_prefix: access.whole_prefix.clone(),
        bases: access.queues.iter().map(QueueRef::to_string).collect(),
    }
}

/// BullMQ's options, `parent` in its place.
fn options_of(mut options: Map<String, Value>, parent: Option<JobRef>) -> Map<String, Value> {
    if let Some(JobRef { queue, id }) = parent {
        let parent = json!({ "id": id, "queue": queue.to_string() });
        options.insert("parent".into(), parent);
    }
    options
}

fn flow_node(node: FlowNode) -> CallResult<toril_queue::FlowNode> {
    let FlowNode {
        queue,
        job,
        children,
    } = node;
    let invalid = |error: serde_json::Error| JobError::Invalid(error.to_string());
    let children = children.into_iter().map(flow_node);
    Ok(toril_queue::FlowNode {
        name: job.name,
        queue_name: queue.name().to_owned(),
        data: Some(RawValue::from_string(job.data).map_err(invalid)?),
        prefix: Some(queue.prefix().to_owned()),
        opts: Some(options_of(job.options, job.parent)),
        children: Some(children.collect::<Result<_, _>>()?),
    })
}

fn to_json(value: &impl serde::Serialize) -> CallResult<String> {
    serde_json::to_string(value).map_err(|error| JobError::Unavailable(error.to_string()))
}
