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

/// The pauses between two tries.
pub(crate) fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times()
}
