//! Waits of two milliseconds. tokio's timers end up to a millisecond late, and a server that takes three milliseconds limits fifty
//! jobs at once more than their workers do.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

const WORK: Duration = Duration::from_millis(2);

/// All are equally long, so they end in the order in which they begin.
#[derive(Default)]
pub(crate) struct Waits {
    line: Mutex<Line>,
    begun: Notify,
}

type Line = VecDeque<(Instant, oneshot::Sender<()>)>;

impl Waits {
    pub(crate) async fn wait(&self) {
        let (end, ended) = oneshot::channel();
        self.line().push_back((Instant::now() + WORK, end));
        self.begun.notify_one();
        let _ = ended.await;
    }

    /// Ends each wait when its time is over.
    pub(crate) async fn end_all(&self) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; this descriptor is owned and never replaced"
        )]
        let timer = AsyncFd::new(timer)?;
        loop {
            let first = self.line().front().map(|(end, _)| *end);
            match first {
                None => self.begun.notified().await,
                Some(end) => until(&timer, end).await?,
            }
            let (now, mut line) = (Instant::now(), self.line());
            while line.front().is_some_and(|(end, _)| *end <= now) {
                if let Some((_, end)) = line.pop_front() {
                    let _ = end.send(());
                }
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(timer: &AsyncFd<OwnedFd>, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(());
    }
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let once = Itimerspec {
        it_interval: zero,
        it_value: Timespec {
            tv_sec: left.as_secs() as _,
            tv_nsec: left.subsec_nanos().into(),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    timer.readable().await?.clear_ready();
    Ok(())
}
