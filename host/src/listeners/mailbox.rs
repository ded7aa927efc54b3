//! Events on their way to those who listen. A reader that is slow, or never reads, holds a bounded number of bytes; what
//! it misses is counted in the place where it is missing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use super::WorkerEvent;

/// How many events a reader may be behind, and how many bytes they may have, before it misses some.
const BEHIND_MAX: usize = 1024;
const BEHIND_BYTES_MAX: usize = 16 << 20;
/// The bytes of all events of a host that some reader has not taken yet, those included that are being sent. Four readers
/// that never read fill it.
const HOST_BYTES_MAX: usize = 64 << 20;

/// What waits for a reader.
enum Heard {
    Event(WorkerEvent),
    /// So many events came here that there was no room for.
    Missed(u64),
}

/// The room that a host has for events. A text takes its part of it until the last reader has dropped it.
#[derive(Clone, Default)]
pub(crate) struct EventRoom(Arc<AtomicUsize>);

/// A text that was admitted.
struct Admitted {
    text: Vec<u8>,
    room: EventRoom,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

impl EventRoom {
    pub(super) fn has(&self, bytes: usize) -> bool {
        let held = self.0.load(Ordering::Relaxed);
        held.saturating_add(bytes) <= HOST_BYTES_MAX
    }

    /// Shares a text with readers, if there is room for it.
    pub(super) fn admit(&self, text: Vec<u8>) -> Option<Bytes> {
        let with_it = |held: usize| {
            let with_it = held.saturating_add(text.len());
            (with_it <= HOST_BYTES_MAX).then_some(with_it)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_it)
            .ok()?;
        let room = self.clone();
        Some(Bytes::from_owner(Admitted { text, room }))
    }
}

/// What waits for one reader.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    /// Wakes the reader; there is one.
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    heard: VecDeque<Heard>,
    bytes: usize,
    closed: bool,
}

impl Waiting {
    fn has_room(&self, bytes: usize) -> bool {
        self.heard.len() < BEHIND_MAX && self.bytes.saturating_add(bytes) <= BEHIND_BYTES_MAX
    }
}

impl Mailbox {
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.waiting.lock().has_room(bytes)
    }

    /// Puts an event in; one that there is no room for, here or in the host, is counted as missed.
    pub(super) fn put(&self, event: Option<&WorkerEvent>) {
        let mut waiting = self.waiting.lock();
        let fitting = event.filter(|event| waiting.has_room(event.arguments.len()));
        match (fitting, waiting.heard.back_mut()) {
            (Some(event), _) => {
                waiting.bytes += event.arguments.len();
                waiting.heard.push_back(Heard::Event(event.clone()));
            }
            (None, Some(Heard::Missed(count))) => *count += 1,
            (None, _) => waiting.heard.push_back(Heard::Missed(1)),
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Result<WorkerEvent, RecvError>> {
        let mut waiting = self.waiting.lock();
        match waiting.heard.pop_front() {
            Some(Heard::Event(event)) => {
                waiting.bytes -= event.arguments.len();
                Some(Ok(event))
            }
            Some(Heard::Missed(count)) => Some(Err(RecvError::Lagged(count))),
            None => waiting.closed.then_some(Err(RecvError::Closed)),
        }
    }

    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }
}

/// Reads the events of a queue's worker.
pub struct EventReader(pub(super) Arc<Mailbox>);

impl EventReader {
    /// The next event, or how many were missed in this place; [`RecvError::Closed`] once nothing tells any more. Loses
    /// nothing when dropped.
    pub async fn recv(&mut self) -> Result<WorkerEvent, RecvError> {
        loop {
            if let Some(heard) = self.0.take() {
                return heard;
            }
            // What was put before this line has left its notice.
            self.0.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Listeners;
    use super::*;

    async fn heard(reader: &mut EventReader) -> (usize, usize, u64) {
        let (mut events, mut bytes, mut missed) = (0, 0, 0);
        loop {
            match reader.recv().await {
                Ok(event) => {
                    events += 1;
                    bytes += event.arguments.len();
                }
                Err(RecvError::Lagged(count)) => missed += count,
                Err(RecvError::Closed) => return (events, bytes, missed),
            }
        }
    }

    fn tell(listeners: &Listeners, bytes: usize) {
        listeners.tell("error", bytes, || vec![b'x'; bytes]);
    }

    #[tokio::test]
    async fn reader_that_does_not_read_holds_a_bounded_number_of_bytes_and_hears_what_it_missed() {
        let listeners = Listeners::default();
        let mut reader = listeners.subscribe();
        for _ in 0..100 {
            tell(&listeners, 5_000_000);
        }
        // Room for a small one is left.
        tell(&listeners, 10);
        tell(&listeners, 5_000_000);
        drop(listeners);
        let (events, bytes, missed) = heard(&mut reader).await;
        assert!(bytes <= BEHIND_BYTES_MAX, "{bytes} bytes");
        assert_eq!((events, missed), (4, 98));
    }

    #[tokio::test]
    async fn reader_that_does_not_read_holds_a_bounded_number_of_events() {
        let listeners = Listeners::default();
        let (mut slow, mut quick) = (listeners.subscribe(), listeners.subscribe());
        for _ in 0..3_000 {
            tell(&listeners, 1);
            assert!(quick.recv().await.is_ok());
        }
        drop(listeners);
        let (events, _, missed) = heard(&mut slow).await;
        assert_eq!((events as u64 + missed, missed > 1_000), (3_000, true));
        assert_eq!(quick.recv().await, Err(RecvError::Closed));
    }

    #[tokio::test]
    async fn calls_are_told_to_those_who_listen_closely() {
        let listeners = Listeners::default();
        let mut plain = listeners.subscribe();
        assert!(!listeners.has_close_reader());
        let mut close = listeners.subscribe_closely();
        assert!(listeners.has_close_reader());
        listeners.call("1", "log(\"painting\")");
        listeners.drained();
        let call = close.recv().await.unwrap();
        assert_eq!(call.name, "call");
        assert_eq!(
            call.json(),
            serde_json::json!({ "jobId": "1", "call": "log(\"painting\")" })
        );
        assert_eq!(close.recv().await.unwrap().name, "drained");
        assert_eq!(plain.recv().await.unwrap().name, "drained");
        drop(close);
        listeners.call("2", "log()");
        assert!(!listeners.has_close_reader(), "it is noticed");
    }

    #[tokio::test]
    async fn readers_of_all_queues_of_a_host_share_one_limit() {
        let room = EventRoom::default();
        let queues: Vec<_> = (0..20).map(|_| Listeners::new(room.clone())).collect();
        let mut readers: Vec<_> = queues.iter().map(Listeners::subscribe).collect();
        for queue in &queues {
            (0..10).for_each(|_| tell(queue, 5_000_000));
        }
        assert!(room.0.load(Ordering::Relaxed) <= HOST_BYTES_MAX);
        drop(queues);
        let mut all = 0;
        for reader in &mut readers {
            let (events, _, missed) = heard(reader).await;
            assert_eq!(events as u64 + missed, 10);
            all += events;
        }
        assert!((10..=HOST_BYTES_MAX / 5_000_000).contains(&all), "{all}");
        assert_eq!(room.0.load(Ordering::Relaxed), 0, "all is given back");
    }
}
