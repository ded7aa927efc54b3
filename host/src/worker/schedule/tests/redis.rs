//! Redis, as far as one worker sees it.

use std::collections::{BTreeMap, VecDeque};

use toril_queue::{ErrorCode, Job, Moved, QueueError, Settlement};

use super::super::super::jobs::Held;
use super::super::Call;

pub(super) type Start = (u32, String);

/// Redis, as far as one worker sees it.
#[derive(Default)]
pub(super) struct Redis {
    pub(super) wait: VecDeque<u32>,
    /// Who holds the lock.
    pub(super) active: BTreeMap<u32, String>,
    pub(super) delayed: Vec<u32>,
    pub(super) bytes: BTreeMap<u32, usize>,
    pub(super) starts: BTreeMap<u32, u32>,
    pub(super) marker: bool,
    /// How often each start was settled.
    pub(super) settled: BTreeMap<Start, u32>,
    pub(super) finished: BTreeMap<u32, u32>,
    /// A job that Redis refuses to settle, whatever becomes of it.
    pub(super) poisoned: Option<u32>,
    /// It refuses the next call that only takes jobs, after it took them.
    pub(super) refuses_fetch: bool,
    /// Jobs that another worker has.
    pub(super) elsewhere: Vec<u32>,
}

impl Redis {
    pub(super) fn produce(&mut self, id: u32, bytes: usize) {
        self.bytes.insert(id, bytes);
        self.wait.push_front(id);
        self.marker = true;
    }

    pub(super) fn settle(&mut self, settlement: &Settlement) -> Result<Moved, QueueError> {
        let id: u32 = settlement.job_id.parse().unwrap();
        let refused = |code| {
            Err(QueueError::Job {
                code,
                subject: id.to_string(),
                command: "moveToFinished",
            })
        };
        match self.active.get(&id) {
            None => return refused(ErrorCode::JobLockNotExist),
            Some(token) if **token != *settlement.token => {
                return refused(ErrorCode::JobLockMismatch);
            }
            Some(_) => {}
        }
        self.active.remove(&id);
        *self
            .settled
            .entry((id, settlement.token.to_string()))
            .or_default() += 1;
        use toril_queue::SettlementKind as Kind;
        match &settlement.kind {
            Kind::Completed { .. } | Kind::Failed { .. } => {
                *self.finished.entry(id).or_default() += 1;
            }
            Kind::Retry { .. } | Kind::Wait | Kind::GiveBack { delay_ms: None } => {
                self.wait.push_back(id);
                self.marker = true;
            }
            Kind::Delayed { .. } | Kind::GiveBack { delay_ms: Some(_) } => self.delayed.push(id),
            Kind::WaitingChildren { .. } => unreachable!("only guests do that"),
        }
        Ok(Moved::Yes)
    }

    pub(super) fn fetch(&mut self, call: &Call) -> (Vec<Job>, bool) {
        let token = token(call.number);
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while jobs.len() < call.want && (jobs.is_empty() || bytes < call.bytes_max) {
            let Some(id) = self.wait.pop_back() else {
                return (jobs, false);
            };
            bytes += self.bytes[&id];
            self.active.insert(id, token.clone());
            *self.starts.entry(id).or_default() += 1;
            jobs.push(self.job(id, &token));
        }
        let more = jobs.len() < call.want && !self.wait.is_empty();
        (jobs, more)
    }

    pub(super) fn job(&self, id: u32, token: &str) -> Job {
        Job {
            id: id.to_string().into(),
            token: token.into(),
            data: " ".repeat(self.bytes[&id]),
            opts_json: String::new(),
            attempts_started: self.starts[&id],
            options: toril_queue::JobOptions::parse(r#"{"attempts":3,"backoff":5}"#),
            ..Job::lone("any", "")
        }
    }
}

pub(super) fn token(number: u64) -> String {
    format!("worker:{number}")
}

pub(super) fn start_of(held: &Held) -> Start {
    (held.job.id.parse().unwrap(), held.job.token.to_string())
}

pub(super) fn unreachable_redis() -> QueueError {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    QueueError::from(redis::RedisError::from(refused))
}
