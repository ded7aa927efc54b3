//! What belongs to one attempt alone. An instance that is used again begins the next one with all of it new, so that
//! nothing of one job is left to the next.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::notes::Notes;
use super::sockets::Sockets;
use crate::backend::JobBackend;
use crate::cancel::{Cancel, Stop};
use crate::deadline::Deadline;
use crate::limits::Limits;
use crate::outcome::MovedTo;
use crate::recording::Tape;
use crate::steps::Steps;

/// One attempt of a job, and all that belongs to it.
pub struct AttemptInput {
    /// The job, and where its changes go.
    pub backend: Box<dyn JobBackend>,
    /// Asks it to stop.
    pub cancel: Arc<Cancel>,
    /// What the jobs that it adds carry, to belong to the same trace.
    pub trace: Option<String>,
    /// Records what it learns, or answers as was recorded.
    pub tape: Tape,
}

impl AttemptInput {
    /// One that nobody stops, traces or records.
    pub fn new(backend: Box<dyn JobBackend>) -> Self {
        AttemptInput {
            backend,
            cancel: Arc::default(),
            trace: None,
            tape: Tape::None,
        }
    }
}

/// An attempt while it runs.
pub(crate) struct CurrentAttempt {
    pub(crate) backend: Box<dyn JobBackend>,
    /// Data and progress as the guest last wrote them.
    pub(super) data: Option<String>,
    pub(super) progress: Option<String>,
    pub(crate) moved: Option<MovedTo>,
    /// Unknown until the guest begins one.
    pub(super) steps: Option<Box<Steps>>,
    /// What the guest said before it trapped.
    pub(crate) last_words: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) tape: Tape,
    pub(super) cancel: Arc<Cancel>,
    cancel_grace: Duration,
    /// How long it may take.
    pub(crate) deadline: Deadline,
    pub(super) ends: Instant,
    pub(crate) sockets: Sockets,
    /// Made for the first line: most guests are never refused anything.
    pub(super) notes: OnceLock<Notes>,
}

impl CurrentAttempt {
    /// Begins now.
    pub(super) fn begin(input: AttemptInput, limits: &Limits) -> Self {
        let job = input.backend.job();
        let deadline = limits.deadline_of(job.name, job.timeout_ms);
        CurrentAttempt {
            backend: input.backend,
            data: None,
            progress: None,
            moved: None,
            steps: None,
            last_words: None,
            trace: input.trace,
            tape: input.tape,
            cancel: input.cancel,
            cancel_grace: Duration::from_millis(limits.cancel_grace_ms),
            ends: Instant::now() + deadline.duration(),
            deadline,
            sockets: Sockets::default(),
            notes: OnceLock::new(),
        }
    }

    /// Why the guest must stop now, if it must. Asked at every epoch.
    pub(crate) fn must_stop(&self) -> Option<Stop> {
        let late = || Instant::now() >= self.ends;
        self.cancel
            .overdue(self.cancel_grace)
            .cloned()
            .or_else(|| late().then(|| Stop::Deadline(self.deadline.clone())))
    }

    /// True once the guest should come to an end by itself: it was asked to, or little of its time is left.
    pub(super) fn should_stop(&self) -> bool {
        let tenth = self.deadline.duration() / 10;
        let near = Instant::now() + tenth.min(self.cancel_grace) >= self.ends;
        near || self.cancel.reason().is_some()
    }

    /// The reason for which the guest was asked to stop, if it was.
    pub(super) fn cancel_reason(&self) -> Option<String> {
        match self.cancel.reason()? {
            Stop::Cancelled(said) if !said.is_empty() => Some(said.to_string()),
            stop => Some(stop.to_string()),
        }
    }
}
