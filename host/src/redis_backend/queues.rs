//! Other jobs, queues and schedulers in Redis, as far as they were granted.

use async_trait::async_trait;

use super::calls::{error_within, job_error, retried, until_answered};
use super::{RedisBackend, options_of, to_json, within};
use toril_queue::NewJob;
use toril_sandbox::backend::{
    CallResult, CustomEvent, Finished, NewScheduler, QueueBackend, SchedulerBackend, SchedulerRange,
};
use toril_sandbox::names::{JobRef, QueueRef};
use toril_sandbox::policy::QueueAccess;

#[async_trait]
impl QueueBackend for RedisBackend {
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()> {
        let (queue, request) = (self.other(&job.queue).await?, self.request());
        until_answered(|| queue.change_delay_once(&job.id, delay_ms, &request)).await
    }

    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()> {
        let queue = self.other(&job.queue).await?;
        until_answered(|| queue.change_priority(&job.id, priority, lifo)).await
    }

    async fn promote(&mut self, job: &JobRef) -> CallResult<()> {
        let (queue, request) = (self.other(&job.queue).await?, self.request());
        until_answered(|| queue.promote_once(&job.id, &request)).await
    }

    async fn retry(
        &mut self,
        job: &JobRef,
        ended: Finished,
        access: &QueueAccess,
    ) -> CallResult<()> {
        let (queue, request) = (self.other(&job.queue).await?, self.request());
        let (completed, within) = (ended == Finished::Completed, within(access));
        retried(|| queue.retry_within(&job.id, completed, Some(&within), &request))
            .await
            .map_err(|error| error_within(access, error))
    }

    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String> {
        let queue = self.other(queue).await?;
        to_json(&until_answered(|| queue.counts()).await?)
    }

    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        let (queue, request) = (self.other(queue).await?, self.request());
        until_answered(|| queue.remove_deduplication_key(id, &request)).await
    }

    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()> {
        let queue = self.other(queue).await?;
        until_answered(|| queue.rate_limit(duration_ms)).await
    }

    async fn publish_event(&mut self, queue: &QueueRef, event: &CustomEvent) -> CallResult<()> {
        let (queue, request) = (self.other(queue).await?, self.request());
        until_answered(|| queue.publish_event(&event.name, &event.fields, &request)).await
    }
}

#[async_trait]
impl SchedulerBackend for RedisBackend {
    async fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>> {
        let queue = self.other(queue).await?;
        let NewScheduler {
            id,
            schedule,
            template,
        } = scheduler;
        let options = options_of(template.options, template.parent);
        let template = NewJob::of_template(&template.name, &template.data, &options);
        let template = template.map_err(job_error)?;
        until_answered(|| queue.upsert_scheduler(&id, schedule.clone(), &template)).await
    }

    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        let (queue, request) = (self.other(queue).await?, self.request());
        until_answered(|| queue.remove_scheduler_once(id, &request)).await
    }

    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String> {
        let queue = self.other(queue).await?;
        to_json(&until_answered(|| queue.scheduler(id)).await?)
    }

    async fn schedulers(&mut self, queue: &QueueRef, range: SchedulerRange) -> CallResult<String> {
        let queue = self.other(queue).await?;
        let SchedulerRange { start, end, asc } = range;
        to_json(&until_answered(|| queue.schedulers(start, end, asc)).await?)
    }
}
