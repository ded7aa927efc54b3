//! Which changes on disk can change a processor.

use std::collections::BTreeSet;
use std::io::{stderr, stdout};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::{Changed, dir_of, names_of, steps_to};
use crate::language::{Language, made_of, project_dirs};

/// Files that programs write while they run. Where it is not known which files a processor was made of, their changes build
/// nothing: a host whose log lies in the project would build for ever.
const WRITTEN: [&str; 15] = [
    "aof", "bak", "db", "err", "jsonl", "log", "ndjson", "out", "pid", "rdb", "sock", "sqlite",
    "swp", "tmp", "wasm",
];

/// The files that the processor of a file is made of.
pub struct ProcessorFiles {
    file: PathBuf,
    is_source: bool,
    /// The file and the links that lead to it.
    steps: Vec<PathBuf>,
    dirs: BTreeSet<PathBuf>,
    /// The directories by each of their names.
    names: BTreeSet<PathBuf>,
}

impl ProcessorFiles {
    /// Looks where they are now.
    pub fn of(file: &Path) -> Self {
        let is_source = Language::of(file).is_some();
        let mut dirs = super::dirs_of(file);
        if is_source {
            dirs.extend(project_dirs(file));
            dirs.extend(made_of::dirs(file));
        }
        let steps = steps_to(file).into_iter();
        let steps = steps.filter_map(|step| std::path::absolute(step).ok());
        ProcessorFiles {
            file: file.to_owned(),
            is_source,
            steps: steps.chain(file.canonicalize().ok()).collect(),
            names: names_of(&dirs),
            dirs,
        }
    }

    /// The directories to watch.
    pub fn dirs(&self) -> &BTreeSet<PathBuf> {
        &self.dirs
    }

    /// True where a change may change the processor.
    pub fn concern(&self, changed: &Changed) -> bool {
        match &changed.paths {
            None => true,
            Some(paths) => paths.iter().any(|path| self.concerns(path)),
        }
    }

    fn concerns(&self, path: &Path) -> bool {
        if self.steps.iter().any(|step| step.starts_with(path)) {
            return true;
        }
        let is_near = || self.names.contains(path) || self.names.contains(&dir_of(path));
        self.is_source
            && made_of::has(&self.file, path).unwrap_or_else(|| is_near() && may_be_source(path))
    }
}

/// False for what is no source by its name, and for what this process prints into.
fn may_be_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_written = name.starts_with('.') || name.ends_with('~');
    !is_written && !extension.is_some_and(|it| WRITTEN.contains(&it)) && !is_own_output(path)
}

/// True for the file that stdout or stderr was redirected to.
fn is_own_output(path: &Path) -> bool {
    let outputs = [rustix::fs::fstat(stdout()), rustix::fs::fstat(stderr())];
    is_one_of(path, &outputs)
}

fn is_one_of(path: &Path, open: &[rustix::io::Result<Stat>]) -> bool {
    let Ok(file) = path.metadata() else {
        return false;
    };
    let is_same = |open: &Stat| open.st_ino == file.ino() && open.st_dev == file.dev();
    open.iter().flatten().any(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_was_not_made_of_does_not_concern_it() {
        let project = tempfile::tempdir().unwrap();
        let at = |name: &str| project.path().join(name);
        std::fs::write(at("package.json"), "").unwrap();
        std::fs::write(at("paint.ts"), "").unwrap();
        let concerned = |name: &str| {
            let mut changed = Changed::default();
            changed.add([at(name)].into());
            ProcessorFiles::of(&at("paint.ts")).concern(&changed)
        };
        let names = ["paint.ts", "color.ts", "host.log", "notes.md", ".notes"];
        // Nobody knows yet: what may be imported counts.
        assert_eq!(names.map(concerned), [true, true, false, true, false]);
        made_of::note(&at("paint.ts"), [at("paint.ts"), at("lib/color.ts")].into());
        assert_eq!(names.map(concerned), [true, false, false, false, false]);
        assert!(concerned("lib/color.ts") && concerned("lib"));
        assert!(!concerned("lib/other.ts"));
        // While it is built, a file may be saved that was not known before.
        made_of::forget(&at("paint.ts"));
        assert_eq!(names.map(concerned), [true, true, false, true, false]);
        assert!(concerned("lib/color.ts") && !concerned("lib/host.log"));
    }

    #[test]
    fn file_that_a_host_prints_into_is_no_source() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_own_output(&dir.path().join("none.ts")));
        let (file, other) = (dir.path().join("host.txt"), dir.path().join("other.txt"));
        for file in [&file, &other] {
            std::fs::write(file, "").unwrap();
        }
        let open = std::fs::File::open(&file).unwrap();
        assert!(is_one_of(&file, &[rustix::fs::fstat(&open)]));
        assert!(!is_one_of(&other, &[rustix::fs::fstat(&open)]));
    }
}
