//! `toril:processor/current-job`: the job of the attempt. `jobs.job` has the same calls with a handle.

use toril_options::json;

use super::AttemptState;
use crate::backend::{CallResult, JobError};
use crate::bindings::plain::toril::processor::current_job::Host;
use crate::flow_json::options;
use crate::outcome::MovedTo;

/// Why a guest was ended by what it asked for.
#[derive(Debug, thiserror::Error)]
#[error("job data is not valid JSON: {0}")]
pub(crate) struct InvalidData(String);

/// What a host function returns: the outer error ends the guest.
pub(super) type Answer<T> = wasmtime::Result<CallResult<T>>;

impl AttemptState {
    pub(super) fn check_size(&self, what: &str, value: &str) -> CallResult<()> {
        check_bytes(what, value.len(), self.policy.limits.value_bytes_max)
    }

    /// How much may be read at once: what is larger does not fit into the guest.
    pub(super) fn read_bytes_max(&self) -> usize {
        self.policy.limits.memory_bytes_max
    }

    fn check_json(&self, what: &str, value: &str) -> CallResult<()> {
        self.check_size(what, value)?;
        match serde_json::from_str::<serde::de::IgnoredAny>(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(JobError::Invalid(format!("{what} is not JSON: {error}"))),
        }
    }

    /// A job is moved once: that ends this worker's hold on it.
    pub(super) fn check_unmoved(&self) -> CallResult<()> {
        match self.current.moved {
            Some(before) => Err(JobError::NotInState(format!(
                "job was already moved to {before:?}"
            ))),
            None => Ok(()),
        }
    }

    async fn try_update_data(&mut self, data: String) -> CallResult<()> {
        self.check_json("job data", &data)?;
        self.current.backend.update_data(&data).await?;
        self.current.data = Some(data);
        Ok(())
    }

    async fn try_update_progress(&mut self, progress: String) -> CallResult<()> {
        self.check_json("job progress", &progress)?;
        self.quota.progress_update().map_err(JobError::Limit)?;
        let shown = self.policy.grants.secrets.redact_json(&progress);
        self.current.backend.update_progress(&shown).await?;
        self.current.progress = Some(progress);
        Ok(())
    }

    async fn try_log(&mut self, line: String) -> CallResult<u64> {
        self.check_size("log line", &line)?;
        let line = self.policy.grants.secrets.redact(&line).into_owned();
        // An empty line takes room, too.
        if !self.log_budget.take_bytes(line.len().max(1)) {
            let max = self.policy.limits.log_bytes_max;
            return Err(JobError::Limit(format!(
                "processor exceeded its limit of {max} bytes of log"
            )));
        }
        self.current.backend.log(&line).await
    }

    pub(super) async fn try_move_to_delayed(&mut self, timestamp_ms: u64) -> CallResult<()> {
        self.check_unmoved()?;
        self.current.backend.move_to_delayed(timestamp_ms).await?;
        self.current.moved = Some(MovedTo::Delayed);
        Ok(())
    }

    pub(super) async fn try_move_to_waiting_children(
        &mut self,
        child: Option<&str>,
    ) -> CallResult<bool> {
        self.check_unmoved()?;
        let waits = self.current.backend.move_to_waiting_children(child).await?;
        if waits {
            self.current.moved = Some(MovedTo::WaitingChildren);
        }
        Ok(waits)
    }

    async fn try_move_to_wait(&mut self) -> CallResult<()> {
        self.check_unmoved()?;
        self.current.backend.move_to_wait().await?;
        self.current.moved = Some(MovedTo::Wait);
        Ok(())
    }

    async fn try_dependencies(&mut self, query: &str) -> CallResult<String> {
        let query = options("query", query)?;
        let max = self.read_bytes_max();
        self.current.backend.dependencies(&query, max).await
    }

    async fn try_remove_unprocessed_children(&mut self) -> CallResult<u64> {
        let access = self.queue_access()?;
        self.current
            .backend
            .remove_unprocessed_children(&access)
            .await
    }

    async fn try_dependencies_count(&mut self, kinds: &str) -> CallResult<String> {
        let kinds = options("kinds", kinds)?;
        self.current.backend.dependencies_count(kinds).await
    }
}

/// Refuses what is larger than the limit.
pub(super) fn check_bytes(what: &str, bytes: usize, max: usize) -> CallResult<()> {
    if bytes > max {
        return Err(JobError::Limit(format!(
            "{what} has {bytes} bytes, more than the limit of {max}"
        )));
    }
    Ok(())
}

impl Host for AttemptState {
    fn id(&mut self) -> wasmtime::Result<String> {
        Ok(self.current.backend.job().id.to_string())
    }

    fn name(&mut self) -> wasmtime::Result<String> {
        Ok(self.current.backend.job().name.to_owned())
    }

    fn queue_name(&mut self) -> wasmtime::Result<String> {
        Ok(self.current.backend.job().queue.to_string())
    }

    fn queue_qualified_name(&mut self) -> wasmtime::Result<String> {
        let job = self.current.backend.job();
        Ok(format!("{}:{}", job.prefix, job.queue))
    }

    fn data(&mut self) -> wasmtime::Result<String> {
        if let Some(data) = &self.current.data {
            return Ok(data.clone());
        }
        let text = self.current.backend.job().data;
        // BullMQ stores `undefined` so, and reads it as an object.
        if text.is_empty() {
            return Ok("{}".into());
        }
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| wasmtime::Error::new(InvalidData(error.to_string())))?;
        Ok(text.to_owned())
    }

    fn opts(&mut self) -> wasmtime::Result<String> {
        Ok(self.current.backend.job().opts.to_owned())
    }

    fn attempts_made(&mut self) -> wasmtime::Result<u32> {
        Ok(self.current.backend.job().attempts_made)
    }

    fn attempts_started(&mut self) -> wasmtime::Result<u32> {
        Ok(self.current.backend.job().attempts_started)
    }

    fn timestamp(&mut self) -> wasmtime::Result<u64> {
        Ok(self.current.backend.job().timestamp)
    }

    fn delay(&mut self) -> wasmtime::Result<u64> {
        Ok(self.current.backend.job().delay_ms)
    }

    fn priority(&mut self) -> wasmtime::Result<u32> {
        Ok(self.current.backend.job().priority)
    }

    fn progress(&mut self) -> wasmtime::Result<String> {
        let stored = || self.current.backend.job().progress.to_owned();
        Ok(self.current.progress.clone().unwrap_or_else(stored))
    }

    fn parent_key(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.current.backend.job().parent_key.map(str::to_owned))
    }

    fn parent(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.current.backend.job().parent.map(str::to_owned))
    }

    fn repeat_job_key(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.current.backend.job().scheduler.map(str::to_owned))
    }

    fn stalled_counter(&mut self) -> wasmtime::Result<u32> {
        Ok(self.current.backend.job().stalled_counter)
    }

    async fn update_data(&mut self, data: String) -> Answer<()> {
        Ok(self.try_update_data(data).await)
    }

    async fn update_progress(&mut self, progress: String) -> Answer<()> {
        Ok(self.try_update_progress(progress).await)
    }

    async fn log(&mut self, line: String) -> Answer<u64> {
        Ok(self.try_log(line).await)
    }

    async fn move_to_delayed(&mut self, timestamp_ms: u64) -> Answer<()> {
        Ok(self.try_move_to_delayed(timestamp_ms).await)
    }

    async fn move_to_waiting_children(&mut self, child: Option<String>) -> Answer<bool> {
        Ok(self.try_move_to_waiting_children(child.as_deref()).await)
    }

    async fn move_to_wait(&mut self) -> Answer<()> {
        Ok(self.try_move_to_wait().await)
    }

    async fn children_values(&mut self) -> Answer<Vec<(String, String)>> {
        let max = self.read_bytes_max();
        Ok(self.current.backend.children_values(max).await)
    }

    async fn failed_children_values(&mut self) -> Answer<Vec<(String, String)>> {
        let max = self.read_bytes_max();
        Ok(self.current.backend.failed_children_values(max).await)
    }

    async fn dependencies(&mut self, query: String) -> Answer<String> {
        Ok(self.try_dependencies(&query).await)
    }

    async fn dependencies_count(&mut self, kinds: String) -> Answer<String> {
        Ok(self.try_dependencies_count(&kinds).await)
    }

    async fn remove_unprocessed_children(&mut self) -> Answer<u64> {
        Ok(self.try_remove_unprocessed_children().await)
    }

    async fn remove_child_dependency(&mut self) -> Answer<bool> {
        Ok(self.current.backend.remove_child_dependency().await)
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.current.tape.stops(self.current.should_stop()))
    }

    fn cancel_reason(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.current.tape.stop_reason(self.current.cancel_reason()))
    }

    fn failed_reason(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.current.backend.job().failed_reason.map(str::to_owned))
    }

    fn stacktrace(&mut self) -> wasmtime::Result<Vec<String>> {
        let stored = self.current.backend.job().stacktrace;
        // What is no list of texts was not written by a worker.
        Ok(json::read(stored).unwrap_or_default())
    }

    fn processed_on(&mut self) -> wasmtime::Result<u64> {
        Ok(self.current.backend.job().processed_on)
    }

    fn deduplication_id(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self
            .current
            .backend
            .job()
            .deduplication_id
            .map(str::to_owned))
    }
}
