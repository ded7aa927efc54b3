//! `toril:processor/schedulers`: job schedulers, in the queues that were granted.

use serde_json::{Map, Value};

use super::AttemptState;
use super::current_job::{Answer, check_bytes};
use crate::backend::{CallResult, NewScheduler, SchedulerRange};
use crate::bindings::toril::processor::producer::NewJob as GuestJob;
use crate::bindings::toril::processor::schedulers::{Host, JobError};
use crate::flow_json::options;
use crate::names::QueueRef;

impl AttemptState {
    /// The queue of a scheduler that the attempt may reach.
    fn granted_scheduler(&self, queue: &str, id: &str) -> CallResult<QueueRef> {
        let queue = self.queue(queue)?;
        self.queue_access()?.check_scheduler(&queue, id)?;
        Ok(queue)
    }

    async fn try_upsert(
        &mut self,
        queue: &str,
        id: String,
        schedule: &str,
        template: GuestJob,
    ) -> CallResult<Option<String>> {
        let queue = self.granted_scheduler(queue, &id)?;
        self.quota.room_for_jobs(1).map_err(JobError::Limit)?;
        let bytes = schedule.len() + template.options.len();
        check_bytes("options", bytes, self.policy.limits.value_bytes_max)?;
        let schedule: Map<String, Value> = options("schedule", schedule)?;
        let template = self.new_job(template)?;
        if template.options.contains_key("repeat") {
            return Err(JobError::Invalid(
                "a scheduler's template cannot have the option `repeat`".into(),
            ));
        }
        // Its jobs have no parent, but their options name it.
        if let Some(parent) = &template.parent {
            self.queue_access()?.check_parent(parent)?;
        }
        self.quota.add_jobs(1).map_err(JobError::Limit)?;
        let scheduler = NewScheduler {
            id,
            schedule,
            template,
        };
        self.current
            .backend
            .upsert_scheduler(&queue, scheduler)
            .await
    }

    async fn try_list(&mut self, queue: &str, query: &str) -> CallResult<String> {
        let queue = self.granted_queue(queue)?;
        let range: SchedulerRange = options("query", query)?;
        self.current.backend.schedulers(&queue, range).await
    }
}

impl Host for AttemptState {
    async fn upsert(
        &mut self,
        queue: String,
        id: String,
        schedule: String,
        template: GuestJob,
    ) -> Answer<Option<String>> {
        Ok(self.try_upsert(&queue, id, &schedule, template).await)
    }

    async fn remove(&mut self, queue: String, id: String) -> Answer<bool> {
        Ok(match self.granted_scheduler(&queue, &id) {
            Ok(queue) => self.current.backend.remove_scheduler(&queue, &id).await,
            Err(refused) => Err(refused),
        })
    }

    async fn get(&mut self, queue: String, id: String) -> Answer<String> {
        Ok(match self.granted_scheduler(&queue, &id) {
            Ok(queue) => self.current.backend.scheduler(&queue, &id).await,
            Err(refused) => Err(refused),
        })
    }

    async fn list(&mut self, queue: String, query: String) -> Answer<String> {
        Ok(self.try_list(&queue, &query).await)
    }
}
