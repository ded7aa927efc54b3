//! One attempt of a job: picks the version, runs it, counts it. Settles nothing: the pump does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use tracing::{debug, error};

use super::Observers;
use super::locks::Running;
use crate::execution::{Execution, Outcome, execute};
use crate::fleet::Member;
use crate::imports::{Backing, Task};
use crate::queue::{Job, Queue, QueueError};
use crate::runtime::Cancel;

/// The longest pause between two tries to let a scheduler go on.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// One attempt of a job, on its way from the fetch to its outcome.
pub(super) struct Attempt {
    pub(super) job: Arc<Job>,
    pub(super) cancel: Arc<Cancel>,
    pub(super) queue: Queue,
    pub(super) member: Arc<Member>,
    pub(super) running: Arc<Running>,
    pub(super) observers: Arc<Observers>,
}

impl Attempt {
    /// Runs it, or ends it with the reason for which it must not run.
    pub(super) async fn run(self, refusal: Option<String>) -> Outcome {
        let telemetry = self.observers.telemetry.as_ref();
        let span = telemetry.map(|telemetry| telemetry.start(self.queue.keys().name(), &self.job));
        advance_scheduler(&self.queue, &self.job).await;
        let Execution { outcome, cpu } = match refusal {
            Some(reason) => Execution::without_a_guest(Outcome::unrecoverable(reason)),
            None => {
                let trace = span.as_ref().map(|span| span.carrier().to_owned());
                self.execute(trace).await
            }
        };
        if let Some(span) = span {
            span.end(&outcome, cpu);
        }
        outcome
    }

    async fn execute(&self, trace: Option<String>) -> Execution {
        let runtime = self.member.runtime();
        let _place = runtime.place().await;
        let Some(lease) = self.member.lease(&self.job).await else {
            let failed = Outcome::HostFailed("queue has no processor".to_owned());
            return Execution::without_a_guest(failed);
        };
        self.running
            .set_version(&self.job, &lease.processor().digest);
        let rights = self.member.slot().rights();
        let task = Task {
            job: Arc::clone(&self.job),
            backing: Backing::Queue(self.queue.clone()),
            cancel: Arc::clone(&self.cancel),
            listeners: Some(self.observers.listeners.clone()),
            trace,
        };
        let begin = Instant::now();
        let execution = execute(runtime, lease.processor(), &rights, task).await;
        let (wall, cpu) = (begin.elapsed(), execution.cpu);
        let metrics = &self.observers.metrics;
        metrics.attempt(&execution.outcome, wall, cpu);
        debug!(
            queue = self.queue.keys().name(),
            job_id = &*self.job.id,
            ?wall,
            ?cpu,
            "attempt ended"
        );
        // What was stopped from outside says nothing of the processor.
        if self.cancel.reason().is_none() {
            match execution.outcome {
                Outcome::Completed(_) => lease.count(false),
                Outcome::Failed { .. } => lease.count(true),
                _ => {}
            }
        }
        execution
    }
}

/// Adds the next job of the scheduler that made this one, before this one runs.
async fn advance_scheduler(queue: &Queue, job: &Job) {
    let Some(scheduler) = &job.scheduler else {
        return;
    };
    let advanced = (|| queue.advance_scheduler(job))
        .retry(
            ExponentialBuilder::default()
                .with_max_delay(RETRY_MAX)
                .without_max_times(),
        )
        .when(QueueError::is_transient)
        .await;
    if let Err(error) = advanced {
        error!(queue = queue.keys().name(), scheduler, %error, "scheduler cannot go on");
    }
}
