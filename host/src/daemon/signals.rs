//! The signals that operate a host.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// What a signal asks for.
#[derive(PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    /// Asks for the same as SIGTERM, from within the process.
    quit: Arc<Notify>,
    /// A SIGHUP came while only a stop was waited for.
    reload_is_due: bool,
}

impl Signals {
    pub(super) fn new(quit: Option<Arc<Notify>>) -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            quit: quit.unwrap_or_default(),
            reload_is_due: false,
        })
    }

    pub(super) async fn next(&mut self) -> Asked {
        if std::mem::take(&mut self.reload_is_due) {
            return Asked::Reload;
        }
        self.received().await
    }

    async fn received(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            () = self.quit.notified() => Asked::Stop,
            _ = self.reload.recv() => Asked::Reload,
        }
    }

    pub(super) async fn stop(&mut self) {
        while self.received().await != Asked::Stop {
            self.reload_is_due = true;
        }
    }

    /// Does some work; none where it was stopped before its end.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.stop() => None,
        }
    }
}
