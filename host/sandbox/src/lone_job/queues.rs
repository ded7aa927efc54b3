//! Queues of a job that is in no _: each call is answered as by empty queues.

use async_trait::async_trait;

use super::LoneJob;
use crate::backend::{
    CallResult, CustomEvent, Finished, NewScheduler, QueueBackend, SchedulerBackend, SchedulerRange,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

#[async_trait]
impl QueueBackend for LoneJob {
    async fn change_delay(&mut self, _: &JobRef, _: u64) -> CallResult<()> {
        Ok(())
    }

    async fn change_priority(&mut self, _: &JobRef, _: u32, _: bool) -> CallResult<()> {
        Ok(())
    }

    async fn promote(&mut self, _: &JobRef) -> CallResult<()> {
        Ok(())
    }

    async fn retry(&mut self, _: &JobRef, _: Finished, _: &QueueAccess) -> CallResult<()> {
        Ok(())
    }

    async fn counts(&mut self, _: &QueueRef) -> CallResult<String> {
        Ok("{}".into())
    }

    async fn remove_deduplication_key(&mut self, _: &QueueRef, _: &str) -> CallResult<bool> {
        Ok(false)
    }

    async fn rate_limit(&mut self, _: &QueueRef, _: u64) -> CallResult<()> {
        Ok(())
    }

    async fn publish_event(&mut self, _: &QueueRef, _: &CustomEvent) -> CallResult<()> {
        Ok(())
    }
}

#[async_trait]
impl SchedulerBackend for LoneJob {
    async fn upsert_scheduler(
        &mut self,
        _: &QueueRef,
        _: NewScheduler,
    ) -> CallResult<Option<String>> {
        Ok(None)
    }

    async fn remove_scheduler(&mut self, _: &QueueRef, _: &str) -> CallResult<bool> {
        Ok(false)
    }

    async fn scheduler(&mut self, _: &QueueRef, _: &str) -> CallResult<String> {
        Ok("null".into())
    }

    async fn schedulers(&mut self, _: &QueueRef, _: SchedulerRange) -> CallResult<String> {
        Ok("[]".into())
    }
}
