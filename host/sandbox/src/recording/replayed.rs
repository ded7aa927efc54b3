//! The backend of an attempt that runs again: each call is answered as it was recorded, and nothing is changed anywhere. What
//! goes on after it departed goes on in a dry run.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Bytes, Replay};
use crate::backend::{
    CallResult, ChildOutcome, CustomEvent, DependenciesQuery, DependencyKinds, Finished, FlowNode,
    FlowQuery, HttpAnswers, JobBackend, JobView, KvBackend, KvPage, KvResult, KvRoom, KvStore,
    KvVersioned, NewJob, NewScheduler, QueueBackend, SchedulerBackend, SchedulerRange, StepBackend,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

/// An attempt that runs again.
pub(crate) struct Replayed {
    pub(crate) replay: Arc<Replay>,
    /// Where it goes on once it has departed.
    pub(crate) dry: Box<dyn JobBackend>,
}

/// The recorded answer, or that of the dry run.
macro_rules! again {
    ($this:ident, $method:ident($($argument:expr),*)) => {
        match $this.replay.next().await {
            Some(answer) => answer,
            None => $this.dry.$method($($argument),*).await,
        }
    };
}

#[async_trait]
impl JobBackend for Replayed {
    fn job(&self) -> JobView<'_> {
        self.replay.recording().job.view()
    }

    fn http_answers(&self) -> Option<Arc<dyn HttpAnswers>> {
        Some(Arc::clone(&self.replay) as _)
    }

    async fn update_data(&mut self, data: &str) -> CallResult<()> {
        again!(self, update_data(data))
    }

    async fn update_progress(&mut self, progress: &str) -> CallResult<()> {
        again!(self, update_progress(progress))
    }

    async fn log(&mut self, line: &str) -> CallResult<u64> {
        again!(self, log(line))
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        again!(self, move_to_delayed(timestamp_ms))
    }

    async fn move_to_waiting_children(&mut self, child: Option<&str>) -> CallResult<bool> {
        again!(self, move_to_waiting_children(child))
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        again!(self, move_to_wait())
    }

    async fn children_values(&mut self, bytes_max: usize) -> CallResult<Vec<(String, String)>> {
        again!(self, children_values(bytes_max))
    }

    async fn failed_children_values(
        &mut self,
        bytes_max: usize,
    ) -> CallResult<Vec<(String, String)>> {
        again!(self, failed_children_values(bytes_max))
    }

    async fn dependencies(
        &mut self,
        query: &DependenciesQuery,
        bytes_max: usize,
    ) -> CallResult<String> {
        again!(self, dependencies(query, bytes_max))
    }

    async fn dependencies_count(&mut self, kinds: DependencyKinds) -> CallResult<String> {
        again!(self, dependencies_count(kinds))
    }

    async fn remove_unprocessed_children(&mut self, access: &QueueAccess) -> CallResult<u64> {
        again!(self, remove_unprocessed_children(access))
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        again!(self, remove_child_dependency())
    }

    async fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        again!(self, add(queue, jobs))
    }

    async fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<String> {
        again!(self, add_flows(flows))
    }

    async fn get_flow(
        &mut self,
        job: &JobRef,
        query: FlowQuery,
        access: &QueueAccess,
        bytes_max: usize,
    ) -> CallResult<String> {
        again!(self, get_flow(job, query, access, bytes_max))
    }

    async fn state(&mut self, job: &JobRef) -> CallResult<String> {
        again!(self, state(job))
    }

    async fn remove(
        &mut self,
        job: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> CallResult<()> {
        again!(self, remove(job, with_children, access))
    }
}

#[async_trait]
impl QueueBackend for Replayed {
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()> {
        again!(self, change_delay(job, delay_ms))
    }

    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()> {
        again!(self, change_priority(job, priority, lifo))
    }

    async fn promote(&mut self, job: &JobRef) -> CallResult<()> {
        again!(self, promote(job))
    }

    async fn retry(
        &mut self,
        job: &JobRef,
        ended: Finished,
        access: &QueueAccess,
    ) -> CallResult<()> {
        again!(self, retry(job, ended, access))
    }

    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String> {
        again!(self, counts(queue))
    }

    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        again!(self, remove_deduplication_key(queue, id))
    }

    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()> {
        again!(self, rate_limit(queue, duration_ms))
    }

    async fn publish_event(&mut self, queue: &QueueRef, event: &CustomEvent) -> CallResult<()> {
        again!(self, publish_event(queue, event))
    }
}

#[async_trait]
impl SchedulerBackend for Replayed {
    async fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>> {
        again!(self, upsert_scheduler(queue, scheduler))
    }

    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        again!(self, remove_scheduler(queue, id))
    }

    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String> {
        again!(self, scheduler(queue, id))
    }

    async fn schedulers(&mut self, queue: &QueueRef, range: SchedulerRange) -> CallResult<String> {
        again!(self, schedulers(queue, range))
    }
}

#[async_trait]
impl KvBackend for Replayed {
    async fn kv_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
        bytes_max: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        let values: Option<KvResult<Vec<Option<Bytes>>>> = self.replay.next().await;
        let Some(values) = values else {
            return self.dry.kv_get_many(store, keys, bytes_max).await;
        };
        let bytes = |Bytes(bytes)| bytes;
        Ok(values?.into_iter().map(|value| value.map(bytes)).collect())
    }

    async fn kv_exists(&mut self, store: &KvStore, key: &str) -> KvResult<bool> {
        again!(self, kv_exists(store, key))
    }

    async fn kv_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
        room: &KvRoom,
    ) -> KvResult<()> {
        again!(self, kv_set_many(store, entries, room))
    }

    async fn kv_delete_many(&mut self, store: &KvStore, keys: &[String]) -> KvResult<()> {
        again!(self, kv_delete_many(store, keys))
    }

    async fn kv_keys(&mut self, store: &KvStore, after: Option<&str>) -> KvResult<KvPage> {
        again!(self, kv_keys(store, after))
    }

    async fn kv_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
        room: &KvRoom,
    ) -> KvResult<i64> {
        again!(self, kv_increment(store, key, delta, room))
    }

    async fn kv_read(
        &mut self,
        store: &KvStore,
        key: &str,
        bytes_max: usize,
    ) -> KvResult<KvVersioned> {
        again!(self, kv_read(store, key, bytes_max))
    }

    async fn kv_swap(
        &mut self,
        store: &KvStore,
        key: &str,
        version: u64,
        value: Vec<u8>,
        room: &KvRoom,
    ) -> KvResult<bool> {
        again!(self, kv_swap(store, key, version, value, room))
    }
}

#[async_trait]
impl StepBackend for Replayed {
    fn now_ms(&self) -> u64 {
        self.dry.now_ms()
    }

    fn steps(&self) -> &[(String, String)] {
        &self.replay.recording().job.steps
    }

    fn steps_dropped(&self) -> u64 {
        self.replay.recording().job.steps_dropped
    }

    async fn keep_step(&mut self, name: &str, record: &str) -> CallResult<()> {
        again!(self, keep_step(name, record))
    }

    async fn child_outcome(
        &mut self,
        child: &JobRef,
        bytes_max: usize,
    ) -> CallResult<ChildOutcome> {
        again!(self, child_outcome(child, bytes_max))
    }
}
