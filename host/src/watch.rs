//! Notices that processors' files change on disk.
//!
//! Directories are watched, not files: an editor, a build or a mounted config map puts a new file in the place
//! of the old one. Changes count once they have rested, so that half-written files are rarely read; one that is
//! read all the same is refused, and read again when it is whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

/// How long a directory must rest before its files are read.
const REST: Duration = Duration::from_millis(300);

/// Watches directories, and forgets them when it is dropped.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    dirs: BTreeSet<PathBuf>,
}

impl Watch {
    pub(crate) fn new() -> notify::Result<Self> {
        // One place is enough: it says that something changed, not what.
        let (changed, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                let _ = changed.try_send(());
            }
        })?;
        Ok(Watch {
            watcher,
            changes,
            dirs: BTreeSet::new(),
        })
    }

    /// Watches these directories, and no others any more.
    pub(crate) fn set(&mut self, dirs: BTreeSet<PathBuf>) {
        for gone in self.dirs.difference(&dirs) {
            // One that was removed is not watched by itself.
            let _ = self.watcher.unwatch(gone);
        }
        for dir in dirs.difference(&self.dirs) {
            let watched = self.watcher.watch(dir, RecursiveMode::NonRecursive);
            if let Err(error) = watched {
                warn!(dir = %dir.display(), %error, "directory cannot be watched, its changes are not noticed");
            }
        }
        self.dirs = dirs;
    }

    /// Waits until something changed, and then rested.
    pub(crate) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The sender lives as long as the watcher, which is here.
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(REST, self.changes.recv()).await {}
    }
}

/// Reading a file is an event, too: it must not make us read it again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// The directory that a file is in.
pub(crate) fn dir_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}
