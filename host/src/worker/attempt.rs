//! One attempt of a job: picks the version, runs it, counts it. Settles nothing: the schedule does.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::Observers;
use super::jobs::Held;
use super::outbox::Outbox;
use super::recording::AttemptRecording;
use super::schedule::AttemptEnd;
use crate::redis_backend::{JobWrites, RedisBackend};
use crate::retries::past_outages;
use crate::versions::{NoLease, Versions};
use toril_queue::{Queue, QueueError};
use toril_sandbox::attempt::{self, AttemptInput, AttemptResult};
use toril_sandbox::backend::{JobBackend, Shown};
use toril_sandbox::{Cancel, Engine, Outcome, Stop};

/// One attempt of a job, on its way from the fetch to its outcome.
pub(super) struct Attempt {
    pub(super) held: Arc<Held>,
    pub(super) queue: Queue,
    pub(super) versions: Arc<Versions>,
    pub(super) engine: Arc<Engine>,
    pub(super) observers: Arc<Observers>,
    pub(super) lock_ms: u64,
}

impl Attempt {
    /// Runs it to its end, whatever that is.
    pub(super) async fn run(self, refusal: Option<String>, outbox: Arc<Outbox>) {
        let AttemptResult {
            outcome, cpu, kept, ..
        } = {
            let execution = pin!(self.execution(refusal));
            caught(execution).await
        };
        if let Outcome::HostFailed(reason) = &outcome {
            error!(
                queue = self.queue.keys().name(),
                job_id = &*self.held.job.id,
                reason,
                "the host failed to run a job, which runs again later"
            );
        }
        if outcome == Outcome::GivenBack && self.held.cancel.gives_back_at_step() {
            info!(
                queue = self.queue.keys().name(),
                job_id = &*self.held.job.id,
                "job returns to the queue between two steps, and continues from there"
            );
        }
        let held = self.held;
        if let Some(kept) = kept {
            let _ = held.kept.set(kept);
        }
        outbox.put(AttemptEnd { held, outcome, cpu });
    }

    /// Runs it, or ends it with the reason for which it must not run.
    async fn execution(&self, refusal: Option<String>) -> AttemptResult {
        let (queue, job) = (&self.queue, &self.held.job);
        let telemetry = self.observers.telemetry.as_ref();
        let span = telemetry.map(|telemetry| telemetry.start(queue.keys().name(), job));
        // In a box: most jobs have none, and their attempts should not be the larger for it.
        if job.scheduler.is_some() {
            let advanced = Box::pin(self.advance_scheduler());
            let ready = unless_stopped(&self.held.cancel, advanced).await;
            if let Err(outcome) = ready.flatten() {
                return AttemptResult::without_a_guest(outcome);
            }
        }
        let execution = match refusal {
            Some(reason) => AttemptResult::without_a_guest(Outcome::unrecoverable(reason)),
            None => {
                let trace = span.as_ref().map(|span| span.carrier().to_owned());
                self.execute(trace).await
            }
        };
        if let (Some(telemetry), Outcome::Moved(to)) = (telemetry, &execution.outcome) {
            telemetry.moved(queue.keys().name(), job, *to);
        }
        if let Some(span) = span {
            span.end(&execution.outcome, execution.cpu);
        }
        execution
    }

    /// Adds the next job of the scheduler that made this one, before this one runs. Where its time cannot be computed,
    /// this one must not run: the chain would end with it. As in BullMQ, listeners hear of it, and the job is tried again
    /// later.
    async fn advance_scheduler(&self) -> Result<(), Outcome> {
        let (queue, job) = (&self.queue, &self.held.job);
        let advanced = past_outages(|| queue.advance_scheduler(job)).await;
        let Err(error) = advanced else {
            return Ok(());
        };
        let reason = format!("Failed to add repeatable job for next iteration: {error}");
        self.observers.listeners.error(&reason);
        self.observers.metrics.scheduler_errors.inc();
        Err(Outcome::HostFailed(reason))
    }

    async fn execute(&self, trace: Option<String>) -> AttemptResult {
        let queue = &self.queue;
        let Held {
            job,
            cancel,
            version,
            ..
        } = &*self.held;
        let place = match unless_stopped(cancel, self.engine.place()).await {
            Ok(place) => place,
            Err(outcome) => return AttemptResult::without_a_guest(outcome),
        };
        let lease = match unless_stopped(cancel, self.versions.lease(job)).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(no_lease)) => return AttemptResult::without_a_guest(no_lease.into()),
            Err(outcome) => return AttemptResult::without_a_guest(outcome),
        };
        version.get_or_init(|| lease.processor().digest.clone());
        let policy = self.versions.policy();
        let listeners = self.observers.listeners.clone();
        let writes: Arc<OnceLock<JobWrites>> = Arc::default();
        let backend = RedisBackend::new(self.queue.clone(), Arc::clone(job), listeners)
            .noting_changes(Arc::clone(self.held.changes()), self.lock_ms)
            .noting_steps(Arc::clone(&self.observers.step_notes))
            .writing_to(Arc::clone(&writes));
        self.tell_lost_steps();
        let recording = AttemptRecording::begin(&policy);
        let mut backend: Box<dyn JobBackend> = Box::new(backend);
        if let Some(recording) = &recording {
            backend = Box::new(Shown::watched(backend, recording.watch()));
        }
        let input = AttemptInput {
            backend: self.shown(backend),
            cancel: Arc::clone(cancel),
            trace,
            tape: recording
                .as_ref()
                .map(AttemptRecording::tape)
                .unwrap_or_default(),
        };
        let begin = Instant::now();
        let execution = attempt::run(&self.engine, lease.processor(), &policy, input).await;
        let (wall, cpu) = (begin.elapsed(), execution.cpu);
        // Others need it.
        drop(place);
        if let Some(writes) = writes.get() {
            let written = writes.finish(cancel).await;
            written.unwrap_or_else(|error| self.tell_lost_notes(&error));
        }
        self.forget_steps(&execution.outcome);
        let metrics = &self.observers.metrics;
        metrics.attempt(&execution.outcome, wall, cpu);
        debug!(
            queue = self.queue.keys().name(),
            job_id = &*job.id,
            ?wall,
            ?cpu,
            "attempt ended"
        );
        // What was stopped from outside says nothing of the processor.
        if cancel.reason().is_none() {
            match execution.outcome {
                Outcome::Completed(_) => lease.count(false),
                Outcome::Failed { .. } => lease.count(true),
                _ => {}
            }
        }
        if let Some(recording) = recording
            && recording.is_worth_keeping(&policy, &execution.outcome)
        {
            let component = lease.processor().digest.clone();
            // Others need it, too.
            drop(lease);
            // In a box: most attempts are not recorded, and should not be the larger for it.
            Box::pin(recording.keep(queue, job, &policy, &component, &execution)).await;
        }
        execution
    }
}

impl From<NoLease> for Outcome {
    fn from(no_lease: NoLease) -> Self {
        match no_lease {
            // Taken away since the job was taken: it waits until there is one again.
            NoLease::NoProcessor => Outcome::GivenBack,
            // At once could be at once again, for ever.
            NoLease::NotNow(reason) => Outcome::HostFailed(reason),
        }
    }
}

impl Attempt {
    /// Says that steps which this host has seen kept are gone, so that they run again.
    fn tell_lost_steps(&self) {
        let job = &self.held.job;
        let lost = self.observers.step_notes.lost_by(job);
        if !lost.is_empty() {
            warn!(
                queue = self.queue.keys().name(),
                job_id = &*job.id,
                steps = ?lost,
                "redis has lost the records of a job's steps: the steps run again"
            );
        }
    }

    /// Says that the guest's last lines or progress are lost: the outcome counts all the same.
    fn tell_lost_notes(&self, error: &QueueError) {
        self.observers.metrics.redis_errors.inc();
        self.observers.listeners.error(error);
        warn!(
            queue = self.queue.keys().name(),
            job_id = &*self.held.job.id,
            %error,
            "log lines or progress of a job are lost"
        );
    }

    /// The steps of a job that is over are nobody's concern any more.
    fn forget_steps(&self, outcome: &Outcome) {
        let job = &self.held.job;
        let is_over = match outcome {
            Outcome::Completed(_) => true,
            Outcome::Failed { unrecoverable, .. } => {
                *unrecoverable || !job.options.has_attempts_left(job.attempts_made + 1)
            }
            _ => false,
        };
        if is_over {
            self.observers.step_notes.forget(&job.id);
        }
    }

    /// Shows the processor's calls to those who listen closely, if there are any.
    fn shown(&self, backend: Box<dyn JobBackend>) -> Box<dyn JobBackend> {
        if !self.observers.listeners.has_close_reader() {
            return backend;
        }
        let (observers, job) = (Arc::clone(&self.observers), Arc::clone(&self.held.job));
        let show = move |call: &str| observers.listeners.call(&job.id, call);
        Box::new(Shown::calls_and_lines(backend, Arc::new(show)))
    }
}

/// Waits for something before the processor begins. A job that is stopped meanwhile ends at once.
async fn unless_stopped<T>(cancel: &Cancel, ready: impl Future<Output = T>) -> Result<T, Outcome> {
    tokio::select! {
        biased;
        ready = ready => Ok(ready),
        stop = cancel.must_stop(Duration::ZERO) => Err(match stop {
            Stop::LockLost => Outcome::Lost,
            Stop::Shutdown => Outcome::GivenBack,
            stop => Outcome::unrecoverable(stop.to_string()),
        }),
    }
}

/// A panic of the host fails one attempt, which spends none of the job's, and nothing else.
async fn caught(mut attempt: Pin<&mut impl Future<Output = AttemptResult>>) -> AttemptResult {
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| attempt.as_mut().poll(context));
        catch_unwind(poll).unwrap_or_else(|panic| {
            let words = panic
                .downcast_ref::<&str>()
                .map(|words| (*words).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            let reason = format!("execution panicked, which is a bug of toril: {words}");
            Poll::Ready(AttemptResult::without_a_guest(Outcome::HostFailed(reason)))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_of_the_host_is_an_outcome() {
        let attempt = pin!(async {
            tokio::task::yield_now().await;
            panic!("no {}", "luck");
        });
        let outcome = caught(attempt);
        let reason = "execution panicked, which is a bug of toril: no luck";
        let outcome = outcome.await.outcome;
        assert_eq!(outcome, Outcome::HostFailed(reason.to_owned()));
    }
}
