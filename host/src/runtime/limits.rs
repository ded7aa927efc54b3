//! What a running guest may use, and how it is stopped.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Deserialize;
use tokio::sync::Notify;
use wasmtime::ResourceLimiter;

/// What one attempt of a job may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall time of the guest and its host calls, in ms.
    pub deadline_ms: u64,
    /// The sum of its linear memories, in bytes.
    pub memory_bytes_max: usize,
    /// The sum of the elements of its tables.
    pub table_elements_max: usize,
    /// Lines to the host's log, from calls and from stdout and stderr; further ones are dropped.
    pub log_lines_max: u32,
    /// Size of a value returned, of data or progress written, and of a line of the job's log, in bytes.
    pub value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            deadline_ms: 300_000,
            memory_bytes_max: 128 << 20,
            table_elements_max: 20_000,
            log_lines_max: 1_000,
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

    /// Waits until it should stop.
    pub async fn stopped(&self) -> Stop {
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
}

impl Quota {
    pub(crate) fn new(limits: &Limits) -> Self {
        Quota {
            memory_bytes_max: limits.memory_bytes_max,
            memory_bytes: 0,
            table_elements_max: limits.table_elements_max,
            table_elements: 0,
        }
    }
}

// An error, not a refusal: a refused guest aborts with a message of its own making.
impl ResourceLimiter for Quota {
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
        assert_eq!(cancel.stopped().await, Stop::LockLost);
    }
}
