//! Calls that are carried out once however often they are sent, since a lost reply does not tell whether
//! the call was carried out.
//!
//! The script notes its reply under the caller's name; a call that is sent again finds it there. The note is
//! gone with the caller, or after two minutes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use redis::Cmd;

use crate::error::QueueError;
use crate::redis::connection::Redis;

/// For how long a request may be repeated. Below `NOTE_MS` of `lua/lib/request.lua`, by more than a call takes.
const REPEATED_FOR: Duration = Duration::from_secs(90);

/// Makes calls that must not be carried out twice, one after the other: such as an attempt at a job.
///
/// Dropped, it takes its notes out of Redis: they go over the connection ahead of whatever is sent there later.
pub struct Caller {
    redis: Redis,
    name: Arc<str>,
    requests: u64,
    notes: Notes,
}

/// The keys of a caller's notes: one in each queue that it called.
type Notes = Arc<Mutex<BTreeSet<String>>>;

/// One call of a caller. Sent again, it is answered as the first time and changes nothing.
pub struct Request {
    caller: Arc<str>,
    number: u64,
    notes: Notes,
    first_sent: OnceLock<Instant>,
    was_sent: AtomicBool,
}

impl Caller {
    /// A caller of this name, which nobody else has.
    pub fn new(redis: Redis, name: &str) -> Self {
        Caller {
            redis,
            name: name.into(),
            requests: 0,
            notes: Notes::default(),
        }
    }

    /// Its next call. The one before must have ended.
    pub fn request(&mut self) -> Request {
        self.requests += 1;
        Request {
            number: self.requests,
            notes: Arc::clone(&self.notes),
            ..Request::of(Arc::clone(&self.name))
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let notes = self.notes.lock();
        if notes.is_empty() {
            return;
        }
        let mut forget = redis::cmd("UNLINK");
        forget.arg(&*notes).set_no_response(true);
        // Handed to the connection now or never: notes that stay run out.
        let _ = forget
            .query_async::<()>(&mut self.redis.shared())
            .now_or_never();
    }
}

impl Request {
    fn of(caller: Arc<str>) -> Self {
        Request {
            caller,
            number: 0,
            notes: Notes::default(),
            first_sent: OnceLock::new(),
            was_sent: AtomicBool::new(false),
        }
    }

    /// A request that is carried out each time.
    pub fn untracked() -> Self {
        Request::of("".into())
    }

    /// True once it may not be repeated any more, because Redis may have forgotten the first call.
    pub fn is_over(&self) -> bool {
        let first_sent = self.first_sent.get();
        first_sent.is_some_and(|sent| sent.elapsed() > REPEATED_FOR)
    }

    /// Writes the three arguments of `lua/lib/request.lua`. Fails where Redis may have forgotten the first call.
    pub(crate) fn push(&self, call: &mut Cmd, base: &str) -> Result<(), QueueError> {
        if self.caller.is_empty() {
            call.arg("").arg("").arg("");
            return Ok(());
        }
        self.first_sent.get_or_init(Instant::now);
        let is_repetition = self.was_sent.swap(true, Ordering::Relaxed);
        if is_repetition && self.is_over() {
            return Err(QueueError::Invalid(format!(
                "no reply for {} s; the call was not repeated, because it may have taken effect",
                REPEATED_FOR.as_secs()
            )));
        }
        let note = format!("{base}:toril-request:{}", self.caller);
        self.notes.lock().insert(note);
        call.arg(&*self.caller)
            .arg(self.number)
            .arg(u8::from(is_repetition));
        Ok(())
    }
}
