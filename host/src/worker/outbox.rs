//! Outcomes on their way from the threads of the guests to the worker's loop. The loop is woken once there are enough
//! of them to act on: waking it for each would cost more than the jobs do.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::schedule::Ended;

#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    enough: Notify,
}

#[derive(Default)]
struct Inner {
    ended: Vec<Ended>,
    /// The loop waits for so many.
    awaited: usize,
}

impl Outbox {
    pub(super) fn put(&self, ended: Ended) {
        let enough = {
            let mut inner = self.inner.lock();
            inner.ended.push(ended);
            inner.ended.len() >= inner.awaited
        };
        if enough {
            self.enough.notify_one();
        }
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Vec<Ended> {
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
                inner.awaited = count;
            }
            // One that was put before this line has left its notice.
            self.enough.notified().await;
        }
    }
}
