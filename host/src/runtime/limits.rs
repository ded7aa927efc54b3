//! What a running guest may use, and how it is stopped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use wasmtime::ResourceLimiter;

/// What one attempt of a job may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall time of the guest and its host calls, in ms.
    pub deadline_ms: u64,
    /// The sum of its linear memories, in bytes.
    pub memory_bytes_max: usize,
    /// The sum of the elements of its tables.
    pub table_elements_max: usize,
    /// Core instances that its component is made of.
    pub instances_max: usize,
    /// Lines to the host's log, from calls and from stdout and stderr; further ones are dropped.
    pub log_lines_max: u32,
    /// Bytes of these lines, and of lines to the job's own log.
    pub log_bytes_max: u64,
    /// Updates of its job's progress.
    pub progress_updates_max: u64,
    /// Jobs that it adds, those of flows included.
    pub jobs_added_max: u64,
    /// Calls to the host of any kind, WASI included.
    pub host_calls_max: u64,
    /// How long it may go on once it was cancelled or lost its lock, in ms: time for `is-cancelled` to be asked.
    pub cancel_grace_ms: u64,
    /// Size of a value returned, of data or progress written, and of a line of the job's log, in bytes.
    pub value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            deadline_ms: 300_000,
            memory_bytes_max: 128 << 20,
            table_elements_max: 20_000,
            instances_max: 20,
            log_lines_max: 1_000,
            log_bytes_max: 1 << 20,
            progress_updates_max: 10_000,
            jobs_added_max: 10_000,
            host_calls_max: 10_000_000,
            cancel_grace_ms: 500,
            value_bytes_max: 8 << 20,
        }
    }
}

/// Why a guest was stopped from outside. Each is an outcome of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Its time is up.
    #[error("processor exceeded its time limit of {0} ms")]
    Deadline(u64),
    /// It asked for more memory than it may have.
    #[error("processor exceeded its memory limit of {0} bytes")]
    Memory(usize),
    /// It asked for more table elements than it may have.
    #[error("processor exceeded its limit of {0} table elements")]
    Tables(usize),
    /// It called the host more often than it may.
    #[error("processor exceeded its limit of {0} host calls")]
    HostCalls(u64),
    /// Its job was cancelled.
    #[error("job was cancelled")]
    Cancelled,
    /// Its job belongs to another worker now.
    #[error("lock of the job was lost")]
    LockLost,
    /// The host shuts down and gives the job back.
    #[error("host is shutting down")]
    Shutdown,
}

/// Asks one running job to stop. Shared by whoever may ask and by the execution.
#[derive(Debug, Default)]
pub struct Cancel {
    /// 0, or the reason's number. The first to ask decides.
    reason: AtomicU8,
    since: OnceLock<Instant>,
    asked: Notify,
}

impl Cancel {
    /// Asks the job to stop.
    pub fn stop(&self, reason: Stop) {
        let number = match reason {
            Stop::LockLost => 1,
            Stop::Shutdown => 2,
            _ => 3,
        };
        self.since.get_or_init(Instant::now);
        let _ = self
            .reason
            .compare_exchange(0, number, Ordering::Release, Ordering::Relaxed);
        self.asked.notify_waiters();
        self.asked.notify_one();
    }

    /// Why it should stop, if it should.
    pub fn reason(&self) -> Option<Stop> {
        match self.reason.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::LockLost),
            2 => Some(Stop::Shutdown),
            _ => Some(Stop::Cancelled),
        }
    }

    /// Why it must stop now: it was asked, and its time to leave by itself is over. A host that shuts down
    /// has given its time already.
    pub fn overdue(&self, grace: Duration) -> Option<Stop> {
        let reason = self.reason()?;
        let over = self
            .since
            .get()
            .is_none_or(|since| since.elapsed() >= grace);
        (over || reason == Stop::Shutdown).then_some(reason)
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
                return reason;
            }
            asked.await;
        }
    }
}

/// Counts what one store uses against its limits.
#[derive(Debug)]
pub struct Quota {
    memory_bytes_max: usize,
    memory_bytes: usize,
    table_elements_max: usize,
    table_elements: usize,
    instances_max: usize,
    host_calls: Count,
    progress_updates: Count,
    jobs_added: Count,
}

/// How much of something is left.
#[derive(Debug, Clone, Copy)]
struct Count {
    left: u64,
    max: u64,
}

impl Count {
    fn new(max: u64) -> Self {
        Count { left: max, max }
    }

    /// Takes some, or returns the limit that it would exceed.
    fn take(&mut self, count: u64) -> Result<(), u64> {
        self.left = self.left.checked_sub(count).ok_or(self.max)?;
        Ok(())
    }
}

impl Quota {
    pub(crate) fn new(limits: &Limits) -> Self {
        Quota {
            memory_bytes_max: limits.memory_bytes_max,
            memory_bytes: 0,
            table_elements_max: limits.table_elements_max,
            table_elements: 0,
            instances_max: limits.instances_max,
            host_calls: Count::new(limits.host_calls_max),
            progress_updates: Count::new(limits.progress_updates_max),
            jobs_added: Count::new(limits.jobs_added_max),
        }
    }

    /// Begins the next attempt in the same instance: what it holds stays counted, what it did does not.
    pub(crate) fn renew(&mut self) {
        for count in [
            &mut self.host_calls,
            &mut self.progress_updates,
            &mut self.jobs_added,
        ] {
            count.left = count.max;
        }
    }

    /// Counts a call to the host.
    pub(crate) fn host_call(&mut self) -> Result<(), Stop> {
        self.host_calls.take(1).map_err(Stop::HostCalls)
    }

    /// Counts an update of the progress; the error is for the guest.
    pub(crate) fn progress_update(&mut self) -> Result<(), String> {
        let result = self.progress_updates.take(1);
        result.map_err(|max| format!("processor exceeded its limit of {max} progress updates"))
    }

    /// Counts jobs that are about to be added; the error is for the guest.
    pub(crate) fn add_jobs(&mut self, count: usize) -> Result<(), String> {
        let result = self.jobs_added.take(count as u64);
        result.map_err(|max| format!("processor exceeded its limit of {max} added jobs"))
    }
}

// An error, not a refusal: a refused guest aborts with a message of its own making.
impl ResourceLimiter for Quota {
    fn instances(&self) -> usize {
        self.instances_max
    }

    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.memory_bytes = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        if self.memory_bytes > self.memory_bytes_max {
            return Err(wasmtime::Error::new(Stop::Memory(self.memory_bytes_max)));
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.table_elements = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if self.table_elements > self.table_elements_max {
            return Err(wasmtime::Error::new(Stop::Tables(self.table_elements_max)));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_of_one_store_are_summed() {
        let mut quota = Quota::new(&Limits {
            memory_bytes_max: 100,
            ..Limits::default()
        });
        assert!(quota.memory_growing(0, 60, None).unwrap());
        let error = quota.memory_growing(0, 60, None).unwrap_err();
        assert_eq!(error.downcast_ref::<Stop>(), Some(&Stop::Memory(100)));
    }

    #[tokio::test]
    async fn first_reason_to_stop_decides() {
        let cancel = Cancel::default();
        assert_eq!(cancel.reason(), None);
        cancel.stop(Stop::LockLost);
        cancel.stop(Stop::Cancelled);
        assert_eq!(cancel.must_stop(Duration::ZERO).await, Stop::LockLost);
        assert_eq!(cancel.overdue(Duration::from_secs(3600)), None);
        assert_eq!(cancel.overdue(Duration::ZERO), Some(Stop::LockLost));
    }

    #[test]
    fn counts_begin_anew_with_the_next_attempt_and_memory_does_not() {
        let mut quota = Quota::new(&Limits {
            memory_bytes_max: 100,
            jobs_added_max: 3,
            host_calls_max: 1,
            ..Limits::default()
        });
        quota.memory_growing(0, 60, None).unwrap();
        quota.add_jobs(2).unwrap();
        let error = quota.add_jobs(2).unwrap_err();
        assert_eq!(error, "processor exceeded its limit of 3 added jobs");
        quota.host_call().unwrap();
        assert_eq!(quota.host_call(), Err(Stop::HostCalls(1)));
        quota.renew();
        quota.add_jobs(3).unwrap();
        quota.host_call().unwrap();
        assert!(quota.memory_growing(60, 110, None).is_err());
    }
}
