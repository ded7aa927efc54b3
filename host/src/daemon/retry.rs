//! Reads the config again where something of it could not be read: the directory of processors, or the file itself. Both may
//! be away for a moment, while they are replaced.

use std::io;
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use super::follow::{Cause, Files};
use crate::config::Reread;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// When the config is read again without being asked for.
#[derive(Default)]
pub(super) struct Retry {
    next: Option<Next>,
    /// What was said last, which is not said at each try.
    said: String,
    /// What could be read was taken up since somebody last asked for the config.
    taken: bool,
}

struct Next {
    at: Instant,
    pause: Duration,
}

impl Retry {
    /// Waits until it is; for ever where nothing is to be read again.
    pub(super) async fn is_due(&self) {
        match &self.next {
            Some(next) => tokio::time::sleep_until(next.at).await,
            None => std::future::pending().await,
        }
    }

    /// What to take up of a config that was read. Says what could not be read, and tries it again.
    pub(super) fn after(
        &mut self,
        cause: &Cause,
        loaded: anyhow::Result<(Reread, Files)>,
    ) -> Option<(Reread, Files)> {
        let is_retry = matches!(cause, Cause::Retry);
        // The log may be in a directory that is watched, where each line of it is a change.
        let is_asked = matches!(cause, Cause::Signal | Cause::Saved(_));
        match loaded {
            Ok((reread, files)) => {
                let Some(error) = &reread.unlisted else {
                    *self = Retry::default();
                    return Some((reread, files));
                };
                self.say(
                    is_asked,
                    error,
                    "the queues of `processors_dir` stay as they are; the host lists the directory again later",
                );
                self.set_next(is_retry);
                let is_taken = is_retry && self.taken;
                self.taken = true;
                (!is_taken).then_some((reread, files))
            }
            Err(error) => {
                self.say(
                    is_asked,
                    &error,
                    "the config was refused; the old one stays in effect",
                );
                match cause {
                    Cause::Files(_) => {}
                    // It may be in the middle of an edit.
                    Cause::Retry => self.set_next(true),
                    Cause::Signal | Cause::Saved(_) => {
                        self.taken = false;
                        self.next = None;
                        if is_unreadable(&error) {
                            self.set_next(false);
                        }
                    }
                }
                None
            }
        }
    }

    fn say(&mut self, is_asked: bool, error: &anyhow::Error, what: &str) {
        let error = format!("{error:#}");
        if is_asked || error != self.said {
            error!(error, "{what}");
        }
        self.said = error;
    }

    fn set_next(&mut self, is_retry: bool) {
        let before = self.next.as_ref().filter(|_| is_retry);
        let pause = before.map_or(PAUSE_MIN, |next| (next.pause * 2).min(PAUSE_MAX));
        self.next = Some(Next {
            at: Instant::now() + pause,
            pause,
        });
    }
}

/// True where the file may be there a moment later. One that is invalid has to be written again.
fn is_unreadable(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<io::Error>())
}
