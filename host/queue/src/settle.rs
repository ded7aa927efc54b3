//! The hot path: settling jobs and taking the next ones in one call.

pub(crate) mod wire;

use std::sync::Arc;

use toril_options::KeepJobs;

use self::wire::{optional, push_settlements, read_jobs, read_settled};
use crate::error::QueueError;
use crate::job::Job;
use crate::queue::Queue;
use crate::redis::reader::Reader;
use crate::redis::script::script;
use crate::time::{SAFE_INTEGER_MAX, now_ms};

/// What becomes of one job.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The job's id.
    pub job_id: Arc<str>,
    /// The token of its lock.
    pub token: Arc<str>,
    /// [`Job::plain_fields`].
    pub plain_fields: Option<u32>,
    /// Where it goes.
    pub kind: SettlementKind,
}

impl Settlement {
    /// How many can be settled in one call: Lua hands a command no more values than some 8,000, and a job needs
    /// up to three in one command.
    pub const BATCH_MAX: usize = 2_000;

    /// What it adds to a call, about: for budgets of what is sent at once.
    pub fn bytes(&self) -> usize {
        /// Numbers, lengths and what neighbours share.
        const FRAME: usize = 64;
        let failed = |attempt: &FailedAttempt| attempt.reason.len() + attempt.stacktrace.len();
        let content = match &self.kind {
            SettlementKind::Completed { value, .. } => value.len(),
            SettlementKind::Failed { attempt, .. } | SettlementKind::Retry { attempt, .. } => {
                failed(attempt)
            }
            SettlementKind::Delayed { attempt, .. } => attempt.as_ref().map_or(0, failed),
            SettlementKind::Wait | SettlementKind::GiveBack { .. } => 0,
            SettlementKind::WaitingChildren { child } => child.as_ref().map_or(0, String::len),
        };
        FRAME + self.job_id.len() + content
    }

    /// What becomes of `job`.
    pub fn new(job: &Job, kind: SettlementKind) -> Self {
        Settlement {
            job_id: Arc::clone(&job.id),
            token: Arc::clone(&job.token),
            plain_fields: job.plain_fields,
            kind,
        }
    }
}

/// Where a job goes, and with what.
#[derive(Debug, Clone)]
pub enum SettlementKind {
    /// To `completed`.
    Completed {
        /// JSON text.
        value: String,
        /// FailedAttempts made, this one included.
        attempts_made: u32,
        /// Which completed jobs to keep.
        keep: KeepJobs,
    },
    /// To `failed`.
    Failed {
        /// The attempt that failed.
        attempt: FailedAttempt,
        /// FailedAttempts that the job had; more made than this emits `retries-exhausted`.
        attempts: f64,
        /// Which failed jobs to keep.
        keep: KeepJobs,
    },
    /// Back in line after a failed attempt.
    Retry {
        /// The attempt that failed.
        attempt: FailedAttempt,
        /// At the head of the line instead of its end.
        lifo: bool,
    },
    /// To `delayed`.
    Delayed {
        /// Milliseconds from now.
        delay_ms: u64,
        /// The attempt that failed, or none where the job asked for it.
        attempt: Option<FailedAttempt>,
    },
    /// Back to the head of the line; no attempt is spent.
    Wait,
    /// Back in line because the host could not run it: neither an attempt nor a start is spent.
    GiveBack {
        /// How long it rests, in ms; without one it is the next to be taken.
        delay_ms: Option<u64>,
    },
    /// To `waiting-children`, if any child, or the one named by its key, is pending.
    WaitingChildren {
        /// `prefix:queue:id`.
        child: Option<String>,
    },
}

impl SettlementKind {
    /// The operation by BullMQ's name.
    pub(super) fn command(&self) -> &'static str {
        match self {
            SettlementKind::Completed { .. } | SettlementKind::Failed { .. } => "moveToFinished",
            SettlementKind::Retry { .. } => "retryJob",
            SettlementKind::Delayed { .. } => "moveToDelayed",
            SettlementKind::Wait | SettlementKind::GiveBack { .. } => "moveJobFromActiveToWait",
            SettlementKind::WaitingChildren { .. } => "moveToWaitingChildren",
        }
    }
}

/// What a failed attempt leaves behind.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// FailedAttempts made, this one included.
    pub made: u32,
    /// `failedReason`.
    pub reason: String,
    /// `stacktrace`, a JSON array.
    pub stacktrace: String,
}

/// How jobs are taken.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Becomes `processedBy`.
    pub worker: Option<String>,
    /// For how long the lock holds, in ms.
    pub lock_ms: u64,
    /// How many jobs to take at most, up to [`Fetch::WANT_MAX`]; 0 only settles.
    pub want: usize,
    /// No further job is taken once those taken have more bytes than this. One is taken, however large it is.
    pub bytes_max: usize,
    /// The token of the locks of the jobs taken. No two calls have the same.
    pub token: Arc<str>,
    /// The worker's own rate limit.
    pub limiter: Option<Limiter>,
    /// Data points of metrics to keep, one per minute; none collects none.
    pub metrics_points: Option<u32>,
    /// The version of the processor to note in jobs that run for the first time.
    pub pin: Option<Arc<str>>,
}

impl Fetch {
    /// The largest `want`: Lua hands a command no more values than some 8,000.
    pub const WANT_MAX: usize = 7_000;

    /// Takes nothing.
    fn none() -> Self {
        Self::of_token("", 0)
    }

    /// Takes nothing; names the jobs whose locks have this token.
    pub(crate) fn of_token(token: &str, lock_ms: u64) -> Self {
        Fetch {
            worker: None,
            lock_ms,
            want: 0,
            bytes_max: 0,
            token: token.into(),
            limiter: None,
            metrics_points: None,
            pin: None,
        }
    }
}

/// At most `max` jobs per `duration_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limiter {
    /// Jobs.
    pub max: u32,
    /// Milliseconds.
    pub duration_ms: u64,
}

/// What a settle-and-fetch call did.
#[derive(Debug)]
pub struct Settled {
    /// When it was called, in ms since the epoch: Redis has noted this time in what it moved.
    pub at_ms: u64,
    /// One per settlement, in order.
    pub results: Vec<Result<Moved, QueueError>>,
    /// The jobs taken, in processing order.
    pub jobs: Vec<Job>,
    /// For how long the queue is rate limited; 0 is not at all.
    pub limited_ms: u64,
    /// When the first delayed job is due, in ms since the epoch, unless the worker got all that it asked for, or the queue is
    /// paused or limited.
    pub next_delayed_ms: Option<u64>,
    /// No further job was taken because those taken had `bytes_max`: there may be more.
    pub more: bool,
    /// How many ids were dropped that have no job, a hash with a name.
    pub jobless: u64,
    /// The first of them, cut where they are long.
    pub jobless_ids: Vec<String>,
}

/// Whether a settlement moved its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It did.
    Yes,
    /// There was no child to wait for; the job stays active.
    NothingToWaitFor,
}

impl Queue {
    /// Settles jobs and takes the next ones, in one call to Redis.
    ///
    /// A settlement that fails is answered by itself, changes nothing and breaks no other. When the
    /// call as a whole fails it may have been carried out all the same: see [`Queue::reclaim`].
    pub async fn settle_and_fetch(
        &self,
        settlements: &[Settlement],
        fetch: &Fetch,
    ) -> Result<Settled, QueueError> {
        let script = script!("settle"; "chunks", "events", "ids", "line", "parent", "remove", "left_children", "store", "deduplication", "outcomes");
        check_size("settlements", settlements.len(), Settlement::BATCH_MAX)?;
        check_size("jobs to take", fetch.want, Fetch::WANT_MAX)?;
        let now = now_ms();
        let mut call = script.call(self.keys.meta());
        call.arg(now)
            .arg(fetch.worker.as_deref().unwrap_or_default())
            .arg(fetch.lock_ms.clamp(1, SAFE_INTEGER_MAX))
            .arg(fetch.want)
            .arg(&*fetch.token)
            .arg(optional(fetch.limiter.map(|limiter| limiter.max)))
            .arg(optional(
                fetch
                    .limiter
                    .map(|limiter| limiter.duration_ms.min(SAFE_INTEGER_MAX)),
            ))
            .arg(optional(fetch.metrics_points))
            .arg(fetch.pin.as_deref().unwrap_or_default())
            .arg(fetch.bytes_max);
        push_settlements(&mut call, settlements);
        let reply = self.redis.run_packed(script, &call).await?;
        let settled = read_settled(&reply, settlements, &fetch.token);
        let mut settled = settled.ok_or(QueueError::Reply("settle"))?;
        settled.at_ms = now;
        for job in &mut settled.jobs {
            job.note_start(now, fetch.worker.as_deref(), fetch.pin.as_deref());
        }
        Ok(settled)
    }

    /// Settles one job at once and takes none: for a job that a processor moves itself.
    pub async fn settle_one(&self, settlement: Settlement) -> Result<Moved, QueueError> {
        let settled = self.settle_and_fetch(&[settlement], &Fetch::none()).await?;
        settled
            .results
            .into_iter()
            .next()
            .unwrap_or(Err(QueueError::Reply("settle")))
    }

    /// Finds the jobs that a settle-and-fetch call took whose reply was lost.
    pub async fn reclaim(&self, fetch: &Fetch) -> Result<Vec<Job>, QueueError> {
        let script = script!("reclaim");
        let mut call = script.call(self.keys.meta());
        call.arg(&*fetch.token)
            .arg(fetch.lock_ms.clamp(1, SAFE_INTEGER_MAX));
        let reply = self.redis.run_packed(script, &call).await?;
        read_jobs(&mut Reader(&reply), &fetch.token).ok_or(QueueError::Reply("reclaim"))
    }
}

fn check_size(what: &str, size: usize, max: usize) -> Result<(), QueueError> {
    if size <= max {
        return Ok(());
    }
    Err(QueueError::Invalid(format!(
        "{size} {what} in one call are more than {max}"
    )))
}
