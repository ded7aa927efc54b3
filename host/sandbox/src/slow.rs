//! Work that may take long says so, and says again that it goes on.

use std::pin::pin;
use std::time::{Duration, Instant};

/// Work that takes less than this needs no word.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often work is reported that still goes on.
const INTERVAL: Duration = Duration::from_secs(10);

/// Does some work. Calls `say` with the time that has passed if the work takes longer than half a second, and every ten
/// seconds from then on.
pub async fn reporting<T>(work: impl Future<Output = T>, say: impl FnMut(Duration)) -> T {
    reporting_after(PATIENCE, INTERVAL, work, say).await
}

/// How long work takes so far, for its report: in tenths of a second, of which the first report has five.
pub fn shown(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

async fn reporting_after<T>(
    patience: Duration,
    interval: Duration,
    work: impl Future<Output = T>,
    mut say: impl FnMut(Duration),
) -> T {
    let (begin, mut pause) = (Instant::now(), patience);
    let mut work = pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(pause, &mut work).await {
            return done;
        }
        say(begin.elapsed());
        pause = interval;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn work_is_reported_for_as_long_as_it_takes() {
        let (said, times) = (Notify::new(), Cell::new(0));
        // Ends only because it was reported more than once.
        let work = async {
            while times.get() < 3 {
                said.notified().await;
            }
            "done"
        };
        let tick = Duration::from_millis(1);
        let done = reporting_after(tick, tick, work, |_| {
            times.set(times.get() + 1);
            said.notify_one();
        });
        assert_eq!(done.await, "done");
        reporting(async {}, |_| panic!("nothing is said of short work")).await;
    }
}
