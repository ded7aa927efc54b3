//! The recording of an attempt: begun with it, and stored if what came of it is worth keeping.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::warn;

use crate::listeners::Listeners;
use crate::redis_backend::RedisBackend;
use toril_queue::{Job, Queue, RecordingLimits, now_ms};
use toril_sandbox::attempt::AttemptResult;
use toril_sandbox::backend::Watch;
use toril_sandbox::recording::{AttemptEnd, RecordedJob, Recorder, Tape};
use toril_sandbox::{Digest, Outcome, Policy};

/// How long an attempt waits for its recording to be stored: what comes of it is worth more.
const STORED_WITHIN: Duration = Duration::from_secs(2);
/// The longest text about a recording, in bytes.
const ABOUT_BYTES_MAX: usize = 200;

/// The recording of one attempt.
pub(super) struct AttemptRecording {
    recorder: Arc<Recorder>,
    /// Random, from 0 to 1: whether an attempt that does not fail is kept.
    chance: f64,
}

impl AttemptRecording {
    /// Begins one, if the policy wants it.
    pub(super) fn begin(policy: &Policy) -> Option<Self> {
        policy.record.attempts.any().then(|| AttemptRecording {
            recorder: Arc::new(Recorder::new(policy)),
            chance: fastrand::f64(),
        })
    }

    pub(super) fn watch(&self) -> Arc<dyn Watch> {
        Arc::clone(&self.recorder) as _
    }

    pub(super) fn tape(&self) -> Tape {
        Tape::Record(Arc::clone(&self.recorder))
    }

    /// True if the policy keeps attempts that come to this.
    pub(super) fn is_worth_keeping(&self, policy: &Policy, outcome: &Outcome) -> bool {
        policy.record.attempts.keeps(outcome, self.chance)
    }

    /// Stores it.
    pub(super) async fn keep(
        self,
        queue: &Queue,
        job: &Arc<Job>,
        policy: &Policy,
        component: &Digest,
        result: &AttemptResult,
    ) {
        let AttemptResult {
            outcome,
            cpu,
            memory_bytes,
            is_stopped,
            kept: _,
        } = result;
        let end = AttemptEnd {
            at_ms: now_ms(),
            outcome: outcome.clone(),
            cpu_us: cpu.as_micros() as u64,
            memory_bytes: *memory_bytes as u64,
            is_stopped: *is_stopped,
        };
        let backend = RedisBackend::new(queue.clone(), Arc::clone(job), Listeners::default());
        let stored = async {
            let recorded = RecordedJob::of(&backend);
            let recorder = &self.recorder;
            let recording = recorder.finish(component.as_str(), recorded, policy, end);
            let bytes = recording.encode()?;
            let limits = RecordingLimits {
                count_max: policy.record.count_max,
                bytes_max: policy.record.bytes_max,
                age_ms: policy.record.age_ms,
            };
            let (attempt, about) = ((&*job.id, job.attempts_started), about(outcome));
            let stored = queue.store_recording(attempt, &bytes, &about, &limits);
            anyhow::Ok(timeout(STORED_WITHIN, stored).await??)
        };
        let (queue, job_id) = (queue.keys().name(), &*job.id);
        // A panic here must not become the outcome.
        let stored = AssertUnwindSafe(stored).catch_unwind().await;
        let panicked = |_| Err(anyhow::anyhow!("it panicked, which is a bug of toril"));
        match stored.unwrap_or_else(panicked) {
            Ok(true) => {}
            Ok(false) => warn!(queue, job_id, "recording is larger than `record.bytes_max`"),
            Err(error) => warn!(queue, job_id, %error, "recording could not be stored"),
        }
    }
}

/// What came of an attempt, in one line.
fn about(outcome: &Outcome) -> String {
    let line = match outcome {
        Outcome::Completed(_) => "completed".to_owned(),
        Outcome::Failed { message, .. } => {
            format!("failed: {}", message.lines().next().unwrap_or_default())
        }
        Outcome::Moved(to) => format!("moved to {}", to.state()),
        other => format!("{other:?}"),
    };
    line[..line.floor_char_boundary(ABOUT_BYTES_MAX)].to_owned()
}
