//! Notices that processors' files change on disk.
//!
//! Directories are watched, not files: an editor, a build or a mounted config map puts a new file in the place
//! of the old one. Changes count once they have rested, so that half-written files are rarely read; one that is
//! read all the same is refused, and read again when it is whole.

mod processor;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::warn;

use crate::language::Language;
pub use processor::ProcessorFiles;

/// How long a directory must rest before its files are read.
pub(crate) const REST: Duration = Duration::from_millis(300);
/// The same where sources alone changed, or a person waits for it: editors write small files in a moment.
pub const REST_OF_EDITORS: Duration = Duration::from_millis(50);
/// The most paths that are told apart. A checkout of another branch changes more.
const PATHS_MAX: usize = 1000;
/// The most links that lead from a name to a file.
const LINKS_MAX: usize = 16;

/// Watches directories, and forgets them when it is dropped.
pub struct Watch {
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    asked: Arc<Mutex<Asked>>,
    watched: BTreeSet<PathBuf>,
    rest: Duration,
}

#[derive(Default)]
struct Asked {
    /// What is asked for. Their parents are watched, too: a directory that is made again is another one.
    dirs: BTreeSet<PathBuf>,
    changed: Changed,
}

/// The files and directories that changed, by each of their names that is known. None: it is not known which.
#[derive(Debug)]
pub struct Changed {
    paths: Option<BTreeSet<PathBuf>>,
}

impl Default for Changed {
    fn default() -> Self {
        let paths = Some(BTreeSet::new());
        Changed { paths }
    }
}

impl Changed {
    fn add(&mut self, more: BTreeSet<PathBuf>) {
        if let Some(paths) = &mut self.paths {
            paths.extend(more);
        }
        if self
            .paths
            .as_ref()
            .is_some_and(|paths| paths.len() > PATHS_MAX)
        {
            self.paths = None;
        }
    }

    fn is_empty(&self) -> bool {
        self.paths.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// True where nothing changed but files that are small and have to be built.
    fn is_of_sources(&self) -> bool {
        let of_sources =
            |paths: &BTreeSet<PathBuf>| paths.iter().all(|path| Language::of(path).is_some());
        self.paths.as_ref().is_some_and(of_sources)
    }
}

/// The names by which changes in directories are told: as they are asked for, and without links.
fn names_of(dirs: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let names = dirs.iter().flat_map(|dir| {
        let own = std::path::absolute(dir).ok();
        own.into_iter().chain(dir.canonicalize().ok())
    });
    names.collect()
}

impl Watch {
    /// Watches nothing yet. Changes count once they have rested for so long.
    pub fn new(rest: Duration) -> notify::Result<Self> {
        // One place is enough: it says that something changed, not what.
        let (changed, changes) = mpsc::channel(1);
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let noted = Arc::clone(&asked);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(event.kind) && noted.lock().note(&event)) {
                let _ = changed.try_send(());
            }
        })?;
        Ok(Watch {
            watcher,
            changes,
            asked,
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
        self.asked.lock().dirs = dirs;
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
                && self.asked.lock().dirs.contains(dir)
            {
                warn!(dir = %dir.display(), %error, "directory cannot be watched: the host does not notice its changes");
            }
        }
    }

    /// Waits until something changed, and then rested. Says where.
    pub async fn changed(&mut self) -> Changed {
        // A call that was dropped while it rested took the sign, but not what changed.
        let is_noted = !self.asked.lock().changed.is_empty();
        if !is_noted && self.changes.recv().await.is_none() {
            // The sender lives as long as the watcher, which is here.
            std::future::pending::<()>().await;
        }
        loop {
            let rest = match self.asked.lock().changed.is_of_sources() {
                true => self.rest.min(REST_OF_EDITORS),
                false => self.rest,
            };
            if tokio::time::timeout(rest, self.changes.recv())
                .await
                .is_err()
            {
                break;
            }
        }
        std::mem::take(&mut self.asked.lock().changed)
    }
}

/// Reading a file is an event, too: it must not make us read it again.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

impl Asked {
    /// Notes where something changed. False: nobody asked for it.
    fn note(&mut self, event: &Event) -> bool {
        if event.paths.is_empty() {
            self.changed.paths = None;
            return true;
        }
        let is_asked =
            |path: &&PathBuf| self.dirs.contains(*path) || self.dirs.contains(&dir_of(path));
        let asked: BTreeSet<PathBuf> = event.paths.iter().filter(is_asked).cloned().collect();
        self.changed
            .add(asked.iter().flat_map(|path| names_of_path(path)).collect());
        !asked.is_empty()
    }
}

/// A path as an event names it, and without links on the way to it.
fn names_of_path(path: &Path) -> impl Iterator<Item = PathBuf> {
    let dir = dir_of(path).canonicalize().ok();
    let resolved = dir.zip(path.file_name()).map(|(dir, name)| dir.join(name));
    [path.to_owned()].into_iter().chain(resolved)
}

/// The directory that a file is in.
fn dir_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A file, and what it links to, step by step.
fn steps_to(file: &Path) -> Vec<PathBuf> {
    let mut steps = vec![file.to_owned()];
    for _ in 0..LINKS_MAX {
        let Some(last) = steps.last() else { break };
        match std::fs::read_link(last) {
            Ok(target) => steps.push(dir_of(last).join(target)),
            Err(_) => break,
        }
    }
    steps
}

/// The directories whose changes can change what is read from a file: its own, and those of the links that lead to it.
fn dirs_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut dirs: BTreeSet<PathBuf> = steps_to(file).iter().map(|step| dir_of(step)).collect();
    // Directories of the path may be links themselves.
    dirs.extend(file.canonicalize().ok().map(|file| dir_of(&file)));
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn notices(watch: &mut Watch, change: impl FnOnce()) -> Changed {
        change();
        let noticed = tokio::time::timeout(Duration::from_secs(30), watch.changed()).await;
        noticed.expect("it is noticed")
    }

    #[tokio::test]
    async fn change_concerns_the_file_by_all_its_names_and_no_other_one() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = two.path().join("link");
        std::os::unix::fs::symlink(one.path(), &link).unwrap();
        let files = [
            link.join("a.wasm"),
            one.path().join("a.wasm"),
            one.path().join("b.wasm"),
        ];
        let files = files.map(|file| ProcessorFiles::of(&file));
        let mut watch = Watch::new(REST).unwrap();
        watch.set([link, two.path().to_owned()].into());
        let changed = notices(&mut watch, || {
            std::fs::write(one.path().join("a.wasm"), "a").unwrap();
        })
        .await;
        let concerned = files.map(|files| files.concern(&changed));
        assert_eq!(concerned, [true, true, false]);
    }

    /// Who waits may be called away while a change rests.
    #[tokio::test]
    async fn change_whose_wait_was_dropped_is_told_to_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.wasm");
        let files = ProcessorFiles::of(&file);
        let mut watch = Watch::new(Duration::from_secs(3_600)).unwrap();
        watch.set(files.dirs().clone());
        std::fs::write(&file, "a").unwrap();
        while watch.asked.lock().changed.is_empty() || !watch.changes.is_empty() {
            let rests = tokio::time::timeout(Duration::from_millis(10), watch.changed()).await;
            assert!(rests.is_err(), "it rests for an hour");
        }
        watch.rest = Duration::ZERO;
        let changed = notices(&mut watch, || {}).await;
        assert!(files.concern(&changed));
    }

    #[tokio::test]
    async fn link_whose_target_changes_elsewhere_is_noticed() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, target) = (one.path().join("link.wasm"), two.path().join("a.wasm"));
        std::fs::write(&target, "a").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut watch = Watch::new(REST).unwrap();
        let files = ProcessorFiles::of(&link);
        watch.set(files.dirs().clone());
        let changed = notices(&mut watch, || std::fs::write(&target, "b").unwrap()).await;
        assert!(files.concern(&changed));
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
