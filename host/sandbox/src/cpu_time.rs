//! The processor time that jobs use. Asking for a thread's time is a system call, as dear as what a small job
//! computes. So where jobs run one after the other, one reading ends one job and begins the next, and what is
//! short is taken to have had the processor all the time.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// When the kernel gives the processor to another thread, that thread mostly keeps it for longer than this.
const SHORT: Duration = Duration::from_micros(50);

thread_local! {
    static ROW: Cell<Row> = const { Cell::new(Row::None) };
}

/// Whether the thread polls jobs in a row, and if it does, the time when the last one was polled, if any was.
#[derive(Clone, Copy)]
enum Row {
    None,
    Some(Option<Reading>),
}

/// A moment, and the processor time of this thread then.
#[derive(Clone, Copy)]
struct Reading {
    moment: Instant,
    thread: Duration,
}

impl Reading {
    fn now() -> Self {
        Reading {
            moment: Instant::now(),
            thread: thread_time(),
        }
    }

    /// What it is now, on the same thread.
    fn renewed(self) -> Self {
        let moment = Instant::now();
        let passed = moment - self.moment;
        let thread = if passed < SHORT {
            self.thread + passed
        } else {
            thread_time()
        };
        Reading { moment, thread }
    }
}

/// Jobs that are polled one after the other, with nothing else done in between.
#[derive(Default)]
pub(crate) struct InARow(Option<Reading>);

impl InARow {
    /// Polls the next one.
    pub(crate) fn poll<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        ROW.set(Row::Some(self.0));
        let polled = poll();
        self.0 = match ROW.replace(Row::None) {
            Row::Some(last) => last,
            Row::None => None,
        };
        polled
    }
}

/// Adds up the processor time that a future uses, on whichever threads it runs. Pinned where it is: that of a guest's call
/// is large, and would be copied.
pub(crate) async fn metered<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
    cpu: &mut Duration,
) -> T {
    poll_fn(|context| {
        let row = ROW.get();
        let before = match row {
            Row::Some(Some(last)) => last,
            Row::Some(None) | Row::None => Reading::now(),
        };
        let polled = future.as_mut().poll(context);
        let after = before.renewed();
        *cpu += after.thread.saturating_sub(before.thread);
        if matches!(row, Row::Some(_)) {
            ROW.set(Row::Some(Some(after)));
        }
        polled
    })
    .await
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Both are small and not negative.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    /// Polls a future once that computes for at least so long; returns the time that it is said to have taken.
    fn compute(row: Option<&mut InARow>, least: Duration) -> Duration {
        let mut cpu = Duration::ZERO;
        {
            let spends = pin!(async { spend(least) });
            let mut job = pin!(metered(spends, &mut cpu));
            let mut poll = || job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let polled = match row {
                Some(row) => row.poll(poll),
                None => poll(),
            };
            assert!(polled.is_ready());
        }
        cpu
    }

    fn spend(least: Duration) {
        let begin = thread_time();
        while thread_time() - begin < least {}
    }

    #[test]
    fn in_a_row_every_moment_is_counted_once() {
        let step = Duration::from_millis(2);
        let begin = thread_time();
        let mut row = InARow::default();
        let sum: Duration = [1, 3, 0]
            .map(|n| compute(Some(&mut row), step * n))
            .iter()
            .sum();
        assert!(sum >= step * 4 && sum <= thread_time() - begin + SHORT);
        // One reading for two jobs: what lies between them is the second one's.
        spend(step);
        assert!(compute(Some(&mut row), Duration::ZERO) >= step);
    }

    #[test]
    fn time_without_the_processor_is_not_counted() {
        let asleep = Duration::from_millis(20);
        let mut cpu = Duration::ZERO;
        {
            let sleeps = pin!(async { std::thread::sleep(asleep) });
            let mut job = pin!(metered(sleeps, &mut cpu));
            let mut context = Context::from_waker(Waker::noop());
            assert!(job.as_mut().poll(&mut context).is_ready());
        }
        assert!(cpu < asleep / 2, "{cpu:?}");
    }

    #[test]
    fn what_is_done_after_a_row_is_nobodys() {
        let step = Duration::from_millis(2);
        compute(Some(&mut InARow::default()), Duration::ZERO);
        spend(step);
        let begin = thread_time();
        let alone = compute(None, Duration::ZERO);
        assert!(alone <= thread_time() - begin + SHORT);
        let first_of_another = compute(Some(&mut InARow::default()), Duration::ZERO);
        assert!(first_of_another <= thread_time() - begin + SHORT);
    }
}
