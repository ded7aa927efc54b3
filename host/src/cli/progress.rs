//! Long steps show that they go on: a spinner on a terminal, a line elsewhere, nothing with `--quiet`.

mod of_host;

pub(crate) use of_host::Progress;

use std::fmt::Display;
use std::pin::pin;
use std::time::{Duration, Instant};

use toril_sandbox::slow::PATIENCE;

use super::output::{is_quiet, say, set_status};
use super::terminal;

const TICK: Duration = Duration::from_millis(120);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// Does the work, and shows what it is if it takes long.
pub(super) async fn during<T>(what: impl Display, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    if is_quiet() || !terminal::redraws() {
        if !is_quiet() {
            say(format_args!("{what} …"));
        }
        return work.await;
    }
    let begin = Instant::now();
    let _cleared = Cleared;
    for frame in FRAMES.iter().cycle() {
        show(*frame, &what, begin);
        if let Ok(done) = tokio::time::timeout(TICK, &mut work).await {
            return done;
        }
    }
    work.await
}

fn show(frame: char, what: impl Display, begin: Instant) {
    let seconds = begin.elapsed().as_secs();
    set_status(&format!("{frame} {what} ({seconds} s)"));
}

/// Takes the status line away, also where the work is given up.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        set_status("");
    }
}
