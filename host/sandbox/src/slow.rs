//! Work that may take long says so, and says again that it goes on.

use std::fmt::Display;
use std::pin::pin;
use std::time::{Duration, Instant};

use tracing::info_span;

/// The target of the spans of work that goes on, and of the lines which say again that it does. A span has one field,
/// `what`. A host on a terminal shows the spans in place of the lines.
pub const TARGET: &str = "toril_sandbox::slow";

/// Work that takes less than this needs no word.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// How often work is reported that still goes on.
const INTERVAL: Duration = Duration::from_secs(10);

/// Does some work, in view: a subscriber finds `what` in a span for as long as the work goes on.
pub async fn in_view<T>(what: impl Display, work: impl Future<Output = T>) -> T {
    // Never entered: lines that are logged meanwhile do not repeat what it says.
    let _shown = info_span!(target: TARGET, parent: None, "work", %what);
    work.await
}

/// Does some work, in view. Calls `say` with the time that has passed if the work takes longer than half a second, and every
/// ten seconds from then on.
pub async fn reporting<T>(
    what: impl Display,
    work: impl Future<Output = T>,
    say: impl FnMut(Duration),
) -> T {
    in_view(what, reporting_after(PATIENCE, INTERVAL, work, say)).await
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
        let said = |_| panic!("nothing is said of short work");
        reporting("short work", async {}, said).await;
    }
}
