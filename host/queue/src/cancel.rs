//! Cancelling jobs that no worker has. Only the worker that holds a job's lock can stop it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::QueueError;
use crate::job::Job;
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::redis::text;
use crate::settle::wire::keep_rule;
use crate::time::now_ms;
use toril_options::KeepJobs;

/// How many of the last events are searched for the end of a job that is gone.
const EVENTS_LOOKED_AT: usize = 1_000;
/// How many of them are read at once: each may hold a large value, and the end of a job is mostly among the last.
const EVENTS_PER_CALL: usize = 10;

/// What was done about a job that should not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelledJob {
    /// Nobody had it, and it has failed. It was in this state: `Active` where the lock of its worker had expired.
    Failed(JobState),
    /// A worker has it.
    Runs {
        /// Of its lock.
        token: Arc<str>,
        /// The attempt that runs.
        attempt: AttemptId,
    },
    /// The attempt that was to be cancelled has ended, and the job is to be tried again.
    AnotherAttempt(JobState),
    /// It had come to an end, or there is no such job.
    Ended(JobState),
}

/// Tells an attempt of a job from all others, also from those of a job that is added later under the same id. It stays
/// the same while the job starts again without having failed: its worker died, or gave it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptId(String);

impl AttemptId {
    /// The attempt that a worker was handed.
    pub fn of(job: &Job) -> Self {
        AttemptId(format!("{} {}", job.timestamp, job.attempts_made))
    }

    /// As another process wrote it. Any text is one; most are those of no job.
    pub fn from_text(text: String) -> Self {
        AttemptId(text)
    }

    /// True if both are attempts of one job: it was added at one time.
    fn is_of_the_job_of(&self, other: &str) -> bool {
        let added = |attempt: &str| attempt.split(' ').next().map(str::to_owned);
        added(&self.0) == added(other)
    }

    /// As it is written for another process.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who has a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What its worker wrote.
    pub token: String,
    /// When it expires; none: never.
    pub expires_in: Option<Duration>,
}

/// What was done, the state that the job was in, its attempt, the token of its lock, and its children.
type CancelReply = (String, String, String, String, Vec<String>);

impl Queue {
    /// Fails a job that nobody has, with this reason: it waits for its turn, its time or its children, or the lock of its
    /// worker has expired. Its parent learns of it as of any other failure, and its scheduler goes on.
    ///
    /// `only` is the attempt to cancel; none is whichever there is.
    pub async fn cancel_unheld(
        &self,
        id: &str,
        reason: &str,
        only: Option<&AttemptId>,
    ) -> Result<CancelledJob, QueueError> {
        let cancelled = self.cancel_unheld_of_flow(id, reason, only, false).await;
        Ok(cancelled?.0)
    }

    /// The same. With children, also returns those that the job waits for, or waited for when it failed: a call that adds one
    /// to it does so before, or finds it failed.
    pub async fn cancel_unheld_of_flow(
        &self,
        id: &str,
        reason: &str,
        only: Option<&AttemptId>,
        with_children: bool,
    ) -> Result<(CancelledJob, Vec<(Queue, String)>), QueueError> {
        if self.is_foreign(id).await? {
            return Ok((CancelledJob::Ended(JobState::Unknown), Vec::new()));
        }
        let job = self.job_as_taken(id).await?;
        if let Some(job) = job.as_ref().filter(|job| job.scheduler.is_some()) {
            // As when it is picked up: the next job of its scheduler is added, unless it was. Before the job fails, so
            // that one whose schedule cannot be read stays where it is.
            self.advance_scheduler(job).await?;
        }
        let keep = job.and_then(|job| job.options.remove_on_fail);
        let keep = keep.unwrap_or(KeepJobs::ALL);
        let script = script!("cancel_job", "ids", "left_children"; "chunks", "events", "line", "parent", "remove", "store", "deduplication", "outcomes");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(now_ms()).arg(reason).arg(keep_rule(&keep));
        call.arg(only.map(AttemptId::as_str).unwrap_or_default());
        call.arg(if with_children { "1" } else { "" });
        let unread = || QueueError::Reply("cancel_job");
        let reply = self.redis.run(script, &call).await?;
        let (done, state, attempt, token, children): CancelReply =
            text::read(reply).map_err(|_| unread())?;
        let state: JobState = state.parse().map_err(|_| unread())?;
        let flows = self.flows();
        let children = children.iter().filter_map(|key| flows.locate(key));
        let is_another_job = || only.is_some_and(|only| !only.is_of_the_job_of(&attempt));
        let done = match &*done {
            "failed" => CancelledJob::Failed(state),
            "runs" => CancelledJob::Runs {
                token: token.into(),
                attempt: AttemptId(attempt),
            },
            // By now it has the id.
            "ended" | "another-attempt" if is_another_job() => {
                CancelledJob::Ended(JobState::Unknown)
            }
            "ended" => CancelledJob::Ended(state),
            "another-attempt" => CancelledJob::AnotherAttempt(state),
            _ => return Err(unread()),
        };
        Ok((done, children.collect()))
    }

    async fn job_as_taken(&self, id: &str) -> Result<Option<Job>, QueueError> {
        let record = self.job(id).await?;
        Ok(record.map(|record| {
            let fields = record
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            Job::from_hash(id.as_bytes(), fields, &Arc::from(""))
        }))
    }

    /// The lock of a job, if a worker has it.
    pub async fn lock_of(&self, id: &str) -> Result<Option<Lock>, QueueError> {
        let key = format!("{}:lock", self.keys.job(id));
        let mut look = redis::pipe();
        look.atomic().cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let (token, ttl_ms): (Option<String>, i64) = self.redis.ask(&look).await?;
        Ok(token.map(|token| Lock {
            token,
            expires_in: u64::try_from(ttl_ms).ok().map(Duration::from_millis),
        }))
    }

    /// Why a job failed. For one whose hash is gone the stream of events says so, among the last ones. None: it did not
    /// fail, or nothing says so any more.
    pub async fn failure_of(&self, id: &str) -> Result<Option<String>, QueueError> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.job(id)).arg("failedReason");
        if let Some(reason) = self.redis.ask(&command).await? {
            return Ok(Some(reason));
        }
        let mut before = "+".to_owned();
        for _ in 0..EVENTS_LOOKED_AT / EVENTS_PER_CALL {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.keys.of("events")).arg(before).arg("-");
            command.arg("COUNT").arg(EVENTS_PER_CALL);
            let events: Vec<(String, BTreeMap<String, String>)> = self.redis.ask(&command).await?;
            let Some((last, _)) = events.last() else {
                return Ok(None);
            };
            before = format!("({last}");
            let is_end = |event: &BTreeMap<String, String>| {
                let name = event.get("event").map(String::as_str);
                event.get("jobId").is_some_and(|job| job == id)
                    && matches!(name, Some("completed" | "failed"))
            };
            if let Some((_, mut event)) = events.into_iter().find(|(_, event)| is_end(event)) {
                return Ok(event.remove("failedReason"));
            }
        }
        Ok(None)
    }

    /// The children that a job waits for: their queues and ids.
    pub async fn pending_children(&self, id: &str) -> Result<Vec<(Queue, String)>, QueueError> {
        if self.is_foreign(id).await? {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("SMEMBERS");
        command.arg(format!("{}:dependencies", self.keys.job(id)));
        let keys: Vec<String> = self.redis.ask(&command).await?;
        let flows = self.flows();
        Ok(keys.iter().filter_map(|key| flows.locate(key)).collect())
    }
}
