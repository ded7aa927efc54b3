//! The metrics of BullMQ's telemetry: what came of the jobs, by queue, name and state.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use toril_queue::{Job, SettlementKind, now_ms};
use toril_sandbox::MovedTo;

pub(super) struct JobMeter {
    completed: Counter<u64>,
    failed: Counter<u64>,
    delayed: Counter<u64>,
    retried: Counter<u64>,
    waiting: Counter<u64>,
    waiting_children: Counter<u64>,
    duration: Histogram<f64>,
}

impl JobMeter {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, state: &str| {
            let described = meter
                .u64_counter(name)
                .with_description(format!("Number of jobs {state}"));
            described.with_unit("1").build()
        };
        JobMeter {
            completed: counter("bullmq.jobs.completed", "completed"),
            failed: counter("bullmq.jobs.failed", "failed"),
            delayed: counter("bullmq.jobs.delayed", "delayed"),
            retried: counter("bullmq.jobs.retried", "retried"),
            waiting: counter("bullmq.jobs.waiting", "waiting"),
            waiting_children: counter("bullmq.jobs.waiting_children", "waiting-children"),
            duration: meter
                .f64_histogram("bullmq.job.duration")
                .with_description("Job processing duration")
                .with_unit("ms")
                .build(),
        }
    }

    /// Counts a job that reached a state.
    pub(super) fn reached(&self, queue: &str, job: &Job, state: Reached) {
        let (counter, state) = match state {
            Reached::Completed => (&self.completed, "completed"),
            Reached::Failed => (&self.failed, "failed"),
            Reached::Retried => (&self.retried, "retried"),
            Reached::Delayed => (&self.delayed, "delayed"),
            Reached::Waiting => (&self.waiting, "waiting"),
            Reached::WaitingChildren => (&self.waiting_children, "waiting-children"),
        };
        let attributes = [
            KeyValue::new("bullmq.queue.name", queue.to_owned()),
            KeyValue::new("bullmq.job.name", job.name.clone()),
            KeyValue::new("bullmq.job.state", state),
        ];
        counter.add(1, &attributes);
        let duration = now_ms().saturating_sub(job.processed_on);
        self.duration.record(duration as f64, &attributes);
    }
}

/// What BullMQ counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reached {
    Completed,
    Failed,
    Retried,
    Delayed,
    Waiting,
    WaitingChildren,
}

impl Reached {
    /// None where the job did not run, as far as BullMQ is concerned.
    pub(super) fn of(kind: &SettlementKind) -> Option<Self> {
        Some(match kind {
            SettlementKind::Completed { .. } => Reached::Completed,
            SettlementKind::Failed { .. } => Reached::Failed,
            SettlementKind::Retry { .. } => Reached::Retried,
            SettlementKind::Delayed { .. } => Reached::Delayed,
            SettlementKind::Wait => Reached::Waiting,
            SettlementKind::WaitingChildren { .. } => Reached::WaitingChildren,
            SettlementKind::GiveBack { .. } => return None,
        })
    }
}

impl From<MovedTo> for Reached {
    fn from(to: MovedTo) -> Self {
        match to {
            MovedTo::Delayed => Reached::Delayed,
            MovedTo::WaitingChildren => Reached::WaitingChildren,
            MovedTo::Wait => Reached::Waiting,
        }
    }
}
