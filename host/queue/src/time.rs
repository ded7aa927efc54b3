//! The clock that BullMQ's keys are written by, and the largest number in them.

/// JavaScript's largest whole number, which Lua and Redis write alike. Times and durations beyond it, which no
/// clock reaches, are read as this.
pub(crate) const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Milliseconds since the epoch, as BullMQ's producers count them.
pub fn now_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
