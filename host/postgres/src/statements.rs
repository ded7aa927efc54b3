//! The statements that a session has prepared, by text.

use std::collections::HashMap;
use std::sync::Arc;

use crate::session::Column;

/// Statements that one session keeps: each holds a plan at the server.
const KEPT_MAX: usize = 100;
/// Longer ones are made by programs and differ each time.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A statement that the server keeps under a name.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) name: Arc<str>,
    /// None until the server described them.
    pub(crate) columns: Option<Arc<[Column]>>,
}

#[derive(Default)]
pub(crate) struct Statements {
    kept: HashMap<Box<str>, (Prepared, u64)>,
    /// Counts uses, and makes names.
    clock: u64,
}

impl Statements {
    pub(crate) fn may_keep(text: &str) -> bool {
        text.len() <= TEXT_BYTES_MAX
    }

    pub(crate) fn get(&mut self, text: &str) -> Option<Prepared> {
        let (prepared, used) = self.kept.get_mut(text)?;
        self.clock += 1;
        *used = self.clock;
        Some(prepared.clone())
    }

    pub(crate) fn new_name(&mut self) -> Arc<str> {
        self.clock += 1;
        format!("toril_{}", self.clock).into()
    }

    pub(crate) fn keep(&mut self, text: &str, prepared: Prepared) {
        self.clock += 1;
        self.kept.insert(text.into(), (prepared, self.clock));
    }

    /// The one to close before another is prepared.
    pub(crate) fn make_room(&mut self) -> Option<Arc<str>> {
        if self.kept.len() < KEPT_MAX {
            return None;
        }
        let oldest = self.kept.iter().min_by_key(|(_, (_, used))| *used);
        let text = oldest?.0.clone();
        self.forget(&text)
    }

    pub(crate) fn forget(&mut self, text: &str) -> Option<Arc<str>> {
        let (prepared, _) = self.kept.remove(text)?;
        Some(prepared.name)
    }

    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}
