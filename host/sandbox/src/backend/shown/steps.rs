//! Steps, told as [`Shown`] tells all.

use async_trait::async_trait;

use super::{Shown, told};
use crate::backend::{CallResult, ChildOutcome, StepBackend};
use crate::names::JobRef;
use crate::steps;

#[async_trait]
impl StepBackend for Shown {
    fn now_ms(&self) -> u64 {
        self.watch.time_ms(self.backend.now_ms())
    }

    fn steps(&self) -> &[(String, String)] {
        self.backend.steps()
    }

    fn steps_dropped(&self) -> u64 {
        self.backend.steps_dropped()
    }

    async fn keep_step(&mut self, name: &str, record: &str) -> CallResult<()> {
        let call = steps::read(record).map(|record| record.as_call(name));
        told!(self, call.unwrap_or_default(), keep_step(name, record))
    }

    async fn child_outcome(
        &mut self,
        child: &JobRef,
        bytes_max: usize,
    ) -> CallResult<ChildOutcome> {
        let call = format!("child-outcome({child})");
        told!(self, call, child_outcome(child, bytes_max))
    }
}
