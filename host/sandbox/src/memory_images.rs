//! What the memory of new instances is copied from: made once for each component.

use std::io::ErrorKind;
use std::time::Duration;

use backon::{BlockingRetryable as _, ExponentialBuilder};
use wasmtime::component::Component;

/// Makes them. The call blocks.
///
/// wasmtime seals each image, and Linux refuses that while something else holds a page of it: when it moves pages together, say.
/// Without a second try a component would be refused for what the machine did at that moment.
pub fn make_memory_images(component: &Component) -> wasmtime::Result<()> {
    again_while_busy(|| component.initialize_copy_on_write_image())
}

fn again_while_busy<T>(make: impl FnMut() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(200))
        .with_max_times(12);
    make.retry(pauses).when(is_busy).call()
}

fn is_busy(error: &wasmtime::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::ResourceBusy)
}

/// The error with all that caused it. `{:#}` has only the causes that wasmtime added itself.
pub(crate) fn with_causes(error: &wasmtime::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel refuses it, and as wasmtime's crate for it says so.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot add seals")]
    struct Refused(#[source] std::io::Error);

    fn refused(code: rustix::io::Errno) -> wasmtime::Error {
        Refused(code.into()).into()
    }

    #[test]
    fn busy_kernel_is_asked_again_and_any_other_refusal_is_told() {
        let mut tries = 0;
        let made = again_while_busy(|| {
            tries += 1;
            match tries {
                1 | 2 => Err(refused(rustix::io::Errno::BUSY)),
                _ => Ok(tries),
            }
        });
        assert_eq!(made.unwrap(), 3);

        let mut tries = 0;
        let refused = again_while_busy(|| {
            tries += 1;
            Err::<(), _>(refused(rustix::io::Errno::NOMEM))
        });
        let reason = with_causes(&refused.unwrap_err());
        assert_eq!(tries, 1, "{reason}");
        assert!(reason.starts_with("cannot add seals: "), "{reason}");
        assert!(reason.contains("memory"), "{reason}");
    }
}
