//! `toril:processor/jobs`: the job resource over the queue.

use backon::{ExponentialBuilder, Retryable as _};
use std::time::Duration;
use wasmtime::component::Resource;

use super::bindings::toril::processor::jobs::{Host, HostJob, JobError};
use super::{Backing, JobState, MovedTo};
use toril_queue::{
    DependenciesQuery, DependencyKinds, ErrorCode, Moved, Queue, QueueError, Settlement,
    SettlementKind, now_ms,
};

/// The guest's handle of its job. A store has one job, so the handle says nothing.
pub struct JobHandle;

/// Why a guest was ended by what it asked for.
#[derive(Debug, thiserror::Error)]
#[error("job data is not valid JSON: {0}")]
pub struct InvalidData(String);

pub(super) type CallResult<T> = wasmtime::Result<Result<T, JobError>>;
type Handle = Resource<JobHandle>;

impl JobState {
    /// Shows a call where nothing else is done with it.
    pub(super) fn show(&mut self, call: impl FnOnce() -> String) {
        if let Backing::Rehearsal(show) = &mut self.backing {
            show(call());
        }
    }

    pub(super) fn checked(&self, what: &str, value: &str) -> Result<(), JobError> {
        if value.len() > self.rights.limits.value_bytes_max {
            let max = self.rights.limits.value_bytes_max;
            return Err(JobError::Limit(format!(
                "{what} has {} bytes, more than the limit of {max}",
                value.len()
            )));
        }
        Ok(())
    }

    fn checked_json(&self, what: &str, value: &str) -> Result<(), JobError> {
        self.checked(what, value)?;
        match serde_json::from_str::<serde::de::IgnoredAny>(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(JobError::Invalid(format!("{what} is not JSON: {error}"))),
        }
    }

    /// Moves the job out of active, which ends this worker's hold on it.
    async fn move_job(
        &mut self,
        kind: SettlementKind,
        to: MovedTo,
        call: String,
    ) -> CallResult<bool> {
        if let Some(before) = self.moved {
            return Ok(Err(JobError::NotInState(format!(
                "job was already moved to {before:?}"
            ))));
        }
        let settlement = Settlement::new(&self.job, kind);
        let moved = match &mut self.backing {
            Backing::Rehearsal(show) => {
                show(call);
                // No children wait for a job that is in no queue.
                if to == MovedTo::WaitingChildren {
                    Moved::NothingToWaitFor
                } else {
                    Moved::Yes
                }
            }
            Backing::Queue(queue) => match settle_until_answered(queue, settlement).await {
                Ok(moved) => moved,
                Err(error) => return Ok(Err(job_error(error))),
            },
        };
        if moved == Moved::Yes {
            self.moved = Some(to);
        }
        Ok(Ok(moved == Moved::Yes))
    }
}

/// Reads options that a guest gave as JSON.
pub(super) fn options<T: serde::de::DeserializeOwned>(
    what: &str,
    json: &str,
) -> Result<T, JobError> {
    serde_json::from_str(json)
        .map_err(|error| JobError::Invalid(format!("`{what}` cannot be understood: {error}")))
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, JobError> {
    serde_json::to_string(value).map_err(|error| JobError::Unavailable(error.to_string()))
}

/// Repeats a call while Redis is away. The job's deadline ends it.
pub(super) async fn until_answered<T, F: Future<Output = Result<T, QueueError>>>(
    call: impl FnMut() -> F,
) -> Result<T, QueueError> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times();
    call.retry(backoff).when(QueueError::is_transient).await
}

/// Settles one job. A call whose reply was lost may have done it: then the lock is gone at the next try.
async fn settle_until_answered(queue: &Queue, settlement: Settlement) -> Result<Moved, QueueError> {
    let mut tries = 0;
    let result = until_answered(|| {
        tries += 1;
        queue.settle_one(settlement.clone())
    })
    .await;
    match result {
        Err(QueueError::Job {
            code: ErrorCode::JobLockNotExist | ErrorCode::JobNotInState,
            ..
        }) if tries > 1 => Ok(Moved::Yes),
        other => other,
    }
}

pub(super) fn job_error(error: QueueError) -> JobError {
    let message = error.to_string();
    match error {
        QueueError::Job { code, .. } => match code {
            ErrorCode::JobNotExist | ErrorCode::ParentJobNotExist => JobError::NotFound(message),
            ErrorCode::JobLockNotExist | ErrorCode::JobLockMismatch => JobError::LockLost(message),
            ErrorCode::JobNotInState => JobError::NotInState(message),
            ErrorCode::JobHasFailedChildren => JobError::ChildFailed(message),
            _ => JobError::Invalid(message),
        },
        QueueError::Locked(_) => JobError::NotInState(message),
        QueueError::Invalid(_) => JobError::Invalid(message),
        QueueError::Redis(_) | QueueError::Reply(_) => JobError::Unavailable(message),
    }
}

impl Host for JobState {}

impl HostJob for JobState {
    fn id(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.job.id.to_string())
    }

    fn name(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.job.name.clone())
    }

    fn queue_name(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.queue_name.to_string())
    }

    fn queue_qualified_name(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.queue_qualified_name.to_string())
    }

    fn data(&mut self, _: Handle) -> wasmtime::Result<String> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let invalid = |error: String| wasmtime::Error::new(InvalidData(error));
        let text =
            std::str::from_utf8(&self.job.data).map_err(|error| invalid(error.to_string()))?;
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| invalid(error.to_string()))?;
        Ok(text.to_owned())
    }

    fn opts(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.job.opts_json.clone())
    }

    fn attempts_made(&mut self, _: Handle) -> wasmtime::Result<u32> {
        Ok(self.job.attempts_made)
    }

    fn attempts_started(&mut self, _: Handle) -> wasmtime::Result<u32> {
        Ok(self.job.attempts_started)
    }

    fn timestamp(&mut self, _: Handle) -> wasmtime::Result<u64> {
        Ok(self.job.timestamp)
    }

    fn delay(&mut self, _: Handle) -> wasmtime::Result<u64> {
        Ok(self.job.delay_ms)
    }

    fn priority(&mut self, _: Handle) -> wasmtime::Result<u32> {
        Ok(self.job.priority)
    }

    fn progress(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self
            .progress
            .clone()
            .unwrap_or_else(|| self.job.progress.clone()))
    }

    fn parent_key(&mut self, _: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.job.parent_key.clone())
    }

    fn parent(&mut self, _: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.job.parent.clone())
    }

    fn repeat_job_key(&mut self, _: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.job.scheduler.clone())
    }

    fn stalled_counter(&mut self, _: Handle) -> wasmtime::Result<u32> {
        Ok(self.job.stalled_counter)
    }

    async fn update_data(&mut self, _: Handle, data: String) -> CallResult<()> {
        if let Err(error) = self.checked_json("job data", &data) {
            return Ok(Err(error));
        }
        self.show(|| format!("update-data({data})"));
        if let Backing::Queue(queue) = &self.backing {
            let (id, token) = (&self.job.id, self.token());
            if let Err(error) = until_answered(|| queue.update_data(id, token, &data)).await {
                return Ok(Err(job_error(error)));
            }
        }
        self.data = Some(data);
        Ok(Ok(()))
    }

    async fn update_progress(&mut self, _: Handle, progress: String) -> CallResult<()> {
        if let Err(error) = self.checked_json("job progress", &progress) {
            return Ok(Err(error));
        }
        if let Err(limit) = self.quota.progress_update() {
            return Ok(Err(JobError::Limit(limit)));
        }
        self.show(|| format!("update-progress({progress})"));
        if let Backing::Queue(queue) = &self.backing {
            let (id, token) = (&self.job.id, self.token());
            if let Err(error) = until_answered(|| queue.update_progress(id, token, &progress)).await
            {
                return Ok(Err(job_error(error)));
            }
        }
        if let Some(listeners) = &self.listeners {
            listeners.progress(&self.job, &progress);
        }
        self.progress = Some(progress);
        Ok(Ok(()))
    }

    async fn log(&mut self, _: Handle, line: String) -> CallResult<u64> {
        if let Err(error) = self.checked("log line", &line) {
            return Ok(Err(error));
        }
        let line = self.rights.grants.redact(&line).into_owned();
        if !self.log_budget.take_bytes(line.len()) {
            let max = self.rights.limits.log_bytes_max;
            return Ok(Err(JobError::Limit(format!(
                "processor exceeded its limit of {max} bytes of log"
            ))));
        }
        self.show(|| format!("log({line:?})"));
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok(1));
        };
        let keep = self
            .job
            .options
            .keep_logs
            .map(|keep| keep as u64)
            .filter(|keep| *keep > 0);
        Ok(until_answered(|| queue.add_log(&self.job.id, &line, keep))
            .await
            .map_err(job_error))
    }

    async fn move_to_delayed(&mut self, _: Handle, timestamp_ms: u64) -> CallResult<()> {
        let delay_ms = timestamp_ms.saturating_sub(now_ms());
        let kind = SettlementKind::Delayed {
            delay_ms,
            attempt: None,
        };
        let call = format!("move-to-delayed({timestamp_ms})");
        Ok(self.move_job(kind, MovedTo::Delayed, call).await?.map(drop))
    }

    async fn move_to_waiting_children(
        &mut self,
        _: Handle,
        child: Option<String>,
    ) -> CallResult<bool> {
        let call = format!(
            "move-to-waiting-children({})",
            child.as_deref().unwrap_or_default()
        );
        self.move_job(
            SettlementKind::WaitingChildren { child },
            MovedTo::WaitingChildren,
            call,
        )
        .await
    }

    async fn move_to_wait(&mut self, _: Handle) -> CallResult<()> {
        Ok(self
            .move_job(SettlementKind::Wait, MovedTo::Wait, "move-to-wait()".into())
            .await?
            .map(drop))
    }

    async fn children_values(&mut self, _: Handle) -> CallResult<Vec<(String, String)>> {
        self.show(|| "children-values()".into());
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok(Vec::new()));
        };
        let values = until_answered(|| queue.children_values(&self.job.id)).await;
        Ok(values
            .map(|values| values.into_iter().collect())
            .map_err(job_error))
    }

    async fn failed_children_values(&mut self, _: Handle) -> CallResult<Vec<(String, String)>> {
        self.show(|| "failed-children-values()".into());
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok(Vec::new()));
        };
        let values = until_answered(|| queue.ignored_children_failures(&self.job.id)).await;
        Ok(values
            .map(|values| values.into_iter().collect())
            .map_err(job_error))
    }

    async fn dependencies(&mut self, _: Handle, query: String) -> CallResult<String> {
        self.show(|| format!("dependencies({query})"));
        let query: DependenciesQuery = match options("query", &query) {
            Ok(query) => query,
            Err(error) => return Ok(Err(error)),
        };
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok("{}".into()));
        };
        let found = until_answered(|| queue.dependencies(&self.job.id, &query)).await;
        Ok(found.map_err(job_error).and_then(|found| to_json(&found)))
    }

    async fn dependencies_count(&mut self, _: Handle, kinds: String) -> CallResult<String> {
        self.show(|| format!("dependencies-count({kinds})"));
        let kinds: DependencyKinds = match options("kinds", &kinds) {
            Ok(kinds) => kinds,
            Err(error) => return Ok(Err(error)),
        };
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok("{}".into()));
        };
        let counts = until_answered(|| queue.dependency_counts(&self.job.id, kinds)).await;
        Ok(counts
            .map_err(job_error)
            .and_then(|counts| to_json(&counts)))
    }

    async fn remove_unprocessed_children(&mut self, _: Handle) -> CallResult<u64> {
        self.show(|| "remove-unprocessed-children()".into());
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok(0));
        };
        Ok(
            until_answered(|| queue.remove_unprocessed_children(&self.job.id))
                .await
                .map_err(job_error),
        )
    }

    async fn remove_child_dependency(&mut self, _: Handle) -> CallResult<bool> {
        self.show(|| "remove-child-dependency()".into());
        let Backing::Queue(queue) = &self.backing else {
            return Ok(Ok(false));
        };
        Ok(
            until_answered(|| queue.remove_child_dependency(&self.job.id))
                .await
                .map_err(job_error),
        )
    }

    fn is_cancelled(&mut self, _: Handle) -> wasmtime::Result<bool> {
        Ok(self.should_stop())
    }

    fn drop(&mut self, _: Handle) -> wasmtime::Result<()> {
        Ok(())
    }
}
