//! Timers by the time at which they are due.

use std::collections::BTreeMap;

use rquickjs::{Function, Persistent};

type Callback = Persistent<Function<'static>>;
/// Nanoseconds of the monotonic clock, and the timer's id: what is due at the same time is called in order.
type Due = (u64, u32);

#[derive(Default)]
pub(super) struct Timers {
    last_id: u32,
    by_due: BTreeMap<Due, Timer>,
    due_of: BTreeMap<u32, u64>,
}

pub(super) struct Timer {
    callback: Callback,
    delay_ns: u64,
    repeats: bool,
    /// True unless the script said `unref()`: a processor may wait for it.
    holds: bool,
}

impl Timers {
    pub(super) fn start(
        &mut self,
        callback: Callback,
        now: u64,
        delay_ns: u64,
        repeats: bool,
    ) -> u32 {
        self.last_id += 1;
        let timer = Timer {
            callback,
            delay_ns,
            repeats,
            holds: true,
        };
        self.put(self.last_id, now, timer);
        self.last_id
    }

    fn put(&mut self, id: u32, now: u64, timer: Timer) {
        let due = now.saturating_add(timer.delay_ns);
        self.due_of.insert(id, due);
        self.by_due.insert((due, id), timer);
    }

    pub(super) fn stop(&mut self, id: u32) -> Option<Timer> {
        let due = self.due_of.remove(&id)?;
        self.by_due.remove(&(due, id))
    }

    pub(super) fn hold(&mut self, id: u32, holds: bool) {
        let due = self.due_of.get(&id);
        if let Some(timer) = due.and_then(|due| self.by_due.get_mut(&(*due, id))) {
            timer.holds = holds;
        }
    }

    pub(super) fn restart(&mut self, id: u32, now: u64) {
        if let Some(timer) = self.stop(id) {
            self.put(id, now, timer);
        }
    }

    /// The callback of the first timer that is due. One that repeats starts again.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Callback> {
        let first = self.by_due.first_entry()?;
        let (due, id) = *first.key();
        if due > now {
            return None;
        }
        let timer = first.remove();
        self.due_of.remove(&id);
        if !timer.repeats {
            return Some(timer.callback);
        }
        let callback = timer.callback.clone();
        self.put(id, now, timer);
        Some(callback)
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.by_due.keys().next().map(|(due, _)| *due)
    }

    /// True where a processor may wait for one of them.
    pub(super) fn hold_the_loop(&self) -> bool {
        self.by_due.values().any(|timer| timer.holds)
    }
}
