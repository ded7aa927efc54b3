//! What the machine refuses for want of something at that moment. It says nothing about a component or a job, and often
//! the same succeeds a moment later.

use std::error::Error;
use std::time::Duration;

use backon::{BlockingRetryable as _, ExponentialBuilder};
use rustix::io::Errno;

/// Busy, or without room: for memory, open files, or threads and processes. `TXTBSY`: a program that is still being
/// written.
const SHORT: [Errno; 7] = [
    Errno::BUSY,
    Errno::AGAIN,
    Errno::INTR,
    Errno::NOMEM,
    Errno::MFILE,
    Errno::NFILE,
    Errno::TXTBSY,
];

/// True where the machine was short of something.
pub fn is_short(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        // wasmtime has both.
        let told = cause.downcast_ref::<std::io::Error>();
        let told = told.and_then(Errno::from_io_error);
        let code = told.or_else(|| cause.downcast_ref::<Errno>().copied());
        if code.is_some_and(|code| SHORT.contains(&code)) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The same for an error of wasmtime.
pub(crate) fn is_short_of(error: &wasmtime::Error) -> bool {
    is_short(error.as_ref())
}

/// The pauses between two tries while the machine is short of something: two seconds in all.
pub fn short_pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(200))
        .with_max_times(14)
}

/// Does something again while the machine is short. The call blocks.
pub fn again_while_short<T>(make: impl FnMut() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    make.retry(short_pauses()).when(is_short_of).call()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel refuses it, and as a crate says so.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot add seals")]
    struct Refused(#[source] std::io::Error);

    #[test]
    fn machine_that_is_short_is_asked_again_and_any_other_refusal_is_told() {
        for code in SHORT {
            let mut tries = 0;
            let made = again_while_short(|| {
                tries += 1;
                match tries {
                    1 => Err(Refused(code.into()).into()),
                    2 => Err(code.into()),
                    _ => Ok(tries),
                }
            });
            assert_eq!(made.unwrap(), 3, "{code}");
        }

        let mut tries = 0;
        let refused = again_while_short(|| {
            tries += 1;
            Err::<(), _>(Refused(Errno::NOSPC.into()).into())
        });
        assert!(refused.is_err());
        assert_eq!(tries, 1);
    }
}
