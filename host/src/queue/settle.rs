//! The hot path: settling jobs and taking the next ones in one call.

use std::sync::Arc;

use redis::{FromRedisValue, Value};

use super::{Job, KeepJobs, Queue, QueueError, now_ms, script};

/// What becomes of one job.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The job's id.
    pub job_id: Arc<str>,
    /// The token of its lock.
    pub token: Arc<str>,
    /// Where it goes.
    pub kind: SettlementKind,
}

/// Where a job goes, and with what.
#[derive(Debug, Clone)]
pub enum SettlementKind {
    /// To `completed`.
    Completed {
        /// JSON text.
        value: String,
        /// Attempts made, this one included.
        attempts_made: u32,
        /// Which completed jobs to keep.
        keep: KeepJobs,
    },
    /// To `failed`.
    Failed {
        /// The attempt that failed.
        attempt: Attempt,
        /// Attempts that the job had; more made than this emits `retries-exhausted`.
        attempts: u32,
        /// Which failed jobs to keep.
        keep: KeepJobs,
    },
    /// Back in line after a failed attempt.
    Retry {
        /// The attempt that failed.
        attempt: Attempt,
        /// At the head of the line instead of its end.
        lifo: bool,
    },
    /// To `delayed`.
    Delayed {
        /// Milliseconds from now.
        delay_ms: u64,
        /// The attempt that failed, or none where the job asked for it.
        attempt: Option<Attempt>,
    },
    /// Back to the head of the line; no attempt is spent.
    Wait,
    /// To `waiting-children`, if any child, or the one named by its key, is pending.
    WaitingChildren {
        /// `prefix:queue:id`.
        child: Option<String>,
    },
}

/// What a failed attempt leaves behind.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Attempts made, this one included.
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
    /// How many jobs to take at most; 0 only settles.
    pub want: usize,
    /// The token of the locks of the jobs taken. No two calls have the same.
    pub token: Arc<str>,
    /// The worker's own rate limit.
    pub limiter: Option<Limiter>,
    /// Data points of metrics to keep, one per minute; none collects none.
    pub metrics_points: Option<u32>,
    /// The version of the processor to note in jobs that run for the first time.
    pub pin: Option<Arc<str>>,
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
    /// One per settlement, in order.
    pub results: Vec<Result<Moved, QueueError>>,
    /// The jobs taken, in processing order.
    pub jobs: Vec<Job>,
    /// For how long the queue is rate limited; 0 is not at all.
    pub limited_ms: u64,
    /// When the first delayed job is due, in ms since the epoch, where nothing else was left to take.
    pub next_delayed_ms: Option<u64>,
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
        let script = script!(
            "settle",
            "parent",
            "remove",
            "store",
            "deduplication",
            "take"
        );
        let mut call = script.key(self.keys.base());
        call.arg(now_ms())
            .arg(fetch.worker.as_deref().unwrap_or_default())
            .arg(fetch.lock_ms)
            .arg(fetch.want)
            .arg(&*fetch.token)
            .arg(optional(fetch.limiter.map(|limiter| limiter.max)))
            .arg(optional(fetch.limiter.map(|limiter| limiter.duration_ms)))
            .arg(optional(fetch.metrics_points))
            .arg(fetch.pin.as_deref().unwrap_or_default());
        for settlement in settlements {
            push_entry(&mut call, settlement);
        }
        let reply: Value = call.invoke_async(&mut self.redis.shared()).await?;
        read_reply(reply, settlements, &fetch.token)
    }

    /// Settles one job at once and takes none: for a job that a processor moves itself.
    pub async fn settle_one(&self, settlement: Settlement) -> Result<Moved, QueueError> {
        let fetch = Fetch {
            worker: None,
            lock_ms: 0,
            want: 0,
            token: "".into(),
            limiter: None,
            metrics_points: None,
            pin: None,
        };
        let settled = self.settle_and_fetch(&[settlement], &fetch).await?;
        settled
            .results
            .into_iter()
            .next()
            .unwrap_or(Err(QueueError::Reply("settle")))
    }

    /// Finds the jobs that a settle-and-fetch call took whose reply was lost.
    pub async fn reclaim(&self, fetch: &Fetch) -> Result<Vec<Job>, QueueError> {
        let mut call = script!("reclaim").key(self.keys.base());
        call.arg(&*fetch.token).arg(fetch.lock_ms);
        let jobs: Vec<Value> = call.invoke_async(&mut self.redis.shared()).await?;
        read_jobs(jobs, &fetch.token)
    }
}

/// Writes the seven values that `lua/settle.lua` reads per entry.
fn push_entry(call: &mut redis::ScriptInvocation<'_>, settlement: &Settlement) {
    let mut entry = |kind: &str, value: &str, made: Option<u32>, option: &str, stack: &str| {
        call.arg(kind)
            .arg(&*settlement.job_id)
            .arg(&*settlement.token)
            .arg(value);
        // A number is written without a text of its own; none is an empty one.
        match made {
            Some(made) => call.arg(made),
            None => call.arg(""),
        };
        call.arg(option).arg(stack);
    };
    match &settlement.kind {
        SettlementKind::Completed {
            value,
            attempts_made,
            keep,
        } => entry("completed", value, Some(*attempts_made), &rule(keep), ""),
        SettlementKind::Failed {
            attempt,
            attempts,
            keep,
        } => {
            let kind = match attempt.made >= *attempts {
                true => "exhausted",
                false => "failed",
            };
            let Attempt {
                made,
                reason,
                stacktrace,
            } = attempt;
            entry(kind, reason, Some(*made), &rule(keep), stacktrace);
        }
        SettlementKind::Retry { attempt, lifo } => {
            let push = if *lifo { "RPUSH" } else { "LPUSH" };
            let Attempt {
                made,
                reason,
                stacktrace,
            } = attempt;
            entry("retry", reason, Some(*made), push, stacktrace);
        }
        SettlementKind::Delayed { delay_ms, attempt } => {
            let (made, reason, stack) = match attempt {
                Some(attempt) => (Some(attempt.made), &*attempt.reason, &*attempt.stacktrace),
                None => (None, "", ""),
            };
            entry("delayed", reason, made, &delay_ms.to_string(), stack);
        }
        SettlementKind::Wait => entry("wait", "", None, "", ""),
        SettlementKind::WaitingChildren { child } => {
            let child = child.as_deref().unwrap_or_default();
            entry("waiting-children", "", None, child, "");
        }
    }
}

/// What to keep, as the script reads it; nothing where all is kept.
fn rule(keep: &KeepJobs) -> String {
    let count = keep.count.filter(|count| *count >= 0);
    if count.is_none() && keep.age_s.is_none() {
        return String::new();
    }
    [optional(count), optional(keep.age_s), optional(keep.limit)].join(",")
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn read_reply(
    reply: Value,
    settlements: &[Settlement],
    token: &Arc<str>,
) -> Result<Settled, QueueError> {
    let malformed = || QueueError::Reply("settle");
    let Value::Array(parts) = reply else {
        return Err(malformed());
    };
    let [
        Value::Array(codes),
        Value::Array(jobs),
        limited,
        next_delayed,
    ] = <[Value; 4]>::try_from(parts).map_err(|_| malformed())?
    else {
        return Err(malformed());
    };
    if codes.len() != settlements.len() {
        return Err(malformed());
    }
    let results = codes
        .into_iter()
        .zip(settlements)
        .map(|(code, settlement)| read_code(code, settlement));
    let number = |value| u64::from_redis_value(value).map_err(|_| malformed());
    Ok(Settled {
        results: results.collect(),
        jobs: read_jobs(jobs, token)?,
        limited_ms: number(limited)?,
        next_delayed_ms: Some(number(next_delayed)?).filter(|due| *due > 0),
    })
}

/// Reads ids and hashes in turn.
fn read_jobs(replies: Vec<Value>, token: &Arc<str>) -> Result<Vec<Job>, QueueError> {
    let mut jobs = Vec::with_capacity(replies.len() / 2);
    let mut replies = replies.into_iter();
    while let (Some(id), Some(hash)) = (replies.next(), replies.next()) {
        jobs.push(Job::from_reply(id, hash, token)?);
    }
    Ok(jobs)
}

fn read_code(code: Value, settlement: &Settlement) -> Result<Moved, QueueError> {
    let command = match settlement.kind {
        SettlementKind::Completed { .. } | SettlementKind::Failed { .. } => "moveToFinished",
        SettlementKind::Retry { .. } => "retryJob",
        SettlementKind::Delayed { .. } => "moveToDelayed",
        SettlementKind::Wait => "moveJobFromActiveToWait",
        SettlementKind::WaitingChildren { .. } => "moveToWaitingChildren",
    };
    match code {
        Value::Int(0) => Ok(Moved::Yes),
        Value::Int(1) => Ok(Moved::NothingToWaitFor),
        Value::Int(code) => Err(QueueError::job(code, &*settlement.job_id, command)),
        _ => Err(QueueError::Reply("settle")),
    }
}
