//! Steps, told as [`Shown`] tells all. What is only read is no call of the guest's.

use async_trait::async_trait;

use super::Shown;
use crate::backend::{CallResult, ChildOutcome, StepBackend};
use crate::names::JobRef;
use crate::steps;

#[async_trait]
impl StepBackend for Shown {
    fn now_ms(&self) -> u64 {
        self.backend.now_ms()
    }

    fn steps(&self) -> &[(String, String)] {
        self.backend.steps()
    }

    async fn keep_step(&mut self, name: &str, record: &str) -> CallResult<()> {
        if let Ok(record) = steps::read(record) {
            self.show(&record.as_call(name));
        }
        self.backend.keep_step(name, record).await
    }

    async fn child_outcome(
        &mut self,
        child: &JobRef,
        bytes_max: usize,
    ) -> CallResult<ChildOutcome> {
        self.backend.child_outcome(child, bytes_max).await
    }
}
