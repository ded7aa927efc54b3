//! Steps of a job in Redis.

use async_trait::async_trait;

use super::RedisBackend;
use super::calls::until_answered;
use toril_queue::{JobWrite, now_ms};
use toril_sandbox::backend::{CallResult, ChildOutcome, StepBackend};
use toril_sandbox::names::JobRef;

#[async_trait]
impl StepBackend for RedisBackend {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn steps(&self) -> &[(String, String)] {
        &self.job.steps
    }

    fn steps_dropped(&self) -> u64 {
        self.job.steps_dropped
    }

    async fn keep_step(&mut self, name: &str, record: &str) -> CallResult<()> {
        self.writes().keep(JobWrite::step(name, record)).await?;
        if let Some(notes) = &self.step_notes {
            notes.keep(&self.job, name);
        }
        Ok(())
    }

    async fn child_outcome(
        &mut self,
        child: &JobRef,
        bytes_max: usize,
    ) -> CallResult<ChildOutcome> {
        let (id, child) = (&self.job.id, child.to_string());
        let outcome = until_answered(|| self.queue.child_outcome(id, &child, bytes_max)).await?;
        Ok(match outcome {
            toril_queue::ChildOutcome::Unknown => ChildOutcome::Unknown,
            toril_queue::ChildOutcome::Pending => ChildOutcome::Pending,
            toril_queue::ChildOutcome::Completed(value) => ChildOutcome::Completed(value),
            toril_queue::ChildOutcome::Failed(reason) => ChildOutcome::Failed(reason),
            toril_queue::ChildOutcome::FailsParent => ChildOutcome::FailsParent,
        })
    }
}
