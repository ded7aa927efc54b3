//! The limits of this process, and the cache of compiled code.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use toril::sandbox::{Engine, EngineOptions, check_cache_dir};

use super::{Finding, Fix};

const RAISE_LIMIT: &str = "raise the limit of the process: `ulimit -v unlimited`, or `LimitAS=infinity` in a systemd unit";

pub(super) fn look(options: &EngineOptions) -> Vec<Finding> {
    vec![memory(options), cache(options)]
}

/// Guests need address space, much more than memory: the engine reserves it when it is made.
fn memory(options: &EngineOptions) -> Finding {
    let made = Engine::new(&EngineOptions {
        cache_dir: None,
        ..options.clone()
    });
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    match (made, limit) {
        (Ok(_), None) => Finding::ok("address space", "is not limited"),
        (Ok(_), Some(limit)) => Finding::warning(
            "address space",
            format!(
                "is limited to {} GiB: fewer jobs may run at once than configured; the log of `toril serve` says how many",
                limit >> 30
            ),
            RAISE_LIMIT,
        ),
        (Err(error), _) => Finding::error("address space", &error, RAISE_LIMIT),
    }
}

fn cache(options: &EngineOptions) -> Finding {
    let Some(dir) = &options.cache_dir else {
        return Finding::warning(
            "cache",
            "compiled code is not kept: each start compiles all processors",
            "set `cache = true` in `[runtime]`, or set the variable HOME",
        );
    };
    let what = match check_cache_dir(dir) {
        Ok(()) => {
            return Finding::ok(
                "cache",
                format!("compiled code is kept in `{}`", dir.display()),
            );
        }
        Err(reason) => format!("`{}` is not used: {reason}", dir.display()),
    };
    if !is_own_dir(dir) {
        let repair =
            "name another directory as `runtime.cache_dir`: one that only the host's user uses";
        return Finding::warning("cache", what, repair);
    }
    let command = format!("chmod 700 {}", dir.display());
    let repair = format!("`{command}`, or name another directory as `runtime.cache_dir`");
    Finding::warning("cache", what, repair).fixed_by(Fix::ClosedDir(dir.clone()))
}

/// False for a directory that others may use for something else, such as `/tmp`.
fn is_own_dir(dir: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let (Ok(found), Ok(own)) = (dir.symlink_metadata(), Path::new("/proc/self").metadata()) else {
        return false;
    };
    let is_shared = found.mode() & STICKY != 0;
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names = files.map(|file| file.path());
    let is_code = |file: PathBuf| {
        file.extension()
            .is_some_and(|kind| kind == "cwasm" || kind == "functions")
    };
    found.is_dir() && found.uid() == own.uid() && !is_shared && names.all(is_code)
}
