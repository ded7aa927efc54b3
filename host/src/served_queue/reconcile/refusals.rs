//! What was refused, shown until it is accepted, and when it is tried again.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::served_queue::spec::QueueSpec;
use crate::served_queue::{Refusal, Shared};
use toril_queue::now_ms;

/// The pause before what was refused is tried again, at first and at most. A refusal may be temporary (a directory that
/// is not mounted yet, a compiler without memory); trying costs a compilation at worst.
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The pause is at least so many times what the try took.
const RETRY_SHARE: u32 = 10;
/// What can be refused, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Spec,
    File,
    Deployed,
    Candidate,
}

/// What is refused of one queue.
pub(super) struct Refusals {
    shared: Arc<Shared>,
    parts: BTreeMap<Part, Refusal>,
    changed: bool,
    /// Who listens closely hears of the next refusal also where it is none new.
    repeat: bool,
}

impl Refusals {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Refusals {
            shared,
            parts: BTreeMap::new(),
            changed: false,
            repeat: false,
        }
    }

    /// Tells of the next refusal in any case: a person asked, and waits for an answer.
    pub(super) fn repeat_next(&mut self) {
        self.repeat = true;
    }

    /// True where something else is shown than when this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn of(&self, part: Part) -> Option<&Refusal> {
        self.parts.get(&part)
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.show();
    }

    pub(super) fn refuse(&mut self, part: Part, digest: Option<&str>, reason: String) {
        let refusal = Refusal {
            digest: digest.map(str::to_owned),
            reason: QueueSpec::with_section_of(&self.shared.name, &reason),
            at: now_ms(),
        };
        let before = self.parts.insert(part, refusal.clone());
        let is_news = before.is_none_or(|before| {
            (before.digest, before.reason) != (refusal.digest.clone(), refusal.reason.clone())
        });
        if is_news {
            warn!(
                queue = self.shared.name.as_str(),
                digest,
                error = refusal.reason,
                "swap was refused: the current processor continues to serve"
            );
            self.shared.observers.metrics.refusals.inc();
        }
        if std::mem::take(&mut self.repeat) || is_news {
            self.shared.observers.listeners.refused(&refusal.reason);
        }
        self.show();
    }

    /// Nothing is refused of this any more.
    pub(super) fn accept(&mut self, part: Part) {
        if self.parts.remove(&part).is_some() {
            self.show();
        }
    }

    fn show(&mut self) {
        self.changed = true;
        let newest = self.parts.values().max_by_key(|refusal| refusal.at);
        self.shared.refusal.store(newest.cloned().map(Arc::new));
    }
}

/// When to try again.
pub(super) struct Retry {
    at: Option<Instant>,
    pause: Duration,
    /// What the last try took.
    pub(super) took: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            at: None,
            pause: RETRY_MIN,
            took: Duration::ZERO,
        }
    }
}

impl Retry {
    /// Something was changed: what was refused may be tried soon.
    pub(super) fn reset(&mut self) {
        *self = Retry::default();
    }

    pub(super) fn begin(&mut self) {
        (self.at, self.took) = (None, Duration::ZERO);
    }

    /// Sets the time of the next try, where one is needed and not set. `soon`: it was Redis that did not answer.
    pub(super) fn schedule(&mut self, needed: bool, soon: bool) {
        if !needed {
            return self.reset();
        }
        if self.at.is_some() {
            return;
        }
        let pause = match soon {
            true => RETRY_MIN,
            false => self.pause.max(self.took * RETRY_SHARE),
        };
        self.at = Some(Instant::now() + pause);
        self.pause = (self.pause * 2).min(RETRY_MAX);
    }

    pub(super) async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => pending().await,
        }
    }
}
