//! Calls that are carried out once however often they are sent, since a lost reply does not tell whether
//! the call was carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::Cmd;

use crate::error::QueueError;

/// For how long a request may be repeated. Below `NOTE_MS` of `lua/lib/request.lua`, by more than a call takes.
const REPEATED_FOR: Duration = Duration::from_secs(90);

/// One call of a caller. Sent again, it is answered as the first time and changes nothing.
///
/// A caller makes one call after the other: Redis keeps the reply to its last one, for two minutes.
#[derive(Debug)]
pub struct Request {
    caller: Arc<str>,
    number: u64,
    first_sent: std::sync::OnceLock<Instant>,
    was_sent: AtomicBool,
}

impl Request {
    /// The only request of a caller of its own.
    pub fn new() -> Self {
        Request::of(uuid::Uuid::new_v4().to_string().into(), 0)
    }

    /// The request of this number of a caller, such as an attempt, which its lock token and job id name.
    pub fn of(caller: Arc<str>, number: u64) -> Self {
        Request {
            caller,
            number,
            first_sent: std::sync::OnceLock::new(),
            was_sent: AtomicBool::new(false),
        }
    }

    /// A request that is carried out each time.
    pub(crate) fn untracked() -> Self {
        Request::of("".into(), 0)
    }

    /// Writes the three arguments of `lua/lib/request.lua`. Fails where Redis may have forgotten the first call.
    pub(crate) fn push(&self, call: &mut Cmd) -> Result<(), QueueError> {
        let first_sent = self.first_sent.get_or_init(Instant::now);
        let is_repetition = self.was_sent.swap(true, Ordering::Relaxed);
        if is_repetition && !self.caller.is_empty() && first_sent.elapsed() > REPEATED_FOR {
            return Err(QueueError::Invalid(format!(
                "not repeated: no reply for {} s, and the call may have been carried out",
                REPEATED_FOR.as_secs()
            )));
        }
        call.arg(&*self.caller)
            .arg(self.number)
            .arg(u8::from(is_repetition));
        Ok(())
    }
}

impl Default for Request {
    fn default() -> Self {
        Request::new()
    }
}
