//! Which guest holds how much of the memory that all share, and which one waits for more. Pure: nobody waits in here,
//! and nothing is allocated.
//!
//! A guest names its claim when it starts: what it is expected to hold at most. Memory is handed out only if all guests
//! can still come to an end one after the other, even if each of them takes its whole claim first (the banker's
//! algorithm). So guests that wait for memory never wait for each other in a circle, though no claim is reserved. If a
//! guest takes more than it claimed, there may be such a circle; then one of them is told that it is stuck.

use std::collections::VecDeque;

use slab::Slab;

/// `W` wakes the one that waits.
pub(super) struct Ledger<W> {
    bytes_max: usize,
    /// Instances that the engine has places for.
    places: usize,
    /// Held by all guests together.
    running_bytes: usize,
    idle_bytes: usize,
    idle_instances: usize,
    /// Left by guests that are gone, such as their values, until somebody has taken it.
    kept_bytes: usize,
    /// Those that run, and those that wait for their start and hold nothing yet.
    guests: Slab<Guest>,
    starting: VecDeque<Waiting<W>>,
    /// In the order in which they began to wait.
    growing: VecDeque<Waiting<W>>,
    /// Numbers what happens, to tell the older from the younger.
    now: u64,
}

struct Guest {
    held: usize,
    claim: Claim,
    started: u64,
}

/// What a guest may come to hold, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// As far as is known of its kind.
    pub(crate) expected: usize,
    /// At the very most.
    pub(crate) limit: usize,
}

struct Waiting<W> {
    guest: usize,
    bytes: usize,
    since: u64,
    waker: W,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Granted,
    /// The waker is returned with another answer.
    Waits,
    /// It would not fit if no other guest held anything.
    TooLarge,
    /// All that hold memory wait for more of it, and this one must give up what it holds.
    Stuck,
}

/// Those who need not wait any longer, and what they are told.
pub(super) type Answered<W> = Vec<(W, Answer)>;

impl Claim {
    fn within(self, bytes_max: usize, held: usize) -> Self {
        let limit = self.limit.min(bytes_max);
        Claim {
            expected: self.expected.clamp(held.min(limit), limit),
            limit,
        }
    }
}

impl Guest {
    /// What it may hold before it ends, if it gets so much more now.
    fn claim_with(&self, bytes: usize) -> usize {
        let held = self.held + bytes;
        if held <= self.claim.expected {
            self.claim.expected
        } else {
            // It is not like others of its kind: nothing less is known of it.
            self.claim.limit.max(held)
        }
    }
}

impl<W> Ledger<W> {
    pub(super) fn new(bytes_max: usize, places: usize) -> Self {
        Ledger {
            bytes_max,
            places,
            running_bytes: 0,
            idle_bytes: 0,
            idle_instances: 0,
            kept_bytes: 0,
            guests: Slab::new(),
            starting: VecDeque::new(),
            growing: VecDeque::new(),
            now: 0,
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What guests and idle instances hold, and what guests left.
    pub(super) fn held(&self) -> usize {
        self.running_bytes + self.idle_bytes + self.kept_bytes
    }

    /// A guest leaves so much: it is there already, so nothing is asked.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.kept_bytes += bytes;
    }

    /// Some of what guests left is gone.
    pub(super) fn drop_kept(&mut self, bytes: usize) -> Answered<W> {
        self.kept_bytes -= bytes;
        self.serve()
    }

    /// All that run wait for more, and nothing else will be given back.
    fn is_stuck(&self, waiting: usize) -> bool {
        waiting == self.started() && self.kept_bytes == 0
    }

    /// True while idle instances must give way to what was handed out.
    pub(super) fn is_overfull(&self) -> bool {
        let too_much = self.held() > self.bytes_max && self.idle_instances > 0;
        too_much || self.started() + self.idle_instances > self.places
    }

    /// Guests that run, or wait for more.
    fn started(&self) -> usize {
        self.guests.len() - self.starting.len()
    }

    fn insert(&mut self, claim: Claim, bytes: usize) -> usize {
        self.guests.insert(Guest {
            held: 0,
            claim: claim.within(self.bytes_max, bytes),
            started: 0,
        })
    }

    /// A guest asks to start with so many bytes. Returns its key.
    pub(super) fn start(
        &mut self,
        claim: Claim,
        bytes: usize,
        waker: impl FnOnce() -> W,
    ) -> (usize, Answer) {
        let started = self.started();
        let guest = self.insert(claim, bytes);
        if bytes > self.bytes_max {
            return (guest, Answer::TooLarge);
        }
        if self.starting.is_empty() && self.may_start(guest, bytes, started) {
            self.hand_out(guest, bytes);
            return (guest, Answer::Granted);
        }
        let waiting = self.waiting(guest, bytes, waker());
        self.starting.push_back(waiting);
        (guest, Answer::Waits)
    }

    /// A guest that runs asks for more.
    pub(super) fn grow(&mut self, guest: usize, bytes: usize, waker: impl FnOnce() -> W) -> Answer {
        if self.guests[guest].held.saturating_add(bytes) > self.bytes_max {
            return Answer::TooLarge;
        }
        if self.is_safe(guest, bytes) {
            self.hand_out(guest, bytes);
            return Answer::Granted;
        }
        if self.is_stuck(self.growing.len() + 1) {
            return Answer::Stuck;
        }
        let waiting = self.waiting(guest, bytes, waker());
        self.growing.push_back(waiting);
        Answer::Waits
    }

    /// A guest came to its end, or gave up waiting.
    pub(super) fn leave(&mut self, guest: usize) -> Answered<W> {
        self.starting.retain(|waiting| waiting.guest != guest);
        self.growing.retain(|waiting| waiting.guest != guest);
        self.running_bytes -= self.guests.remove(guest).held;
        self.serve()
    }

    /// A guest becomes an idle instance, which holds what it held and gives way to those that need it.
    pub(super) fn rest(&mut self, guest: usize) -> Answered<W> {
        self.idle_bytes += self.guests[guest].held;
        self.idle_instances += 1;
        self.leave(guest)
    }

    /// An idle instance that held so much is gone.
    pub(super) fn forget_idle(&mut self, held: usize) {
        self.idle_bytes -= held;
        self.idle_instances -= 1;
    }

    /// An idle instance asks to run again. It never waits: if there is no room, a fresh instance is made instead.
    pub(super) fn resume(&mut self, claim: Claim, held: usize) -> Option<usize> {
        let started = self.started();
        let guest = self.insert(claim, held);
        if !self.starting.is_empty() || !self.may_start(guest, held, started) {
            self.guests.remove(guest);
            return None;
        }
        self.forget_idle(held);
        self.hand_out(guest, held);
        Some(guest)
    }

    fn waiting(&mut self, guest: usize, bytes: usize, waker: W) -> Waiting<W> {
        self.now += 1;
        let since = self.now;
        Waiting {
            guest,
            bytes,
            since,
            waker,
        }
    }

    fn hand_out(&mut self, guest: usize, bytes: usize) {
        self.running_bytes += bytes;
        let guest = &mut self.guests[guest];
        guest.claim.expected = guest.claim_with(bytes);
        guest.held += bytes;
        if guest.started == 0 {
            self.now += 1;
            guest.started = self.now;
        }
    }

    /// Guests that run come before guests that wait for their start: only they hold what others wait for.
    fn serve(&mut self) -> Answered<W> {
        let mut answered = Vec::new();
        for waiting in std::mem::take(&mut self.growing) {
            if self.is_safe(waiting.guest, waiting.bytes) {
                self.hand_out(waiting.guest, waiting.bytes);
                answered.push((waiting.waker, Answer::Granted));
            } else {
                self.growing.push_back(waiting);
            }
        }
        while let Some(first) = self.starting.front() {
            let (guest, bytes) = (first.guest, first.bytes);
            if !self.may_start(guest, bytes, self.started()) {
                break;
            }
            self.hand_out(guest, bytes);
            let first = self.starting.pop_front();
            answered.extend(first.map(|first| (first.waker, Answer::Granted)));
        }
        if self.is_stuck(self.growing.len()) {
            // The newest holds the least of those that are alike, and has waited least.
            let newest = self.growing.pop_back();
            answered.extend(newest.map(|newest| (newest.waker, Answer::Stuck)));
        }
        answered
    }

    fn may_start(&self, guest: usize, bytes: usize, started: usize) -> bool {
        started < self.places && self.is_safe(guest, bytes) && self.leaves_room_for_the_first(bytes)
    }

    /// Guests that start while another one waits for memory leave room for all that it may ask for. Without this, many
    /// small guests that come and go could keep a large one waiting for ever.
    fn leaves_room_for_the_first(&self, bytes: usize) -> bool {
        let Some(first) = self.growing.front() else {
            return true;
        };
        let younger = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.started > first.since);
        let held: usize = younger.map(|(_, guest)| guest.held).sum();
        let claim = self.guests[first.guest].claim_with(first.bytes);
        held + bytes <= self.bytes_max.saturating_sub(claim)
    }

    /// True if all guests can come to an end after this one got so much.
    fn is_safe(&self, guest: usize, bytes: usize) -> bool {
        let taken = self.running_bytes + self.kept_bytes;
        let free = self.bytes_max.saturating_sub(taken);
        if bytes > free {
            return false;
        }
        let asks = &self.guests[guest];
        let claim = asks.claim_with(bytes);
        // It can end first, and then all others can as before.
        if claim - asks.held <= free {
            return true;
        }
        let after = |(key, other): (usize, &Guest)| match key == guest {
            true => (claim - other.held - bytes, other.held + bytes),
            false => (other.claim.expected - other.held, other.held),
        };
        let mut needs: Vec<(usize, usize)> = self.guests.iter().map(after).collect();
        needs.sort_unstable();
        let mut free = free - bytes;
        for (need, held) in needs {
            if need > free {
                return false;
            }
            free += held;
        }
        true
    }
}

#[cfg(test)]
mod tests;
