//! The backend of an attempt that runs again: each call is answered as it was recorded, and nothing is changed anywhere.

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
pub(crate) struct Replayed(pub(crate) Arc<Replay>);

#[async_trait]
impl JobBackend for Replayed {
    fn job(&self) -> JobView<'_> {
        self.0.recording().job.view()
    }

    fn http_answers(&self) -> Option<Arc<dyn HttpAnswers>> {
        Some(Arc::clone(&self.0) as _)
    }

    async fn update_data(&mut self, _: &str) -> CallResult<()> {
        self.0.next().await
    }

    async fn update_progress(&mut self, _: &str) -> CallResult<()> {
        self.0.next().await
    }

    async fn log(&mut self, _: &str) -> CallResult<u64> {
        self.0.next().await
    }

    async fn move_to_delayed(&mut self, _: u64) -> CallResult<()> {
        self.0.next().await
    }

    async fn move_to_waiting_children(&mut self, _: Option<&str>) -> CallResult<bool> {
        self.0.next().await
    }

    async fn move_to_wait(&mut self) -> CallResult<()> {
        self.0.next().await
    }

    async fn children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        self.0.next().await
    }

    async fn failed_children_values(&mut self, _: usize) -> CallResult<Vec<(String, String)>> {
        self.0.next().await
    }

    async fn dependencies(&mut self, _: &DependenciesQuery, _: usize) -> CallResult<String> {
        self.0.next().await
    }

    async fn dependencies_count(&mut self, _: DependencyKinds) -> CallResult<String> {
        self.0.next().await
    }

    async fn remove_unprocessed_children(&mut self, _: &QueueAccess) -> CallResult<u64> {
        self.0.next().await
    }

    async fn remove_child_dependency(&mut self) -> CallResult<bool> {
        self.0.next().await
    }

    async fn add(&mut self, _: &QueueRef, _: Vec<NewJob>) -> CallResult<Vec<String>> {
        self.0.next().await
    }

    async fn add_flows(&mut self, _: Vec<FlowNode>) -> CallResult<String> {
        self.0.next().await
    }

    async fn get_flow(
        &mut self,
        _: &JobRef,
        _: FlowQuery,
        _: &QueueAccess,
        _: usize,
    ) -> CallResult<String> {
        self.0.next().await
    }

    async fn state(&mut self, _: &JobRef) -> CallResult<String> {
        self.0.next().await
    }

    async fn remove(&mut self, _: &JobRef, _: bool, _: &QueueAccess) -> CallResult<()> {
        self.0.next().await
    }
}

#[async_trait]
impl QueueBackend for Replayed {
    async fn change_delay(&mut self, _: &JobRef, _: u64) -> CallResult<()> {
        self.0.next().await
    }

    async fn change_priority(&mut self, _: &JobRef, _: u32, _: bool) -> CallResult<()> {
        self.0.next().await
    }

    async fn promote(&mut self, _: &JobRef) -> CallResult<()> {
        self.0.next().await
    }

    async fn retry(&mut self, _: &JobRef, _: Finished, _: &QueueAccess) -> CallResult<()> {
        self.0.next().await
    }

    async fn counts(&mut self, _: &QueueRef) -> CallResult<String> {
        self.0.next().await
    }

    async fn remove_deduplication_key(&mut self, _: &QueueRef, _: &str) -> CallResult<bool> {
        self.0.next().await
    }

    async fn rate_limit(&mut self, _: &QueueRef, _: u64) -> CallResult<()> {
        self.0.next().await
    }

    async fn publish_event(&mut self, _: &QueueRef, _: &CustomEvent) -> CallResult<()> {
        self.0.next().await
    }
}

#[async_trait]
impl SchedulerBackend for Replayed {
    async fn upsert_scheduler(
        &mut self,
        _: &QueueRef,
        _: NewScheduler,
    ) -> CallResult<Option<String>> {
        self.0.next().await
    }

    async fn remove_scheduler(&mut self, _: &QueueRef, _: &str) -> CallResult<bool> {
        self.0.next().await
    }

    async fn scheduler(&mut self, _: &QueueRef, _: &str) -> CallResult<String> {
        self.0.next().await
    }

    async fn schedulers(&mut self, _: &QueueRef, _: SchedulerRange) -> CallResult<String> {
        self.0.next().await
    }
}

#[async_trait]
impl KvBackend for Replayed {
    async fn kv_get_many(
        &mut self,
        _: &KvStore,
        _: &[String],
        _: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        let values: KvResult<Vec<Option<Bytes>>> = self.0.next().await;
        let bytes = |Bytes(bytes)| bytes;
        Ok(values?.into_iter().map(|value| value.map(bytes)).collect())
    }

    async fn kv_exists(&mut self, _: &KvStore, _: &str) -> KvResult<bool> {
        self.0.next().await
    }

    async fn kv_set_many(
        &mut self,
        _: &KvStore,
        _: Vec<(String, Vec<u8>)>,
        _: &KvRoom,
    ) -> KvResult<()> {
        self.0.next().await
    }

    async fn kv_delete_many(&mut self, _: &KvStore, _: &[String]) -> KvResult<()> {
        self.0.next().await
    }

    async fn kv_keys(&mut self, _: &KvStore, _: Option<&str>) -> KvResult<KvPage> {
        self.0.next().await
    }

    async fn kv_increment(&mut self, _: &KvStore, _: &str, _: i64, _: &KvRoom) -> KvResult<i64> {
        self.0.next().await
    }

    async fn kv_read(&mut self, _: &KvStore, _: &str, _: usize) -> KvResult<KvVersioned> {
        self.0.next().await
    }

    async fn kv_swap(
        &mut self,
        _: &KvStore,
        _: &str,
        _: u64,
        _: Vec<u8>,
        _: &KvRoom,
    ) -> KvResult<bool> {
        self.0.next().await
    }
}

#[async_trait]
impl StepBackend for Replayed {
    fn now_ms(&self) -> u64 {
        0
    }

    fn steps(&self) -> &[(String, String)] {
        &self.0.recording().job.steps
    }

    fn steps_dropped(&self) -> u64 {
        self.0.recording().job.steps_dropped
    }

    async fn keep_step(&mut self, _: &str, _: &str) -> CallResult<()> {
        self.0.next().await
    }

    async fn child_outcome(&mut self, _: &JobRef, _: usize) -> CallResult<ChildOutcome> {
        self.0.next().await
    }
}
