//! Steps of a job that is in no queue: none is kept, and no child ever ends.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::LoneJob;
use crate::backend::{CallResult, ChildOutcome, StepBackend};
use crate::names::JobRef;

#[async_trait]
impl StepBackend for LoneJob {
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        since_epoch.map_or(0, |elapsed| elapsed.as_millis() as u64)
    }

    fn steps(&self) -> &[(String, String)] {
        &[]
    }

    async fn keep_step(&mut self, _: &str, _: &str) -> CallResult<()> {
        Ok(())
    }

    async fn child_outcome(&mut self, _: &JobRef, _: usize) -> CallResult<ChildOutcome> {
        Ok(ChildOutcome::Pending)
    }
}
