//! Outcomes on their way from the threads of the guests to the worker's loop. The loop is woken once there are enough
//! of them to act on: waking it for each would cost more than the jobs do.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::schedule::AttemptEnd;

#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Default)]
struct Inner {
    ended: Vec<AttemptEnd>,
    /// The loop is woken once so many are there.
    wake_at: usize,
}

impl Outbox {
    pub(super) fn put(&self, ended: AttemptEnd) {
        let filled = {
            let mut inner = self.inner.lock();
            inner.ended.push(ended);
            inner.ended.len() >= inner.wake_at
        };
        if filled {
            self.filled.notify_one();
        }
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Vec<AttemptEnd> {
        std::mem::take(&mut self.inner.lock().ended)
    }

    /// Waits until there are so many.
    pub(super) async fn has(&self, count: usize) {
        loop {
            {
                let mut inner = self.inner.lock();
                if inner.ended.len() >= count {
                    return;
                }
                inner.wake_at = count;
            }
            // One that was put before this line has left its notice.
            self.filled.notified().await;
        }
    }
}
