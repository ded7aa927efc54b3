//! A running job of a dry run: each call is carried out in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value, json};
use toril_options::json::{Fields, raw, raw_or_text};

use super::store::{State, Store, StoredJob};
use crate::backend::{
    CallResult, DependenciesQuery, DependencyKinds, FlowNode, FlowQuery, HttpAnswers, JobBackend,
    JobError, JobView, NewJob, Page, WallClock,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

/// One attempt of a job of a dry run.
pub(super) struct DryBackend {
    store: Arc<Mutex<Store>>,
    pub(super) job: JobRef,
    id: Arc<str>,
    queue: Arc<str>,
    /// As it was when the attempt began.
    taken: StoredJob,
    /// The stacks of its attempts, JSON.
    stacktrace: String,
    parent_key: Option<String>,
    pub(super) steps: Vec<(String, String)>,
}

impl DryBackend {
    pub(super) fn new(store: Arc<Mutex<Store>>, job: JobRef, taken: StoredJob) -> Self {
        let parent_key = taken.parent.as_ref().map(JobRef::to_string);
        DryBackend {
            store,
            id: job.id.as_str().into(),
            queue: job.queue.name().into(),
            parent_key,
            steps: taken.steps.clone().into_iter().collect(),
            stacktrace: json!(taken.stacktrace).to_string(),
            job,
            taken,
        }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock()
    }

    pub(super) fn with_own<T>(&self, change: impl FnOnce(&mut StoredJob) -> T) -> CallResult<T> {
        let mut store = self.store();
        let missing = || JobError::NotFound(format!("Missing key for job {}", self.id));
        store
            .jobs
            .get_mut(&self.job)
            .map(change)
            .ok_or_else(missing)
    }
}

#[async_trait]
impl JobBackend for DryBackend {
    fn job(&self) -> JobView<'_> {
        let job = &self.taken;
        JobView {
            id: &self.id,
            name: &job.name,
            queue: &self.queue,
            prefix: self.job.queue.prefix(),
            data: &job.data,
            opts: &job.stored_options,
            progress: &job.progress,
            attempts_made: job.attempts_made,
            attempts_started: job.attempts_started,
            stalled_counter: 0,
            timestamp: job.timestamp,
            delay_ms: job.delay_ms,
            priority: job.priority.max(0) as u32,
            timeout_ms: job.read_options.timeout_ms,
            parent_key: self.parent_key.as_deref(),
            parent: job.parent_record.as_deref(),
            scheduler: None,
            deduplication_id: job.deduplication_id.as_deref(),
            failed_reason: job.failed_reason.as_deref(),
            stacktrace: &self.stacktrace,
            processed_on: job.processed_on,
        }
    }

    fn wall_clock(&self) -> Option<WallClock> {
        if !self.store().shows_clock {
            return None;
        }
        let store = Arc::clone(&self.store);
        Some(Arc::new(move || Duration::from_millis(store.lock().now_ms)))
    }

    fn http_answers(&self) -> Option<Arc<dyn HttpAnswers>> {
        self.store().answers.clone()
    }

    async fn update_data(&mut self, data: &str) -> CallResult<()> {
        self.with_own(|job| data.clone_into(&mut job.data))
    }

    async fn update_progress(&mut self, progress: &str) -> CallResult<()> {
        self.with_own(|job| progress.clone_into(&mut job.progress))
    }

    async fn log(&mut self, line: &str) -> CallResult<u64> {
        let add = |job: &mut StoredJob| {
            job.logs.push(line.to_owned());
            let keep = job.read_options.keep_logs.unwrap_or(u64::MAX);
            let extra = (job.logs.len() as u64).saturating_sub(keep);
            job.logs.drain(..extra as usize);
            job.logs.len() as u64
        };
        self.with_own(add)
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        let mut store = self.store();
        let delay_ms = timestamp_ms.saturating_sub(store.now_ms);
        store.delay(&self.job, delay_ms);
        Ok(())
    }

    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool> {
        let id = &self.id;
        let wait = |job: &mut StoredJob| {
            if !job.children.failed.is_empty() {
                return Err(JobError::ChildFailed(format!(
                    "Cannot complete job {id} because it has at least one failed child. moveToWaitingChildren"
                )));
            }
            let pending = &job.children.pending;
            let waits = match child {
                Some(child) => pending.iter().any(|job| job.to_string() == child),
                None => !pending.is_empty(),
            };
            if waits {
                job.state = State::WaitingChildren;
            }
            Ok(waits)
        };
        self.with_own(wait)?
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        self.store().make_ready(&self.job, true);
        Ok(())
    }

    async fn children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        self.with_own(|job| pairs(&job.children.processed))
    }

    async fn failed_children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        self.with_own(|job| pairs(&job.children.ignored))
    }

    async fn dependencies(&mut self, query: &DependenciesQuery, _: usize) -> CallResult<String> {
        let read = |job: &mut StoredJob| raw(&dependencies(job, query)).get().to_owned();
        self.with_own(read)
    }

    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String> {
        let all = !(kinds.processed || kinds.unprocessed || kinds.ignored || kinds.failed);
        let count = |job: &mut StoredJob| {
            let children = &job.children;
            let counts = [
                (kinds.processed, "processed", children.processed.len()),
                (kinds.unprocessed, "unprocessed", children.pending.len()),
                (kinds.ignored, "ignored", children.ignored.len()),
                (kinds.failed, "failed", children.failed.len()),
            ];
            let counted = counts.into_iter().filter(|(asked, ..)| all || *asked);
            let counted: Map<String, Value> = counted
                .map(|(_, kind, count)| (kind.to_owned(), json!(count)))
                .collect();
            Value::Object(counted).to_string()
        };
        self.with_own(count)
    }

    async fn remove_unprocessed_children(&mut self, access: &QueueAccess) -> CallResult<u64> {
        self.store().remove_unprocessed_children(&self.job, access)
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        self.store().leave_parent(&self.job)
    }

    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        self.store().add(queue, jobs)
    }

    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String> {
        let trees = self.store().add_flows(flows)?;
        Ok(Value::Array(trees).to_string())
    }

    async fn get_flow(
        &mut self,
        job: &JobRef,
        query: FlowQuery,
        access: &QueueAccess,
        _: usize,
    ) -> CallResult<String> {
        let store = self.store();
        let tree = store.tree(
            job,
            query.depth.min(toril_options::json::FLOW_LEVELS_MAX),
            query.max_children,
            access,
        )?;
        Ok(tree.unwrap_or(Value::Null).to_string())
    }

    async fn state(&mut self, job: &JobRef) -> CallResult<String> {
        let store = self.store();
        let state = store.jobs.get(job).map(|job| job.state.name());
        Ok(state.unwrap_or("unknown").to_owned())
    }

    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> CallResult<()> {
        self.store().remove(job, with_children, access)
    }
}

impl Store {
    fn tree(
        &self,
        id: &JobRef,
        depth: usize,
        max_children: u64,
        access: &QueueAccess,
    ) -> CallResult<Option<Value>> {
        let Some(job) = self.jobs.get(id) else {
            return Ok(None);
        };
        access.check_queue(&id.queue)?;
        let mut tree = json!({
            "id": id.id, "key": id.to_string(), "name": job.name, "queueName": id.queue.name(),
            "state": job.state.name(),
        });
        if let Some(value) = &job.returnvalue {
            tree["returnvalue"] = parsed(value);
        }
        if let Some(reason) = &job.failed_reason {
            tree["failedReason"] = json!(reason);
        }
        if depth < 2 {
            return Ok(Some(tree));
        }
        let count = usize::try_from(max_children).unwrap_or(usize::MAX);
        let children = &job.children;
        let ids = children.processed.keys().take(count);
        let ids = ids.chain(children.pending.iter().take(count));
        let ids = ids.chain(children.failed.iter().take(count));
        let ids = ids.chain(children.ignored.keys().take(count));
        let mut shown = Vec::new();
        for child in ids {
            shown.extend(self.tree(child, depth - 1, max_children, access)?);
        }
        if !shown.is_empty() {
            tree["children"] = Value::Array(shown);
        }
        Ok(Some(tree))
    }
}

fn pairs(children: &std::collections::BTreeMap<JobRef, String>) -> Vec<(String, String)> {
    let pair = |(id, value): (&JobRef, &String)| (id.to_string(), value.clone());
    children.iter().map(pair).collect()
}

pub(super) fn parsed(text: &str) -> Value {
    toril_options::json::read(text).unwrap_or_else(|_| json!(text))
}

/// BullMQ's `getDependencies`.
fn dependencies(job: &StoredJob, query: &DependenciesQuery) -> Fields {
    let children = &job.children;
    let values = |page: Option<Page>| -> Fields {
        let values = children.processed.iter();
        page_of(values, page)
            .map(|(id, value)| (id.to_string(), raw_or_text(value)))
            .collect()
    };
    let errors = |page: Option<Page>| -> Map<String, Value> {
        page_of(children.ignored.iter(), page)
            .map(|(id, error)| (id.to_string(), json!(error)))
            .collect()
    };
    let pending = |page: Option<Page>| -> Vec<String> {
        page_of(children.pending.iter(), page)
            .map(JobRef::to_string)
            .collect()
    };
    let failed = |page: Option<Page>| -> Vec<String> {
        page_of(children.failed.iter(), page)
            .map(JobRef::to_string)
            .collect()
    };
    let mut found = Fields::new();
    let DependenciesQuery {
        processed: of_processed,
        unprocessed: of_pending,
        ignored: of_ignored,
        failed: of_failed,
    } = *query;
    let pages = [of_processed, of_pending, of_ignored, of_failed];
    let all = pages.iter().all(Option::is_none);
    let sizes = [
        children.processed.len(),
        children.pending.len(),
        children.ignored.len(),
        children.failed.len(),
    ];
    for (at, name) in ["processed", "unprocessed", "ignored", "failed"]
        .into_iter()
        .enumerate()
    {
        let page = pages[at];
        if page.is_none() && !all {
            continue;
        }
        let value = match at {
            0 => raw(&values(page)),
            1 => raw(&pending(page)),
            2 => raw(&errors(page)),
            _ => raw(&failed(page)),
        };
        found.insert(name.to_owned(), value);
        if let Some(Page { cursor, count }) = page {
            let mut next = cursor.saturating_add(count);
            // The cursor of `failed` counts on, as in BullMQ.
            if name != "failed" && next >= sizes[at] as u64 {
                next = 0;
            }
            let first = name[..1].to_uppercase();
            found.insert(format!("next{first}{}Cursor", &name[1..]), raw(&next));
        }
    }
    found
}

fn page_of<T>(items: impl Iterator<Item = T>, page: Option<Page>) -> impl Iterator<Item = T> {
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (skip, take) = page.map_or((0, usize::MAX), |page| {
        (to_usize(page.cursor), to_usize(page.count))
    });
    items.skip(skip).take(take)
}
