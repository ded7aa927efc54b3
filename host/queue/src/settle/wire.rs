//! The wire format of `lua/settle.lua`, both ways; its header has the table.

use std::sync::Arc;

use redis::Cmd;
use toril_options::KeepJobs;

use super::{FailedAttempt, Moved, Settled, Settlement, SettlementKind};
use crate::error::QueueError;
use crate::job::Job;
use crate::redis::reader::Reader;
use crate::redis::text::text;

/// A settlement in the words of `lua/settle.lua`.
struct WireEntry<'a> {
    kind: &'static str,
    option: String,
    made: Option<u32>,
    value: &'a str,
    /// All but jobs that completed have one.
    stack: Option<&'a str>,
    settlement: &'a Settlement,
}

impl<'a> WireEntry<'a> {
    fn new(settlement: &'a Settlement) -> Self {
        let entry = |kind, option| WireEntry {
            kind,
            option,
            made: None,
            value: "",
            stack: Some(""),
            settlement,
        };
        let failed = |kind, option, attempt: &'a FailedAttempt| WireEntry {
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
            } => WireEntry {
                made: Some(*attempts_made),
                value,
                stack: None,
                ..entry("completed", keep_rule(keep))
            },
            SettlementKind::Failed {
                attempt,
                attempts,
                keep,
            } => match f64::from(attempt.made) >= *attempts {
                true => failed("exhausted", keep_rule(keep), attempt),
                false => failed("failed", keep_rule(keep), attempt),
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
            SettlementKind::GiveBack { delay_ms } => entry("give-back", optional(*delay_ms)),
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
pub(super) fn push_settlements(call: &mut Cmd, settlements: &[Settlement]) {
    let all_plain = settlements.iter().all(|job| job.plain_fields.is_some());
    call.arg(settlements.len()).arg(u8::from(all_plain));
    for settlement in settlements {
        call.arg(&*settlement.job_id);
    }
    let entries: Vec<WireEntry<'_>> = settlements.iter().map(WireEntry::new).collect();
    for group in entries.chunk_by(WireEntry::belongs_with) {
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
pub(crate) fn keep_rule(keep: &KeepJobs) -> String {
    let count = keep.count.filter(|count| *count >= 0);
    if count.is_none() && keep.age_s.is_none() {
        return String::new();
    }
    [optional(count), optional(keep.age_s), optional(keep.limit)].join(",")
}

pub(super) fn optional(value: Option<impl ToString>) -> String {
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

pub(crate) fn read_settled(
    reply: &[u8],
    settlements: &[Settlement],
    token: &Arc<str>,
) -> Option<Settled> {
    let reader = &mut Reader(reply);
    if reader.array()? != 7 {
        return None;
    }
    Some(Settled {
        at_ms: 0,
        results: read_results(reader, settlements)?,
        jobs: read_jobs(reader, token)?,
        limited_ms: reader.int()?,
        next_delayed_ms: u64::try_from(reader.int::<i64>()?)
            .ok()
            .filter(|due| *due > 0),
        more: reader.int::<i64>()? != 0,
        jobless: reader.int()?,
        jobless_ids: read_ids(reader)?,
    })
}

fn read_ids(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let count = reader.array()?;
    let id = |_| Some(text(reader.bytes()?));
    (0..count).map(id).collect()
}

/// Reads ids and hashes in turn.
pub(crate) fn read_jobs(reader: &mut Reader<'_>, token: &Arc<str>) -> Option<Vec<Job>> {
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
    match code {
        1 => Ok(Moved::NothingToWaitFor),
        code => Err(QueueError::job(
            code,
            &*settlement.job_id,
            settlement.kind.command(),
        )),
    }
}
