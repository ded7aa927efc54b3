//! How a call is repeated while Redis carries out none. There is no last try: the caller decides when to give up.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use toril_queue::QueueError;

/// Repeats a call until Redis has answered it.
pub(crate) async fn past_outages<T, F: Future<Output = Result<T, QueueError>>>(
    call: impl FnMut() -> F,
) -> Result<T, QueueError> {
    call.retry(pauses()).when(QueueError::is_transient).await
}

/// The same, but a full memory is answered, not waited out: nobody knows whether it ends.
pub(crate) async fn past_outages_unless_full<T, F: Future<Output = Result<T, QueueError>>>(
    call: impl FnMut() -> F,
) -> Result<T, QueueError> {
    let passes = |error: &QueueError| error.is_transient() && !error.is_out_of_memory();
    call.retry(pauses()).when(passes).await
}

/// The pauses between two tries.
pub(crate) fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times()
}
