//! Which jobs the worker's own thread begins: waking a guest's thread and being woken by it takes some 40 µs, in
//! which neither Redis nor a guest works.

/// Jobs are begun on the worker's own thread as long as all of them take less than this, in microseconds of
/// processor time. Long enough for half of the usual concurrency, short enough that no answer of Redis waits for long.
const BUDGET_US: f64 = 400.0;
/// How many of them between two looks at what else is to be done.
pub(super) const TURN: usize = 8;
/// What the newest attempt counts in the average: a long one sends the jobs of its queue to other threads at once,
/// and some twenty short ones bring them back.
const WEIGHT: f64 = 0.125;
/// What a job is taken to cost before any was seen: too much for the worker's thread.
const UNKNOWN_US: f64 = 1e3;

/// What jobs of this queue cost, and how many wait for the worker's own thread.
pub(super) struct Inline {
    cost_us: f64,
    waiting: usize,
}

impl Default for Inline {
    fn default() -> Self {
        Inline {
            cost_us: UNKNOWN_US,
            waiting: 0,
        }
    }
}

impl Inline {
    /// Notes what an attempt cost.
    pub(super) fn note(&mut self, cpu: std::time::Duration) {
        self.cost_us += (cpu.as_nanos() as f64 / 1e3 - self.cost_us) * WEIGHT;
    }

    /// How many of these jobs the worker's own thread begins; they wait for it from now on.
    pub(super) fn admit(&mut self, jobs: usize) -> usize {
        let room = (BUDGET_US / self.cost_us) as usize;
        let admitted = room.saturating_sub(self.waiting).min(jobs);
        self.waiting += admitted;
        admitted
    }

    /// Notes that some were begun.
    pub(super) fn begun(&mut self, jobs: usize) {
        self.waiting = self.waiting.saturating_sub(jobs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_long_job_sends_the_next_ones_to_other_threads() {
        let mut inline = Inline::default();
        assert_eq!(inline.admit(50), 0, "nothing is known yet");
        (0..60).for_each(|_| inline.note(Duration::from_micros(10)));
        let admitted = inline.admit(50);
        assert!((30..50).contains(&admitted), "{admitted}");
        assert_eq!(
            inline.admit(50),
            (BUDGET_US / inline.cost_us) as usize - admitted
        );
        inline.begun(usize::MAX);
        inline.note(Duration::from_millis(10));
        assert_eq!(inline.admit(50), 0);
    }
}
