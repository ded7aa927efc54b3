//! What the sources of this process were made of when they were built last, as far as their tools tell: esbuild does.
//!
//! A project has more files than those: logs, results of tests, what the processor's host writes. Their changes change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tokio::sync::watch;

/// By the absolute name of the processor's file.
type MadeOf = BTreeMap<PathBuf, Known>;

#[derive(Default)]
struct Known {
    inputs: BTreeSet<PathBuf>,
    /// The last build succeeded, and none runs.
    is_complete: bool,
}

static MADE_OF: LazyLock<watch::Sender<MadeOf>> = LazyLock::new(watch::Sender::default);

fn name_of(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// A build begins. Until it succeeds, it is not known what the processor is made of: the file that is missing may be the next
/// one to be saved.
pub(crate) fn forget(file: &Path) {
    // Nobody who waits for new files has to know.
    MADE_OF.send_if_modified(|made_of| {
        made_of.entry(name_of(file)).or_default().is_complete = false;
        false
    });
}

/// A build succeeded.
pub(crate) fn note(file: &Path, inputs: BTreeSet<PathBuf>) {
    MADE_OF.send_if_modified(|made_of| {
        let known = made_of.entry(name_of(file)).or_default();
        let is_new = known.inputs != inputs;
        *known = Known {
            inputs,
            is_complete: true,
        };
        is_new
    });
}

/// True or false where it is known whether a change of this path changes what a processor is made of. Directories change with
/// all that is in them.
pub(crate) fn has(file: &Path, changed: &Path) -> Option<bool> {
    let made_of = MADE_OF.borrow();
    let known = made_of.get(&name_of(file))?;
    let is_input = known.inputs.iter().any(|input| input.starts_with(changed));
    (known.is_complete || is_input).then_some(is_input)
}

/// The directories of the files that a processor was made of last.
pub(crate) fn dirs(file: &Path) -> BTreeSet<PathBuf> {
    let made_of = MADE_OF.borrow();
    let inputs = made_of.get(&name_of(file)).map(|known| &known.inputs);
    let dirs = inputs
        .into_iter()
        .flatten()
        .filter_map(|input| input.parent());
    dirs.map(Path::to_owned).collect()
}

/// Tells when a processor was made of other files than before.
pub(crate) fn changes() -> watch::Receiver<impl Sized> {
    MADE_OF.subscribe()
}
