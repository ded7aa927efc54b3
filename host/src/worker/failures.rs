//! What the host's log says of a failed attempt, once it is settled: one line.

use tracing::{info, warn};

use super::WorkerOptions;
use super::jobs::Held;
use super::settlement::unknown_strategy;
use toril_queue::{FailedAttempt, SettlementKind};

/// How much of a reason the log shows, in bytes; the job has all of it.
const REASON_BYTES_MAX: usize = 1024;

pub(super) fn log(queue: &str, held: &Held, kind: &SettlementKind, options: &WorkerOptions) {
    let (attempt, retried) = match kind {
        SettlementKind::Failed { attempt, .. } => (attempt, None),
        SettlementKind::Retry { attempt, .. } => (attempt, Some(0)),
        SettlementKind::Delayed {
            attempt: Some(attempt),
            delay_ms,
        } => (attempt, Some(*delay_ms)),
        _ => return,
    };
    let FailedAttempt { made, reason, .. } = attempt;
    let job = &held.job;
    let (job_id, job_name) = (&*job.id, &*job.name);
    let attempts = job.options.attempts.max(1.0) as u64;
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let version = held.version.get().map_or("none", |digest| digest.short());
    if let (Some(_), Some(strategy)) = (retried, unknown_strategy(job, options)) {
        warn!(
            queue,
            job_id,
            strategy,
            "the config has no such backoff strategy: the job waits its plain delay. Define it under `backoff` of the queue"
        );
    }
    match retried {
        Some(retry_in_ms) => info!(
            queue,
            job_id,
            job_name,
            attempt = made,
            attempts,
            version,
            retry_in_ms,
            reason,
            "attempt failed: the job is tried again"
        ),
        None => warn!(
            queue,
            job_id,
            job_name,
            attempt = made,
            attempts,
            version,
            reason,
            "attempt failed, and so has the job"
        ),
    }
}
