//! Long steps show that they go on: a spinner on a terminal, a line elsewhere, nothing with `--quiet`.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use super::output::Spinner;

/// What takes less than this needs no word.
const PATIENCE: Duration = Duration::from_millis(500);

/// Does the work, and shows what it is if it takes long.
pub(super) async fn during<T>(what: impl Display, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let _shown = Spinner::of(what);
    work.await
}
