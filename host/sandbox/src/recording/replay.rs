//! Runs a recorded attempt again: answers as they were recorded, as long as the guest asks for the same.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;

use super::recorder::{body_digest, sent};
use super::{RecordedResponse, Recording};
use crate::backend::{Given, HttpAnswer, HttpAnswers, Told, Watch};
use crate::cancel::{Cancel, Stop};
use crate::policy::{Policy, Redactor};

/// A recording that runs again, once.
pub struct Replay {
    recording: Recording,
    redactor: Option<Arc<Redactor>>,
    cancel: Arc<Cancel>,
    /// After it departed, it goes on in a dry run.
    goes_on: bool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    calls: Vec<String>,
    requests: usize,
    wall: usize,
    monotonic: usize,
    times: usize,
    polls: usize,
    stops_asked: u64,
    reasons_asked: u64,
    departure: Option<Departure>,
    /// How many calls were made before.
    departed_after: usize,
    /// The recording has no answer to the last call: the attempt was ended in it.
    is_at_end: bool,
}

/// Where a replay does something else than the recorded attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// It makes another call.
    Call {
        /// How many calls were the same.
        after: usize,
        /// What was called.
        recorded: Option<String>,
        /// What is called now.
        now: String,
    },
    /// It sends another request.
    Request {
        /// How many requests were the same.
        after: usize,
        /// What was sent.
        recorded: Option<String>,
        /// What is sent now.
        now: String,
    },
    /// It does what no recording can hold.
    Unrecorded(&'static str),
    /// The recorded attempt learned more than its recording holds.
    Cut,
}

impl Departure {
    /// True where all that was recorded was done, and this is new.
    pub fn is_beyond_the_end(&self) -> bool {
        let (Departure::Call { recorded, .. } | Departure::Request { recorded, .. }) = self else {
            return false;
        };
        recorded.is_none()
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, after, recorded, now) = match self {
            Departure::Call {
                after,
                recorded,
                now,
            } => ("call", after, recorded, now),
            Departure::Request {
                after,
                recorded,
                now,
            } => ("request", after, recorded, now),
            Departure::Unrecorded(what) => return write!(f, "{what} cannot be recorded"),
            Departure::Cut => {
                return f.write_str("the recording ends here: it has reached its limit of bytes");
            }
        };
        let number = after + 1;
        match recorded {
            Some(recorded) if recorded == now => {
                write!(
                    f,
                    "{what} {number} has other arguments, beyond those shown: {now}"
                )
            }
            Some(recorded) => {
                write!(
                    f,
                    "{what} {number} is a different one\n  recorded: {recorded}\n  now:      {now}"
                )
            }
            None => write!(f, "{what} {number} is new: {now}"),
        }
    }
}

impl Replay {
    /// Runs a recording again under a policy. `cancel` is that of the attempt.
    pub fn new(
        recording: Recording,
        policy: &Policy,
        cancel: Arc<Cancel>,
        goes_on: bool,
    ) -> Arc<Self> {
        Arc::new(Replay {
            recording,
            redactor: policy.grants.secrets.redactor().cloned(),
            cancel,
            goes_on,
            progress: Mutex::default(),
        })
    }

    /// The recording.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The calls that were made, as people read them.
    pub fn calls(&self) -> Vec<String> {
        self.progress.lock().calls.clone()
    }

    /// Where it did something else, if it did, and after how many calls.
    pub fn departure(&self) -> Option<(Departure, usize)> {
        let progress = self.progress.lock();
        Some((progress.departure.clone()?, progress.departed_after))
    }

    /// True once it goes on in a dry run.
    pub(crate) fn is_dry(&self) -> bool {
        self.goes_on && self.progress.lock().departure.is_some()
    }

    /// True if it came to where the recorded attempt was ended while it waited.
    pub fn is_at_end(&self) -> bool {
        self.progress.lock().is_at_end
    }

    /// The first call or request that the recorded attempt made and this one did not, after it has ended.
    pub fn missing(&self) -> Option<String> {
        let (progress, learned) = (self.progress.lock(), &self.recording.learned);
        let call = learned.calls.get(progress.calls.len());
        let request = learned.requests.get(progress.requests);
        call.map(|call| call.call.clone())
            .or_else(|| request.map(|request| request.request.clone()))
    }

    pub(super) fn seed(&self) -> [u8; 32] {
        self.recording.seed
    }

    pub(super) fn depart(&self, departure: Departure) {
        let can_go_on = matches!(
            departure,
            Departure::Call { .. } | Departure::Request { .. }
        );
        let mut progress = self.progress.lock();
        if progress.departure.is_none() {
            // The call that departs is among them already.
            let is_call = matches!(departure, Departure::Call { .. });
            progress.departed_after = progress.calls.len() - usize::from(is_call);
            progress.departure = Some(departure);
        }
        drop(progress);
        if !(self.goes_on && can_go_on) {
            // The guest waits in the call; this ends it.
            self.cancel.stop(Stop::Shutdown);
        }
    }

    /// Departs, unless the recorded attempt was stopped before it could do the same.
    fn depart_with(&self, is_new: bool, departure: Departure) {
        let learned = &self.recording.learned;
        match is_new {
            true if learned.is_stopped => self.end(),
            true if learned.is_cut => self.depart(Departure::Cut),
            _ => self.depart(departure),
        }
    }

    fn end(&self) {
        self.progress.lock().is_at_end = true;
        self.cancel.stop(Stop::Shutdown);
    }

    /// Answers for which there is no recording any more: time goes on a little.
    fn reading(readings: &[u64], at: &mut usize) -> u64 {
        let reading = readings.get(*at).copied().unwrap_or_else(|| {
            let last = readings.last().copied().unwrap_or(0);
            last.saturating_add(1_000 * (*at + 1 - readings.len()) as u64)
        });
        *at += 1;
        reading
    }

    pub(super) fn wall(&self) -> u64 {
        let readings = match &self.recording.learned.wall[..] {
            [] => &[self.recording.job.processed_on.saturating_mul(1_000_000)][..],
            readings => readings,
        };
        Self::reading(readings, &mut self.progress.lock().wall)
    }

    pub(super) fn monotonic(&self) -> u64 {
        let readings = &self.recording.learned.monotonic;
        Self::reading(readings, &mut self.progress.lock().monotonic)
    }

    /// What the next poll finds ready. None: nobody knows, since the recorded attempt did not poll again.
    pub(crate) async fn poll(&self) -> Option<Vec<u32>> {
        let learned = &self.recording.learned;
        let at = {
            let mut progress = self.progress.lock();
            progress.polls += 1;
            progress.polls - 1
        };
        if at == learned.polls.len() && learned.ends_in_poll {
            self.end();
            std::future::pending::<()>().await;
        }
        learned.polls.get(at).cloned()
    }

    pub(super) fn stops(&self) -> bool {
        let mut progress = self.progress.lock();
        progress.stops_asked += 1;
        let after = self.recording.learned.stop_after;
        after.is_some_and(|after| progress.stops_asked > after)
    }

    pub(super) fn stop_reason(&self) -> Option<String> {
        let mut progress = self.progress.lock();
        progress.reasons_asked += 1;
        let (after, reason) = self.recording.learned.reason_after.clone()?;
        (progress.reasons_asked > after).then_some(reason)
    }

    /// The answer to the call that was just made. Where it departed, or where the attempt was ended, there is none, and the
    /// guest is ended; none is returned where it goes on in a dry run.
    pub(crate) async fn next<T: Given>(&self) -> Option<T> {
        if self.is_dry() {
            return None;
        }
        let answer = {
            let progress = self.progress.lock();
            let at = progress.calls.len().checked_sub(1);
            let call = at.and_then(|at| self.recording.learned.calls.get(at));
            let answer = call.and_then(|call| call.answer.as_deref());
            let is_over = progress.departure.is_some() || progress.is_at_end;
            answer
                .filter(|_| !is_over)
                .and_then(|answer| T::of_json(answer.get()))
        };
        if answer.is_none() {
            self.end();
            std::future::pending::<()>().await;
        }
        answer
    }

    /// A request begins.
    pub(crate) fn request(&self, request: &str, headers: &[u8]) {
        if self.is_dry() {
            return;
        }
        let (shown, digest) = sent(self.redactor.as_deref(), request, headers);
        let mut progress = self.progress.lock();
        let after = progress.requests;
        progress.requests += 1;
        let recorded = self.recording.learned.requests.get(after);
        if recorded.is_some_and(|recorded| recorded.digest == digest) {
            return;
        }
        drop(progress);
        self.depart_with(
            recorded.is_none(),
            Departure::Request {
                after,
                recorded: recorded.map(|recorded| recorded.request.clone()),
                now: shown,
            },
        );
    }
}

impl Watch for Replay {
    fn called(&self, call: &str, rest: &[u8]) {
        let (shown, digest) = sent(self.redactor.as_deref(), call, rest);
        let mut progress = self.progress.lock();
        let after = progress.calls.len();
        if self.goes_on && progress.departure.is_some() {
            return progress.calls.push(shown);
        }
        let recorded = self.recording.learned.calls.get(after);
        // Beyond where the recorded attempt was stopped nothing counts.
        if recorded.is_some() || !self.recording.learned.is_stopped {
            progress.calls.push(shown.clone());
        }
        if recorded.is_some_and(|recorded| recorded.digest == digest) {
            return;
        }
        drop(progress);
        self.depart_with(
            recorded.is_none(),
            Departure::Call {
                after,
                recorded: recorded.map(|recorded| recorded.call.clone()),
                now: shown,
            },
        );
    }

    fn answered(&self, _: &dyn Told) {}

    fn time_ms(&self, now_ms: u64) -> u64 {
        if self.is_dry() {
            return now_ms;
        }
        let mut progress = self.progress.lock();
        progress.times += 1;
        let times = &self.recording.learned.times;
        let time = times.get(progress.times - 1).or(times.last());
        time.copied().unwrap_or(self.recording.job.processed_on)
    }
}

impl HttpAnswers for Replay {
    fn answer(&self, number: usize, request: Request<Bytes>) -> HttpAnswer {
        if self.is_dry() {
            return HttpAnswer::NoServer;
        }
        let Some(recorded) = self.recording.learned.requests.get(number) else {
            return HttpAnswer::Never;
        };
        let body = body_digest(self.redactor.as_deref(), request.body());
        if let Some(digest) = &recorded.body_digest
            && *digest != body
        {
            self.depart(Departure::Request {
                after: number,
                recorded: Some(recorded.request.clone()),
                now: recorded.request.clone(),
            });
            return match self.is_dry() {
                true => HttpAnswer::NoServer,
                false => HttpAnswer::Never,
            };
        }
        match recorded.answer.clone() {
            // The guest gave up waiting, or was ended.
            None => HttpAnswer::Never,
            Some(RecordedResponse::Error(name)) => HttpAnswer::Failed(name),
            Some(RecordedResponse::Response {
                status,
                headers,
                body,
                error,
            }) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value.0);
                }
                match (response.body(Bytes::from(body.0)), error) {
                    (Ok(response), None) => HttpAnswer::Response(response),
                    (Ok(response), Some(name)) => HttpAnswer::CutOff(response, name),
                    (Err(_), _) => HttpAnswer::Never,
                }
            }
        }
    }
}
