//! The hot path: settling jobs and taking the next ones in one call.

use std::sync::Arc;

use redis::Cmd;

use crate::connection::script_call;
use crate::reader::Reader;
use crate::{Job, KeepJobs, Queue, QueueError, now_ms, script};

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
        let script =
            script!("settle"; "line", "parent", "remove", "store", "deduplication", "outcomes");
        let now = now_ms();
        let mut call = script_call(script, self.keys.base());
        call.arg(now)
            .arg(fetch.worker.as_deref().unwrap_or_default())
            .arg(fetch.lock_ms)
            .arg(fetch.want)
            .arg(&*fetch.token)
            .arg(optional(fetch.limiter.map(|limiter| limiter.max)))
            .arg(optional(fetch.limiter.map(|limiter| limiter.duration_ms)))
            .arg(optional(fetch.metrics_points))
            .arg(fetch.pin.as_deref().unwrap_or_default());
        push_settlements(&mut call, settlements);
        let reply = self.redis.run(script, &call).await?;
        let settled = read_settled(&reply, settlements, &fetch.token);
        let mut settled = settled.ok_or(QueueError::Reply("settle"))?;
        for job in &mut settled.jobs {
            job.note_start(now, fetch.worker.as_deref(), fetch.pin.as_deref());
        }
        Ok(settled)
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
        let script = script!("reclaim");
        let mut call = script_call(script, self.keys.base());
        call.arg(&*fetch.token).arg(fetch.lock_ms);
        let reply = self.redis.run(script, &call).await?;
        read_jobs(&mut Reader(&reply), &fetch.token).ok_or(QueueError::Reply("reclaim"))
    }
}

/// A settlement in the words of `lua/settle.lua`.
struct Entry<'a> {
    kind: &'static str,
    option: String,
    made: Option<u32>,
    value: &'a str,
    /// All but jobs that completed have one.
    stack: Option<&'a str>,
    settlement: &'a Settlement,
}

impl<'a> Entry<'a> {
    fn new(settlement: &'a Settlement) -> Self {
        let entry = |kind, option| Entry {
            kind,
            option,
            made: None,
            value: "",
            stack: Some(""),
            settlement,
        };
        let failed = |kind, option, attempt: &'a Attempt| Entry {
            made: Some(attempt.made),
            value: &attempt.reason,
            stack: Some(&attempt.stacktrace),
            ..entry(kind, option)
        };
        match &settlement.kind {
            SettlementKind::Completed {
                value,
                attempts_made,
                keep,
            } => Entry {
                made: Some(*attempts_made),
                value,
                stack: None,
                ..entry("completed", rule(keep))
            },
            SettlementKind::Failed {
                attempt,
                attempts,
                keep,
            } => match attempt.made >= *attempts {
                true => failed("exhausted", rule(keep), attempt),
                false => failed("failed", rule(keep), attempt),
            },
            SettlementKind::Retry { attempt, lifo } => {
                let push = if *lifo { "RPUSH" } else { "LPUSH" };
                failed("retry", push.to_owned(), attempt)
            }
            SettlementKind::Delayed { delay_ms, attempt } => {
                let delay = delay_ms.to_string();
                match attempt {
                    Some(attempt) => failed("delayed", delay, attempt),
                    None => entry("delayed", delay),
                }
            }
            SettlementKind::Wait => entry("wait", String::new()),
            SettlementKind::WaitingChildren { child } => {
                entry("waiting-children", child.clone().unwrap_or_default())
            }
        }
    }

    fn belongs_with(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.settlement.token == other.settlement.token
            && self.settlement.plain_fields == other.settlement.plain_fields
            && self.option == other.option
    }
}

/// Writes what neighbours have in common once: each value costs Redis some 0.2 µs.
fn push_settlements(call: &mut Cmd, settlements: &[Settlement]) {
    let all_plain = settlements.iter().all(|job| job.plain_fields.is_some());
    call.arg(settlements.len()).arg(u8::from(all_plain));
    for settlement in settlements {
        call.arg(&*settlement.job_id);
    }
    let entries: Vec<Entry<'_>> = settlements.iter().map(Entry::new).collect();
    for group in entries.chunk_by(Entry::belongs_with) {
        let [first, ..] = group else { continue };
        call.arg(first.kind)
            .arg(group.len())
            .arg(&*first.settlement.token);
        push_number(call, first.settlement.plain_fields);
        call.arg(&first.option);
        for entry in group {
            push_number(call, entry.made);
            call.arg(entry.value);
            if let Some(stack) = entry.stack {
                call.arg(stack);
            }
        }
    }
}

/// A number is written without a text of its own; none is an empty one.
fn push_number(call: &mut Cmd, number: Option<u32>) {
    match number {
        Some(number) => call.arg(number),
        None => call.arg(""),
    };
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

/// The fields of a job that was never started, in the order of `lua/settle.lua`; the last two of somebody's child.
const NEW_JOB: [&[u8]; 8] = [
    b"name",
    b"data",
    b"opts",
    b"timestamp",
    b"delay",
    b"priority",
    b"parentKey",
    b"parent",
];

fn read_settled(reply: &[u8], settlements: &[Settlement], token: &Arc<str>) -> Option<Settled> {
    let reader = &mut Reader(reply);
    if reader.array()? != 4 {
        return None;
    }
    Some(Settled {
        results: read_results(reader, settlements)?,
        jobs: read_jobs(reader, token)?,
        limited_ms: reader.int()?,
        next_delayed_ms: Some(reader.int()?).filter(|due| *due > 0),
    })
}

/// Reads ids and hashes in turn.
fn read_jobs(reader: &mut Reader<'_>, token: &Arc<str>) -> Option<Vec<Job>> {
    let count = reader.array()? / 2;
    (0..count).map(|_| read_job(reader, token)).collect()
}

fn read_job(reader: &mut Reader<'_>, token: &Arc<str>) -> Option<Job> {
    let id = reader.bytes()?;
    let length = reader.array()?;
    if length % 2 == 0 {
        let pairs = (0..length / 2).map_while(|_| Some((reader.bytes()?, reader.bytes()?)));
        return Some(Job::from_hash(id, pairs, token));
    }
    let values = NEW_JOB
        .into_iter()
        .take(length - 1)
        .map_while(|name| Some((name, reader.bytes()?)));
    let job = Job::from_hash(id, values, token);
    reader.bytes().map(|_| job)
}

/// Reads those that were not settled: which, from 1, and why, in turn.
fn read_results(
    reader: &mut Reader<'_>,
    settlements: &[Settlement],
) -> Option<Vec<Result<Moved, QueueError>>> {
    let mut results: Vec<_> = settlements.iter().map(|_| Ok(Moved::Yes)).collect();
    for _ in 0..reader.array()? / 2 {
        let at = reader.int::<usize>()?.checked_sub(1)?;
        *results.get_mut(at)? = read_refusal(reader.int()?, settlements.get(at)?);
    }
    Some(results)
}

fn read_refusal(code: i64, settlement: &Settlement) -> Result<Moved, QueueError> {
    let command = match settlement.kind {
        SettlementKind::Completed { .. } | SettlementKind::Failed { .. } => "moveToFinished",
        SettlementKind::Retry { .. } => "retryJob",
        SettlementKind::Delayed { .. } => "moveToDelayed",
        SettlementKind::Wait => "moveJobFromActiveToWait",
        SettlementKind::WaitingChildren { .. } => "moveToWaitingChildren",
    };
    match code {
        1 => Ok(Moved::NothingToWaitFor),
        code => Err(QueueError::job(code, &*settlement.job_id, command)),
    }
}
