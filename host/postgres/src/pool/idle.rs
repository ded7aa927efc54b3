//! Sessions that nobody uses: clean, and closed when they are old.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::session::Session;

/// A backend of Postgres grows with what it has seen, so that a session is not kept for longer.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// The last one in is the first one out, so that those that are not needed grow old.
#[derive(Default, Clone)]
pub(super) struct Idle {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// The oldest first, with the time at which each is closed.
    sessions: Vec<(Session, Instant)>,
    /// A task closes those that are old.
    is_watched: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for (session, _) in &mut self.sessions {
            session.end_now();
        }
    }
}

impl Idle {
    pub(super) fn len(&self) -> usize {
        self.inner.lock().sessions.len()
    }

    /// One that the server has not closed since.
    pub(super) fn take(&self) -> Option<Session> {
        loop {
            let (mut session, _) = self.inner.lock().sessions.pop()?;
            if session.is_quiet() {
                return Some(session);
            }
        }
    }

    /// Keeps a session, or closes it if it is old.
    pub(super) fn put(&self, mut session: Session, keep: Duration) {
        let now = Instant::now();
        if session.retires || now.duration_since(session.born) >= AGE_MAX {
            session.end_now();
            return;
        }
        let mut inner = self.inner.lock();
        inner.sessions.push((session, now + keep));
        if !inner.is_watched
            && let Ok(runtime) = Handle::try_current()
        {
            inner.is_watched = true;
            runtime.spawn(watch(Arc::downgrade(&self.inner)));
        }
    }
}

/// Closes sessions at their time, until there is none.
async fn watch(inner: std::sync::Weak<Mutex<Inner>>) {
    loop {
        let next = {
            let Some(inner) = inner.upgrade() else { return };
            let mut inner = inner.lock();
            let now = Instant::now();
            let old = inner.sessions.partition_point(|(_, until)| *until <= now);
            for (session, _) in &mut inner.sessions[..old] {
                session.end_now();
            }
            inner.sessions.drain(..old);
            match inner.sessions.first() {
                Some((_, until)) => *until,
                None => {
                    inner.is_watched = false;
                    return;
                }
            }
        };
        sleep_until(next).await;
    }
}
