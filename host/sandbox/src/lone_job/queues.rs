//! Queues of a job that is in no queue: each call is shown, and answered as by empty queues.

use async_trait::async_trait;

use super::LoneJob;
use crate::backend::{
    CallResult, CustomEvent, Finished, NewScheduler, QueueBackend, SchedulerBackend, SchedulerRange,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

#[async_trait]
impl QueueBackend for LoneJob {
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()> {
        (self.show)(format!("change-delay({job}, {delay_ms})"));
        Ok(())
    }

    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()> {
        (self.show)(format!("change-priority({job}, {priority}, {lifo})"));
        Ok(())
    }

    async fn promote(&mut self, job: &JobRef) -> CallResult<()> {
        (self.show)(format!("promote({job})"));
        Ok(())
    }

    async fn retry(&mut self, job: &JobRef, ended: Finished, _: &QueueAccess) -> CallResult<()> {
        (self.show)(format!("retry({job}, {ended:?})"));
        Ok(())
    }

    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String> {
        (self.show)(format!("counts({queue})"));
        Ok("{}".into())
    }

    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        (self.show)(format!("remove-deduplication-key({queue}, {id})"));
        Ok(false)
    }

    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()> {
        (self.show)(format!("rate-limit({queue}, {duration_ms})"));
        Ok(())
    }

    async fn publish_event(&mut self, queue: &QueueRef, event: &CustomEvent) -> CallResult<()> {
        let CustomEvent { name, fields } = event;
        (self.show)(format!("publish-event({queue}, {name}, {fields:?})"));
        Ok(())
    }
}

#[async_trait]
impl SchedulerBackend for LoneJob {
    async fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>> {
        let NewScheduler { id, schedule, .. } = scheduler;
        let schedule = serde_json::Value::Object(schedule);
        (self.show)(format!("upsert-scheduler({queue}, {id}, {schedule})"));
        Ok(None)
    }

    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        (self.show)(format!("remove-scheduler({queue}, {id})"));
        Ok(false)
    }

    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String> {
        (self.show)(format!("scheduler({queue}, {id})"));
        Ok("null".into())
    }

    async fn schedulers(&mut self, queue: &QueueRef, _: SchedulerRange) -> CallResult<String> {
        (self.show)(format!("schedulers({queue})"));
        Ok("[]".into())
    }
}
