//! `toril:processor/queues`: looking after jobs and queues, as far as they were granted.

use super::AttemptState;
use super::current_job::{Answer, check_bytes};
use crate::backend::{CallResult, CustomEvent, Finished};
use crate::bindings::toril::processor::queues::{Host, JobError};
use crate::names::QueueRef;
use crate::policy::check_event;

/// The size of an event, names and values together: listeners hold thousands of them.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// The fields of an event.
const EVENT_FIELDS_MAX: usize = 100;

impl AttemptState {
    /// A queue that the attempt may reach.
    pub(super) fn granted_queue(&self, name: &str) -> CallResult<QueueRef> {
        let queue = self.queue(name)?;
        self.queue_access()?.check_queue(&queue)?;
        Ok(queue)
    }

    async fn try_change_priority(
        &mut self,
        queue: &str,
        id: String,
        priority: u32,
        lifo: bool,
    ) -> CallResult<()> {
        let (job, _) = self.granted_job(queue, id)?;
        self.current
            .backend
            .change_priority(&job, priority, lifo)
            .await
    }

    async fn try_retry(&mut self, queue: &str, id: String, ended: Finished) -> CallResult<()> {
        let (job, access) = self.granted_job(queue, id)?;
        self.current.backend.retry(&job, ended, &access).await
    }

    async fn try_remove_deduplication_key(&mut self, queue: &str, id: &str) -> CallResult<bool> {
        let queue = self.granted_queue(queue)?;
        self.current
            .backend
            .remove_deduplication_key(&queue, id)
            .await
    }

    async fn try_rate_limit(&mut self, queue: &str, duration_ms: u64) -> CallResult<()> {
        let queue = self.granted_queue(queue)?;
        let max = self.policy.limits.rate_limit_ms_max;
        self.current
            .backend
            .rate_limit(&queue, duration_ms.min(max))
            .await
    }

    async fn try_publish_event(
        &mut self,
        queue: &str,
        name: String,
        fields: Vec<(String, String)>,
    ) -> CallResult<()> {
        let queue = self.granted_queue(queue)?;
        check_event(&name, fields.iter().map(|(name, _)| name.as_str()))?;
        if fields.len() > EVENT_FIELDS_MAX {
            return Err(JobError::Limit(format!(
                "event has {} fields, more than the limit of {EVENT_FIELDS_MAX}",
                fields.len()
            )));
        }
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len());
        check_bytes("event", name.len() + bytes.sum::<usize>(), EVENT_BYTES_MAX)?;
        let shown = |text: &str| self.policy.grants.secrets.redact(text).into_owned();
        let event = CustomEvent {
            name,
            fields: fields
                .iter()
                .map(|(name, value)| (shown(name), shown(value)))
                .collect(),
        };
        self.current.backend.publish_event(&queue, &event).await
    }
}

impl Host for AttemptState {
    async fn change_delay(&mut self, queue: String, id: String, delay_ms: u64) -> Answer<()> {
        Ok(match self.granted_job(&queue, id) {
            Ok((job, _)) => self.current.backend.change_delay(&job, delay_ms).await,
            Err(refused) => Err(refused),
        })
    }

    async fn change_priority(
        &mut self,
        queue: String,
        id: String,
        priority: u32,
        lifo: bool,
    ) -> Answer<()> {
        Ok(self.try_change_priority(&queue, id, priority, lifo).await)
    }

    async fn promote(&mut self, queue: String, id: String) -> Answer<()> {
        Ok(match self.granted_job(&queue, id) {
            Ok((job, _)) => self.current.backend.promote(&job).await,
            Err(refused) => Err(refused),
        })
    }

    async fn retry(&mut self, queue: String, id: String, ended: Finished) -> Answer<()> {
        Ok(self.try_retry(&queue, id, ended).await)
    }

    async fn counts(&mut self, queue: String) -> Answer<String> {
        Ok(match self.granted_queue(&queue) {
            Ok(queue) => self.current.backend.counts(&queue).await,
            Err(refused) => Err(refused),
        })
    }

    async fn remove_deduplication_key(&mut self, queue: String, id: String) -> Answer<bool> {
        Ok(self.try_remove_deduplication_key(&queue, &id).await)
    }

    async fn rate_limit(&mut self, queue: String, duration_ms: u64) -> Answer<()> {
        Ok(self.try_rate_limit(&queue, duration_ms).await)
    }

    async fn publish_event(
        &mut self,
        queue: String,
        name: String,
        fields: Vec<(String, String)>,
    ) -> Answer<()> {
        Ok(self.try_publish_event(&queue, name, fields).await)
    }
}
