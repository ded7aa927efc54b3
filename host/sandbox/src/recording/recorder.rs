//! Keeps what an attempt learns, while it runs.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    Bytes, FORMAT, Learned, RecordedCall, RecordedJob, RecordedRequest, RecordedResponse,
    Recording, error_name,
};
use crate::backend::{Told, Watch};
use crate::outcome::Outcome;
use crate::policy::{Policy, Redactor};

/// The longest text of a call, in bytes; its digest is of all of it.
const CALL_BYTES_MAX: usize = 300;
/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 64;

/// Records one attempt, as far as its memory reaches.
pub struct Recorder {
    /// Made when the guest first asks for anything of WASI: many never do.
    seed: OnceLock<[u8; 32]>,
    bytes_max: usize,
    /// Calls are kept without secrets, so that stand-ins for these make no other call of it.
    redactor: Option<Arc<Redactor>>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    learned: Learned,
    bytes: usize,
    stops_asked: u64,
    reasons_asked: u64,
}

impl Notes {
    /// Takes memory for something, if there is any.
    fn take(&mut self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes += bytes;
        self.learned.is_cut |= self.bytes > bytes_max;
        !self.learned.is_cut
    }
}

/// How an attempt ended, for its recording.
pub struct AttemptEnd {
    /// When, in ms since the epoch.
    pub at_ms: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// The sum of its memories, in bytes.
    pub memory_bytes: u64,
    /// It was stopped from outside.
    pub is_stopped: bool,
}

impl Recorder {
    /// Records an attempt under a policy.
    pub fn new(policy: &Policy) -> Self {
        Recorder {
            seed: OnceLock::new(),
            bytes_max: policy.record.attempt_bytes_max,
            redactor: policy.grants.secrets.redactor().cloned(),
            notes: Mutex::default(),
        }
    }

    /// The recording of the attempt, which is over, without the secrets.
    pub fn finish(
        &self,
        component: &str,
        job: RecordedJob,
        policy: &Policy,
        end: AttemptEnd,
    ) -> Recording {
        let mut grants = (*policy.grants).clone();
        grants.env.values_mut().for_each(String::clear);
        let mut learned = std::mem::take(&mut self.notes.lock().learned);
        learned.is_stopped = end.is_stopped;
        let mut recording = Recording {
            format: FORMAT,
            at_ms: end.at_ms,
            component: component.to_owned(),
            job,
            limits: policy.limits.clone(),
            secrets: grants.secrets.lengths(),
            grants,
            seed: self.seed.get().copied().unwrap_or_default(),
            learned,
            outcome: end.outcome,
            cpu_us: end.cpu_us,
            memory_bytes: end.memory_bytes,
        };
        if let Some(redactor) = &self.redactor {
            recording.redact(redactor);
        }
        recording
    }

    /// The seed of the random numbers; none where the system has none.
    pub(super) fn seed(&self) -> Option<[u8; 32]> {
        if let Some(seed) = self.seed.get() {
            return Some(*seed);
        }
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            self.cannot_hold("random numbers");
            return None;
        }
        Some(*self.seed.get_or_init(|| seed))
    }

    fn note(&self, bytes: usize, write: impl FnOnce(&mut Learned)) {
        let mut notes = self.notes.lock();
        if notes.take(bytes, self.bytes_max) {
            write(&mut notes.learned);
        }
    }

    pub(super) fn wall(&self, now_ns: u64) {
        self.note(8, |learned| learned.wall.push(now_ns));
    }

    pub(super) fn monotonic(&self, now_ns: u64) {
        self.note(8, |learned| learned.monotonic.push(now_ns));
    }

    pub(crate) fn poll_begins(&self) {
        self.notes.lock().learned.ends_in_poll = true;
    }

    pub(crate) fn poll_found(&self, ready: &[u32]) {
        let bytes = 24 + 4 * ready.len();
        self.note(bytes, |learned| {
            learned.ends_in_poll = false;
            learned.polls.push(ready.to_vec());
        });
    }

    pub(super) fn stops(&self, now: bool) -> bool {
        let mut notes = self.notes.lock();
        if now && notes.learned.stop_after.is_none() {
            notes.learned.stop_after = Some(notes.stops_asked);
        }
        notes.stops_asked += 1;
        now
    }

    pub(super) fn stop_reason(&self, now: Option<String>) -> Option<String> {
        let mut notes = self.notes.lock();
        if let Some(reason) = &now
            && notes.learned.reason_after.is_none()
        {
            notes.learned.reason_after = Some((notes.reasons_asked, reason.clone()));
        }
        notes.reasons_asked += 1;
        now
    }

    pub(super) fn cannot_hold(&self, what: &str) {
        let mut notes = self.notes.lock();
        let unrecorded = &mut notes.learned.unrecorded;
        if !unrecorded.iter().any(|known| known == what) {
            unrecorded.push(what.to_owned());
        }
    }

    pub(super) fn sent(&self, call: &str, rest: &[u8]) -> (String, String) {
        sent(self.redactor.as_deref(), call, rest)
    }

    pub(crate) fn redactor(&self) -> Option<&Redactor> {
        self.redactor.as_deref()
    }

    /// Takes memory for a part of a body that is compared as a whole; false if there is none.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        self.notes.lock().take(bytes, self.bytes_max)
    }

    /// A call that another part of the host answers than the backend.
    pub(crate) fn call(&self, call: &str, rest: &[u8], answer: impl FnOnce() -> String) {
        self.called(call, rest);
        self.answer(&answer());
    }

    fn answer(&self, json: &str) {
        self.note(json.len(), |learned| {
            if let Some(call) = learned.calls.last_mut() {
                call.answer = RawValue::from_string(json.to_owned()).ok();
            }
        });
    }

    /// A request begins. Its number is for what is noted of it later.
    pub(crate) fn request(&self, request: &str, headers: &[u8]) -> usize {
        let (request, digest) = self.sent(request, headers);
        let bytes = ENTRY_BYTES + request.len() + digest.len();
        self.note(bytes, |learned| {
            learned.requests.push(RecordedRequest {
                request,
                digest,
                body_digest: None,
                answer: None,
            });
        });
        self.notes.lock().learned.requests.len().saturating_sub(1)
    }

    fn with_request(&self, number: usize, bytes: usize, write: impl FnOnce(&mut RecordedRequest)) {
        self.note(bytes, |learned| {
            if let Some(request) = learned.requests.get_mut(number) {
                write(request);
            }
        });
    }

    /// The body of a request was sent.
    pub(crate) fn request_body(&self, number: usize, body: &[u8]) {
        let digest = body_digest(self.redactor.as_deref(), body);
        self.with_request(number, digest.len(), |request| {
            request.body_digest = Some(digest);
        });
    }

    /// A response begins.
    pub(crate) fn response(&self, number: usize, status: u16, headers: Vec<(String, Bytes)>) {
        let size = |(name, value): &(String, Bytes)| name.len() + value.0.len();
        let bytes = headers.iter().map(size).sum();
        self.with_request(number, bytes, |request| {
            request.answer = Some(RecordedResponse::Response {
                status,
                headers,
                body: Bytes::default(),
                error: None,
            });
        });
    }

    /// A part of the body of a response was taken.
    pub(crate) fn response_body(&self, number: usize, part: &[u8]) {
        self.with_request(number, part.len(), |request| {
            if let Some(RecordedResponse::Response { body, .. }) = &mut request.answer {
                body.0.extend_from_slice(part);
            }
        });
    }

    /// A request failed, or the body of its response did.
    pub(crate) fn request_failed(&self, number: usize, failed: &wasmtime_wasi_http::Error) {
        let name = error_name(failed);
        self.with_request(number, name.len(), |request| match &mut request.answer {
            Some(RecordedResponse::Response { error, .. }) => *error = Some(name),
            answer => *answer = Some(RecordedResponse::Error(name)),
        });
    }
}

impl Watch for Recorder {
    fn called(&self, call: &str, rest: &[u8]) {
        let (call, digest) = self.sent(call, rest);
        let bytes = ENTRY_BYTES + call.len() + digest.len();
        self.note(bytes, |learned| {
            learned.calls.push(RecordedCall {
                call,
                digest,
                answer: None,
            });
        });
    }

    fn answered(&self, answer: &dyn Told) {
        self.answer(&answer.json());
    }

    fn time_ms(&self, now_ms: u64) -> u64 {
        self.note(8, |learned| learned.times.push(now_ms));
        now_ms
    }
}

/// What is kept of something that was sent: its beginning, and a digest of all of it, both without secrets.
pub(super) fn sent(redactor: Option<&Redactor>, text: &str, rest: &[u8]) -> (String, String) {
    let shown = match redactor {
        Some(redactor) => redactor.redact(text),
        None => text.into(),
    };
    let mut hash = Sha256::new();
    hash.update(shown.as_bytes());
    if !rest.is_empty() {
        hash.update(body_digest(redactor, rest));
    }
    let cut = shown.floor_char_boundary(CALL_BYTES_MAX);
    (shown[..cut].to_owned(), short(hash))
}

/// The digest of bytes, without secrets.
pub(super) fn body_digest(redactor: Option<&Redactor>, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    match redactor {
        None => hash.update(bytes),
        Some(redactor) => {
            let text = String::from_utf8_lossy(bytes);
            hash.update(redactor.redact(&text).as_bytes());
        }
    }
    short(hash)
}

/// As much of a digest as tells two things apart.
fn short(hash: Sha256) -> String {
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
