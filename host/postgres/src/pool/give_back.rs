//! What becomes of a session when its user is done with it, or is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Inner, Lease};
use crate::session::Session;

/// How long a server may take to reset a session.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(session), Some(permit)) = (self.session.take(), self.permit.take()) else {
            return;
        };
        let inner = Arc::clone(&self.inner);
        if !session.busy && !session.touched && !session.in_transaction() {
            inner.idle.put(session, inner.options.idle);
            return;
        }
        // Its place stays taken meanwhile: the server has this connection still.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(clean(inner, session, permit))),
            // The process ends; the server sees the connection closed.
            Err(_) => drop(session),
        }
    }
}

/// At once, not when the next user comes: what the last one locked is free again.
async fn clean(inner: Arc<Inner>, mut session: Session, permit: OwnedSemaphorePermit) {
    if session.busy {
        session.close().await;
    } else {
        match session.reset(Instant::now() + RESET_TIMEOUT).await {
            Ok(()) => inner.idle.put(session, inner.options.idle),
            Err(error) => {
                tracing::debug!(%error, "session of Postgres could not be reset and is closed");
                session.close().await;
            }
        }
    }
    drop(permit);
}
