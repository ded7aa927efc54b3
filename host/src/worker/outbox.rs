//! Outcomes on their way from the threads of the guests to the pump. It is woken once there are enough of them
//! to act on: waking it for each would cost more than the jobs do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::locks::Held;
use crate::execution::Outcome;

/// An attempt that ended.
pub(super) struct Ended {
    pub(super) held: Arc<Held>,
    pub(super) outcome: Outcome,
    /// The processor time that it took.
    pub(super) cpu: Duration,
}

#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    enough: Notify,
}

#[derive(Default)]
struct Inner {
    outcomes: Vec<Ended>,
    /// The pump waits for so many.
    awaited: usize,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, ended: Ended) {
        let enough = {
            let mut inner = self.lock();
            inner.outcomes.push(ended);
            inner.outcomes.len() >= inner.awaited
        };
        if enough {
            self.enough.notify_one();
        }
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut self.lock().outcomes)
    }

    /// Waits until there are so many.
    pub(super) async fn has(&self, count: usize) {
        loop {
            {
                let mut inner = self.lock();
                if inner.outcomes.len() >= count {
                    return;
                }
                inner.awaited = count;
            }
            // One that was put before this line has left its notice.
            self.enough.notified().await;
        }
    }
}
