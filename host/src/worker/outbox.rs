//! Outcomes on their way from the threads of the guests to the pump. It is woken once there are enough of them
//! to act on: waking it for each would cost more than the jobs do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::locks::Held;
use crate::execution::Outcome;

#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    enough: Notify,
}

#[derive(Default)]
struct Inner {
    outcomes: Vec<(Arc<Held>, Outcome)>,
    /// The pump waits for so many.
    awaited: usize,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, held: Arc<Held>, outcome: Outcome) {
        let enough = {
            let mut inner = self.lock();
            inner.outcomes.push((held, outcome));
            inner.outcomes.len() >= inner.awaited
        };
        if enough {
            self.enough.notify_one();
        }
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Vec<(Arc<Held>, Outcome)> {
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
