//! Notices that processors' files change on disk.
//!
//! Directories are watched, not files: an editor, a build or a mounted config map puts a new file in the place
//! of the old one. Changes count once they have rested, so that half-written files are rarely read; one that is
//! read all the same is refused, and read again when it is whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::warn;

/// How long a directory must rest before its files are read.
pub(crate) const REST: Duration = Duration::from_millis(300);
/// The same where a person waits for it: editors write small files in a moment.
pub const REST_OF_EDITORS: Duration = Duration::from_millis(50);
/// The most links that lead from a name to a file.
const LINKS_MAX: usize = 16;

/// Watches directories, and forgets them when it is dropped.
pub struct Watch {
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    /// What is asked for. Their parents are watched, too: a directory that is made again is another one.
    dirs: Arc<Mutex<BTreeSet<PathBuf>>>,
    watched: BTreeSet<PathBuf>,
    rest: Duration,
}

impl Watch {
    /// Watches nothing yet. Changes count once they have rested for so long.
    pub fn new(rest: Duration) -> notify::Result<Self> {
        // One place is enough: it says that something changed, not what.
        let (changed, changes) = mpsc::channel(1);
        let dirs: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
        let wanted = Arc::clone(&dirs);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(event.kind) && concerns(&event, &wanted.lock())) {
                let _ = changed.try_send(());
            }
        })?;
        Ok(Watch {
            watcher,
            changes,
            dirs,
            watched: BTreeSet::new(),
            rest,
        })
    }

    /// Watches these directories, and no others any more.
    pub fn set(&mut self, dirs: BTreeSet<PathBuf>) {
        // Events name their paths so.
        let absolute = |dir: PathBuf| std::path::absolute(&dir).unwrap_or(dir);
        let dirs: BTreeSet<PathBuf> = dirs.into_iter().map(absolute).collect();
        let parents = dirs.iter().map(|dir| dir_of(dir));
        let all: BTreeSet<PathBuf> = parents.chain(dirs.iter().cloned()).collect();
        for gone in self.watched.difference(&all) {
            // One that was removed is not watched by itself.
            let _ = self.watcher.unwatch(gone);
        }
        *self.dirs.lock() = dirs;
        let before = std::mem::replace(&mut self.watched, all);
        self.watch_all(&before);
    }

    /// Watches directories that were made again since. Call it before they are read.
    pub(crate) fn renew(&mut self) {
        let known = self.watched.clone();
        self.watch_all(&known);
    }

    /// Complains about new ones only.
    fn watch_all(&mut self, known: &BTreeSet<PathBuf>) {
        for dir in &self.watched {
            // Again also where it is watched: under this name there may be another directory by now.
            let watched = self.watcher.watch(dir, RecursiveMode::NonRecursive);
            if let Err(error) = watched
                && !known.contains(dir)
                && self.dirs.lock().contains(dir)
            {
                warn!(dir = %dir.display(), %error, "directory cannot be watched, its changes are not noticed");
            }
        }
    }

    /// Waits until something changed, and then rested.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The sender lives as long as the watcher, which is here.
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(self.rest, self.changes.recv()).await {}
    }
}

/// Reading a file is an event, too: it must not make us read it again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// True where a file of these directories changed, or one of them did.
fn concerns(event: &Event, dirs: &BTreeSet<PathBuf>) -> bool {
    let concerns = |path: &PathBuf| dirs.contains(path) || dirs.contains(&dir_of(path));
    event.paths.is_empty() || event.paths.iter().any(concerns)
}

/// The directory that a file is in.
fn dir_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The directories whose changes can change what is read from a file: its own, and those of the links that lead to it.
pub fn dirs_of(file: &Path) -> BTreeSet<PathBuf> {
    let (mut dirs, mut file) = (BTreeSet::new(), file.to_owned());
    for _ in 0..LINKS_MAX {
        let dir = dir_of(&file);
        let target = std::fs::read_link(&file).map(|target| dir.join(target));
        dirs.insert(dir);
        match target {
            Ok(target) => file = target,
            Err(_) => break,
        }
    }
    // Directories of the path may be links themselves.
    dirs.extend(file.canonicalize().ok().map(|file| dir_of(&file)));
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn notices(watch: &mut Watch, change: impl FnOnce()) {
        change();
        let noticed = tokio::time::timeout(Duration::from_secs(30), watch.changed()).await;
        noticed.expect("it is noticed");
    }

    #[tokio::test]
    async fn link_whose_target_changes_elsewhere_is_noticed() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, target) = (one.path().join("link.wasm"), two.path().join("a.wasm"));
        std::fs::write(&target, "a").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut watch = Watch::new(REST).unwrap();
        watch.set(dirs_of(&link));
        notices(&mut watch, || std::fs::write(&target, "b").unwrap()).await;
    }

    #[tokio::test]
    async fn directory_that_is_made_again_is_noticed_and_watched() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("processors");
        std::fs::create_dir(&dir).unwrap();
        let mut watch = Watch::new(REST).unwrap();
        watch.set([dir.clone()].into());
        notices(&mut watch, || std::fs::remove_dir(&dir).unwrap()).await;
        notices(&mut watch, || std::fs::create_dir(&dir).unwrap()).await;
        watch.renew();
        notices(&mut watch, || {
            std::fs::write(dir.join("a.wasm"), "a").unwrap();
        })
        .await;
    }
}
