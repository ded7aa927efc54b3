//! How a running attempt is asked to stop, and why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::deadline::Deadline;

/// Why a guest was stopped from outside. Each is an outcome of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Its time is up.
    #[error("processor exceeded its time limit of {0}")]
    Deadline(Deadline),
    /// It asked for more memory than it may have.
    #[error("processor exceeded its memory limit of {0} bytes")]
    Memory(usize),
    /// It made the host hold more for it than it may have of memory, its own included.
    #[error(
        "processor exceeded its memory limit of {0} bytes, which include what the host holds for it: headers, requests, streams, directories and values"
    )]
    MemoryOutside(usize),
    /// It asked for more memory than all guests of the host may have together.
    #[error(
        "processor needs more than the {0} bytes of memory that all guests of this host share (`runtime.memory_bytes_max`)"
    )]
    SharedMemory(usize),
    /// It asked for memory, as all other guests that hold some do, so that none of them would ever get it.
    #[error(
        "all guests wait for memory, and this one gave up what it held (`runtime.memory_bytes_max`)"
    )]
    MemoryStuck,
    /// It asked for more table elements than it may have.
    #[error("processor exceeded its limit of {0} table elements")]
    Tables(usize),
    /// It called the host more often than it may.
    #[error("processor exceeded its limit of {0} host calls")]
    HostCalls(u64),
    /// It sent or received more over its connections than it may.
    #[error("processor exceeded its limit of {0} bytes over TCP (`grants.tcp.bytes_max`)")]
    TcpBytes(u64),
    /// Its job was cancelled, with what was said about it.
    #[error("{}", cancellation(.0))]
    Cancelled(Arc<str>),
    /// Its job belongs to another worker now.
    #[error("lock of the job was lost")]
    LockLost,
    /// The host shuts down and gives the job back.
    #[error("host is shutting down")]
    Shutdown,
}

impl Stop {
    /// True where time or somebody else decided when: another time it comes elsewhere, or not at all.
    pub(crate) fn is_from_outside(&self) -> bool {
        match self {
            Stop::Memory(_)
            | Stop::MemoryOutside(_)
            | Stop::Tables(_)
            | Stop::HostCalls(_)
            | Stop::TcpBytes(_) => false,
            Stop::Deadline(_)
            | Stop::SharedMemory(_)
            | Stop::MemoryStuck
            | Stop::Cancelled(_)
            | Stop::LockLost
            | Stop::Shutdown => true,
        }
    }
}

/// The `failedReason` of a job that was cancelled; `said` may be empty.
pub fn cancellation(said: &str) -> String {
    match said {
        "" => "job was cancelled".to_owned(),
        said => format!("job was cancelled: {said}"),
    }
}

/// Asks one running job to stop. Shared by the attempt and by all that can stop it: the worker, the renewal, the API.
#[derive(Debug, Default)]
pub struct Cancel {
    /// The first to ask decides.
    first: OnceLock<(Stop, Instant)>,
    asked: Notify,
    at_step: AtomicBool,
}

impl Cancel {
    /// Asks the job to stop.
    pub fn stop(&self, reason: Stop) {
        self.first.get_or_init(|| (reason, Instant::now()));
        self.asked.notify_waiters();
        self.asked.notify_one();
    }

    /// Gives the job back where it reaches a boundary between two steps. One without steps goes on.
    pub fn give_back_at_step(&self) {
        self.at_step.store(true, Ordering::Relaxed);
    }

    /// True where it is to be given back at a boundary. One that was asked to stop ends as it was asked to.
    pub fn gives_back_at_step(&self) -> bool {
        self.at_step.load(Ordering::Relaxed) && self.reason().is_none()
    }

    /// Why it should stop, if it should.
    pub fn reason(&self) -> Option<&Stop> {
        self.first.get().map(|(reason, _)| reason)
    }

    /// Why it must stop now: it was asked, and its time to leave by itself is over. A host that shuts down
    /// has given its time already.
    pub fn overdue(&self, grace: Duration) -> Option<&Stop> {
        let (reason, since) = self.first.get()?;
        (since.elapsed() >= grace || *reason == Stop::Shutdown).then_some(reason)
    }

    /// Waits until it must stop.
    pub async fn must_stop(&self, grace: Duration) -> Stop {
        let reason = self.asked().await;
        if reason != Stop::Shutdown {
            tokio::time::sleep(grace).await;
        }
        reason
    }

    async fn asked(&self) -> Stop {
        loop {
            let asked = self.asked.notified();
            if let Some(reason) = self.reason() {
                return reason.clone();
            }
            asked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn first_reason_to_stop_decides() {
        let cancel = Cancel::default();
        assert_eq!(cancel.reason(), None);
        cancel.stop(Stop::LockLost);
        cancel.stop(Stop::Cancelled("late".into()));
        assert_eq!(cancel.must_stop(Duration::ZERO).await, Stop::LockLost);
        assert_eq!(cancel.overdue(Duration::from_secs(3600)), None);
        assert_eq!(cancel.overdue(Duration::ZERO), Some(&Stop::LockLost));
    }

    #[test]
    fn cancellation_says_what_was_said() {
        assert_eq!(Stop::Cancelled("".into()).to_string(), "job was cancelled");
        let said = Stop::Cancelled("wrong customer".into()).to_string();
        assert_eq!(said, "job was cancelled: wrong customer");
    }
}
