//! Steps of a job of a dry run.

use async_trait::async_trait;

use super::backend::DryBackend;
use crate::backend::{CallResult, ChildOutcome, StepBackend};
use crate::names::JobRef;

#[async_trait]
impl StepBackend for DryBackend {
    fn now_ms(&self) -> u64 {
        self.store().now_ms
    }

    fn steps(&self) -> &[(String, String)] {
        &self.steps
    }

    async fn keep_step(&mut self, name: &str, record: &str) -> CallResult<()> {
        self.with_own(|job| drop(job.steps.insert(name.to_owned(), record.to_owned())))
    }

    async fn child_outcome(&mut self, child: &JobRef, _: usize) -> CallResult<ChildOutcome> {
        self.with_own(|job| {
            let children = &job.children;
            if let Some(value) = children.processed.get(child) {
                ChildOutcome::Completed(value.clone())
            } else if let Some(reason) = children.ignored.get(child) {
                ChildOutcome::Failed(reason.clone())
            } else if children.pending.contains(child) {
                ChildOutcome::Pending
            } else if children.failed.contains(child) {
                ChildOutcome::FailsParent
            } else {
                ChildOutcome::Unknown
            }
        })
    }
}
