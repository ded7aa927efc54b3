//! The threads that guests run on. Not those that talk to Redis: a guest that computes for long must keep
//! neither a lock from being renewed nor another job from being settled.
//!
//! Most jobs end without ever waiting. So jobs that come together are started together, by runners that take
//! one after the other, and only a job that waits becomes a task of its own: a task for each would cost more
//! in wake-ups than such a job.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{coop, yield_now};

use crate::cpu_time::InARow;
use crate::ticker::EPOCH;

/// One attempt, to its end. Does not panic.
pub type AttemptFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Threads that wait for files at once: one that never returns holds up others only when all do.
const BLOCKING_MAX: usize = 64;

/// Threads for guests, as many as the machine has cores.
pub struct GuestThreads {
    tokio: Option<Runtime>,
    line: Arc<Line>,
}

/// Jobs that nobody began yet.
struct Line {
    inner: Mutex<Inner>,
    runners_max: usize,
}

#[derive(Default)]
struct Inner {
    runs: VecDeque<AttemptFuture>,
    runners: usize,
}

impl GuestThreads {
    pub(crate) fn start() -> std::io::Result<Self> {
        let tokio = Builder::new_multi_thread()
            .thread_name("guest")
            .max_blocking_threads(BLOCKING_MAX)
            .enable_all()
            .build()?;
        let line = Line {
            inner: Mutex::default(),
            runners_max: tokio.metrics().num_workers(),
        };
        Ok(GuestThreads {
            tokio: Some(tokio),
            line: Arc::new(line),
        })
    }

    /// Begins jobs on the thread of the caller. One that waits, or computes for longer than an epoch, goes on
    /// on the threads of guests.
    pub async fn begin_here(&self, runs: impl Iterator<Item = AttemptFuture>) {
        let mut row = InARow::default();
        let Some(tokio) = &self.tokio else { return };
        for mut run in runs {
            // What it waits for, it waits for on the threads of guests: calls to files, timers, connections.
            let mut run_here = poll_fn(|context| {
                let _guests = tokio.enter();
                run.as_mut().poll(context)
            });
            let pending = first_poll(&mut run_here, &mut row).await.is_pending();
            if pending {
                tokio.spawn(run);
            }
        }
    }

    /// Does something beside the jobs, until these threads end.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(tokio) = &self.tokio {
            tokio.spawn(work);
        }
    }

    /// Starts jobs, in this order.
    pub fn start_all(&self, runs: impl ExactSizeIterator<Item = AttemptFuture>) {
        let Some(tokio) = &self.tokio else { return };
        for _ in 0..self.line.join(runs) {
            tokio.spawn(run_all(Arc::clone(&self.line)));
        }
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        // Waiting for threads is not allowed where this may be dropped.
        if let Some(tokio) = self.tokio.take() {
            tokio.shutdown_background();
        }
    }
}

impl Line {
    /// Returns how many more runners are needed, and counts them as there.
    fn join(&self, runs: impl ExactSizeIterator<Item = AttemptFuture>) -> usize {
        let mut inner = self.inner.lock();
        let wanted = self.runners_max.min(inner.runners + runs.len());
        inner.runs.extend(runs);
        let more = wanted - inner.runners;
        inner.runners = wanted;
        more
    }

    /// The next job; without one the runner that asks is counted no more.
    fn next(&self) -> Option<AttemptFuture> {
        let mut inner = self.inner.lock();
        let run = inner.runs.pop_front();
        if run.is_none() {
            inner.runners -= 1;
        }
        run
    }
}

async fn first_poll(run: &mut (impl Future<Output = ()> + Unpin), row: &mut InARow) -> Poll<()> {
    // Each job has a thread's budget of its own, not a share of the task's that begins it.
    poll_fn(|context| {
        let run = std::pin::pin!(coop::unconstrained(&mut *run));
        Poll::Ready(row.poll(|| run.poll(context)))
    })
    .await
}

async fn run_all(line: Arc<Line>) {
    let mut since = Instant::now();
    let mut row = InARow::default();
    while let Some(mut run) = line.next() {
        if first_poll(&mut run, &mut row).await.is_pending() {
            tokio::spawn(run);
        }
        // Those that wait for this thread have their turn.
        if since.elapsed() >= EPOCH {
            yield_now().await;
            since = Instant::now();
            row = InARow::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn jobs_that_wait_do_not_hold_up_those_behind_them() {
        let threads = GuestThreads::start().unwrap();
        let (sender, mut ended) = unbounded_channel();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let runs = (0..100).map(|number| {
            let (sender, gate) = (sender.clone(), Arc::clone(&gate));
            let run: AttemptFuture = Box::pin(async move {
                if number < 50 {
                    let _ = gate.acquire().await;
                }
                let _ = sender.send(number);
            });
            run
        });
        threads.start_all(runs);
        let mut others: Vec<i32> = (0..50).filter_map(|_| ended.blocking_recv()).collect();
        others.sort_unstable();
        assert_eq!(others, (50..100).collect::<Vec<_>>());
        gate.add_permits(50);
        let waited: std::collections::BTreeSet<i32> =
            (0..50).filter_map(|_| ended.blocking_recv()).collect();
        assert_eq!(waited, (0..50).collect());
        assert_eq!(threads.line.inner.lock().runs.len(), 0);
    }

    #[test]
    fn job_begun_elsewhere_goes_on_here_once_it_waits() {
        let threads = GuestThreads::start().unwrap();
        let (sender, mut ended) = unbounded_channel();
        let run: AttemptFuture = Box::pin(async move {
            let names = || std::thread::current().name().map(str::to_owned);
            let first = names();
            yield_now().await;
            let _ = sender.send((first, names()));
        });
        let tokio = Builder::new_current_thread().build().unwrap();
        tokio.block_on(threads.begin_here([run].into_iter()));
        let (begun, ended) = ended.blocking_recv().unwrap();
        assert_eq!(begun.as_deref(), std::thread::current().name());
        assert_eq!(ended.as_deref(), Some("guest"));
    }

    #[test]
    fn job_that_computes_for_ever_leaves_threads_to_others() {
        let threads = GuestThreads::start().unwrap();
        let (sender, mut ended) = unbounded_channel();
        let endless = (0..10).map(|_| {
            let run: AttemptFuture = Box::pin(async {
                loop {
                    yield_now().await;
                }
            });
            run
        });
        threads.start_all(endless);
        for number in 0..100 {
            let sender = sender.clone();
            let run: AttemptFuture = Box::pin(async move {
                let _ = sender.send(number);
            });
            threads.start_all([run].into_iter());
            assert_eq!(ended.blocking_recv(), Some(number));
        }
    }
}
