//! The flight recorder: all that one attempt learned from outside, kept in memory while it runs, and run again later.
//!
//! A guest learns nothing but what it imports: the answers of its calls, clocks, random numbers, responses. With the same
//! answers the same component does the same again. A recording has these answers, and of what the guest sent only as much
//! as tells whether it sends the same again.

mod clocks;
mod codec;
mod http_errors;
mod recorder;
mod redact;
mod replay;
mod replayed;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::{JobBackend, JobView};
use crate::limits::Limits;
use crate::outcome::Outcome;
use crate::policy::Grants;

pub(crate) use clocks::{TapedMonotonic, TapedRandom, TapedWall};
pub use codec::Unreadable;
pub(crate) use codec::optional_bytes;
pub(crate) use http_errors::{error_code, error_name, error_of_name};
pub use recorder::{AttemptEnd, Recorder};
pub use replay::{Departure, Replay};
pub(crate) use replayed::Replayed;
pub use run::Rerun;

/// The version of the format. One that a host does not know, it does not read.
pub const FORMAT: u32 = 1;

/// One attempt of a job, and all that it learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recording {
    /// [`FORMAT`].
    pub format: u32,
    /// When the attempt ended, in ms since the epoch.
    pub at_ms: u64,
    /// The digest of the component that ran.
    pub component: String,
    /// The job as it was taken.
    pub job: RecordedJob,
    /// What the attempt might use.
    pub limits: Limits,
    /// What it might do: environment variables have no values.
    pub grants: Grants,
    /// The names of its secrets, and how many bytes each has.
    pub secrets: BTreeMap<String, usize>,
    /// The seed of its random numbers.
    pub seed: [u8; 32],
    /// What it learned.
    pub learned: Learned,
    /// What came of it.
    pub outcome: Outcome,
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// The sum of its memories, in bytes.
    pub memory_bytes: u64,
}

/// What an attempt learned, each kind in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Learned {
    /// Calls of the host.
    pub calls: Vec<RecordedCall>,
    /// Requests over HTTP.
    pub requests: Vec<RecordedRequest>,
    /// Readings of the wall clock, in ns since the epoch.
    pub wall: Vec<u64>,
    /// Readings of the monotonic clock, in ns.
    pub monotonic: Vec<u64>,
    /// The times by which sleeps were reckoned, in ms since the epoch.
    pub times: Vec<u64>,
    /// What each poll found ready.
    pub polls: Vec<Vec<u32>>,
    /// It was ended in one that found nothing.
    pub ends_in_poll: bool,
    /// After how many questions it was told to stop.
    pub stop_after: Option<u64>,
    /// After how many questions it was told why, and what.
    pub reason_after: Option<(u64, String)>,
    /// What it did that a recording cannot hold.
    pub unrecorded: Vec<String>,
    /// It was stopped from outside: by its deadline, or by somebody.
    pub is_stopped: bool,
    /// It learned more than a recording may hold: this is its beginning.
    pub is_cut: bool,
}

/// A call, and what it was answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedCall {
    /// As people read it; long ones are cut.
    pub call: String,
    /// Of all that was sent.
    pub digest: String,
    /// JSON. None: the attempt ended before, or there is nothing to answer.
    pub answer: Option<Box<RawValue>>,
}

/// A request, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// Method and URL; long ones are cut.
    pub request: String,
    /// Of method, URL and headers.
    pub digest: String,
    /// Of the body, once it was sent.
    pub body_digest: Option<String>,
    /// What came of it; none: the attempt ended before.
    pub answer: Option<RecordedResponse>,
}

/// What came of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedResponse {
    /// A response.
    Response {
        /// The status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, Bytes)>,
        /// As much as the guest took of it.
        body: Bytes,
        /// Why it ended before its time.
        error: Option<String>,
    },
    /// An error.
    Error(String),
}

/// Bytes: text, where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// A job, as it was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in `JobView`")]
pub struct RecordedJob {
    #[serde(with = "codec::shared_text")]
    pub id: Arc<str>,
    pub name: String,
    #[serde(with = "codec::shared_text")]
    pub queue: Arc<str>,
    pub prefix: String,
    pub data: String,
    pub opts: String,
    pub progress: String,
    pub attempts_made: u32,
    pub attempts_started: u32,
    pub stalled_counter: u32,
    pub timestamp: u64,
    pub delay_ms: u64,
    pub priority: u32,
    pub timeout_ms: Option<u64>,
    pub parent_key: Option<String>,
    pub parent: Option<String>,
    pub scheduler: Option<String>,
    pub deduplication_id: Option<String>,
    pub failed_reason: Option<String>,
    pub stacktrace: String,
    pub processed_on: u64,
    pub steps: Vec<(String, String)>,
    pub steps_dropped: u64,
}

impl RecordedJob {
    /// The job of an attempt.
    pub fn of(backend: &dyn JobBackend) -> Self {
        let job = backend.job();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        RecordedJob {
            id: Arc::clone(job.id),
            name: job.name.to_owned(),
            queue: Arc::clone(job.queue),
            prefix: job.prefix.to_owned(),
            data: job.data.to_owned(),
            opts: job.opts.to_owned(),
            progress: job.progress.to_owned(),
            attempts_made: job.attempts_made,
            attempts_started: job.attempts_started,
            stalled_counter: job.stalled_counter,
            timestamp: job.timestamp,
            delay_ms: job.delay_ms,
            priority: job.priority,
            timeout_ms: job.timeout_ms,
            parent_key: owned(job.parent_key),
            parent: owned(job.parent),
            scheduler: owned(job.scheduler),
            deduplication_id: owned(job.deduplication_id),
            failed_reason: owned(job.failed_reason),
            stacktrace: job.stacktrace.to_owned(),
            processed_on: job.processed_on,
            steps: backend.steps().to_vec(),
            steps_dropped: backend.steps_dropped(),
        }
    }

    pub(crate) fn view(&self) -> JobView<'_> {
        JobView {
            id: &self.id,
            name: &self.name,
            queue: &self.queue,
            prefix: &self.prefix,
            data: &self.data,
            opts: &self.opts,
            progress: &self.progress,
            attempts_made: self.attempts_made,
            attempts_started: self.attempts_started,
            stalled_counter: self.stalled_counter,
            timestamp: self.timestamp,
            delay_ms: self.delay_ms,
            priority: self.priority,
            timeout_ms: self.timeout_ms,
            parent_key: self.parent_key.as_deref(),
            parent: self.parent.as_deref(),
            scheduler: self.scheduler.as_deref(),
            deduplication_id: self.deduplication_id.as_deref(),
            failed_reason: self.failed_reason.as_deref(),
            stacktrace: &self.stacktrace,
            processed_on: self.processed_on,
        }
    }
}

/// Whether an attempt is recorded, or is a recorded one that runs again.
#[derive(Clone, Default)]
pub enum Tape {
    /// Neither.
    #[default]
    None,
    /// It is recorded.
    Record(Arc<Recorder>),
    /// It runs again.
    Replay(Arc<Replay>),
}

impl Tape {
    /// True where nothing may leave the machine.
    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Tape::Replay(_))
    }

    /// What the guest is told when it asks whether to stop.
    pub(crate) fn stops(&self, now: bool) -> bool {
        match self {
            Tape::None => now,
            Tape::Record(recorder) => recorder.stops(now),
            Tape::Replay(replay) => replay.stops(),
        }
    }

    /// What the guest is told when it asks why to stop.
    pub(crate) fn stop_reason(&self, now: Option<String>) -> Option<String> {
        match self {
            Tape::None => now,
            Tape::Record(recorder) => recorder.stop_reason(now),
            Tape::Replay(replay) => replay.stop_reason(),
        }
    }

    /// Notes what no recording can hold.
    pub(crate) fn cannot_hold(&self, what: &'static str) {
        match self {
            Tape::None => {}
            Tape::Record(recorder) => recorder.cannot_hold(what),
            Tape::Replay(replay) => replay.depart(Departure::Unrecorded(what)),
        }
    }
}
