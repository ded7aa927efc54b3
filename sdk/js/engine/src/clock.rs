//! The time, as QuickJS and the script see it.

use std::cell::Cell;

use wasip2::clocks::{monotonic_clock, wall_clock};

use crate::frozen;

thread_local! {
    static PINNED_US: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Nanoseconds of a clock that never goes back.
pub(crate) fn monotonic_ns() -> u64 {
    monotonic_clock::now()
}

/// Lets the time stand still while QuickJS is set up, which takes the seed of its hashes from it. The same script then gives
/// the same snapshot.
pub(crate) fn pinned<T>(microseconds: u64, work: impl FnOnce() -> T) -> T {
    PINNED_US.set(Some(microseconds));
    let result = work();
    PINNED_US.set(None);
    result
}

/// `struct timeval` of the C library.
#[repr(C)]
struct Timeval {
    seconds: i64,
    microseconds: i64,
}

/// In place of the C library's, which goes through more layers.
#[allow(unsafe_code, reason = "called by QuickJS, with a pointer to its own")]
#[unsafe(no_mangle)]
extern "C" fn gettimeofday(result: *mut Timeval, _: *mut ()) -> i32 {
    let now = PINNED_US.get().map_or_else(
        || {
            frozen::note("the time");
            let now = wall_clock::now();
            (now.seconds, now.nanoseconds / 1000)
        },
        |us| (us / 1_000_000, (us % 1_000_000) as u32),
    );
    let time = Timeval {
        seconds: now.0.cast_signed(),
        microseconds: i64::from(now.1),
    };
    unsafe { result.write(time) };
    0
}
