//! What WASI gives a guest: what every standard library imports, and in it what is granted.

use anyhow::Context as _;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_config::WasiConfigVariables;

use super::output::{GuestOutput, LogBudget, Printed};
use crate::backend::JobBackend;
use crate::open_files::{Ticket, TooMany};
use crate::policy::{Grants, Policy};
use crate::recording::{Tape, TapedMonotonic, TapedRandom, TapedWall};

/// Handles that a guest may hold at once: open files, streams, requests.
const HANDLES_MAX: usize = 1024;
/// Random bytes that one call may ask for.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Tells a guest that has a limit of its own below that of its queue, as the JavaScript engine does, how much memory it may
/// have, in bytes.
const MEMORY_VARIABLE: &str = "TORIL_MEMORY_BYTES_MAX";

/// Tells a guest that it may run another job after this one.
const REUSE_VARIABLE: &str = "TORIL_REUSE";

/// The WASI context of an instance, but the directories.
pub(super) fn context(
    policy: &Policy,
    log: &LogBudget,
    backend: &dyn JobBackend,
    tape: &Tape,
) -> WasiCtxBuilder {
    let grants = &policy.grants;
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(GuestOutput::new(Printed::Stdout, log.clone()))
        .stderr(GuestOutput::new(Printed::Stderr, log.clone()));
    wasi.max_random_size(RANDOM_BYTES_MAX);
    let shown = backend.wall_clock();
    let taped = !matches!(tape, Tape::None);
    if taped {
        wasi.monotonic_clock(TapedMonotonic::new(tape.clone()));
    }
    if let Some(seed) = tape.seed() {
        let mut insecure = TapedRandom::new(seed, 1);
        wasi.insecure_random_seed(insecure.first());
        wasi.secure_random(TapedRandom::new(seed, 0));
        wasi.insecure_random(insecure);
    }
    if shown.is_some() || taped {
        let tape = tape.clone();
        wasi.wall_clock(TapedWall { tape, shown });
    }
    wasi.env(MEMORY_VARIABLE, policy.limits.memory_bytes_max.to_string());
    if policy.reuse.is_some() {
        wasi.env(REUSE_VARIABLE, "1");
    }
    for (name, value) in &grants.env {
        wasi.env(name, value);
    }
    for (name, secret) in grants.secrets.iter() {
        wasi.env(name, secret.reveal());
    }
    wasi
}

/// Takes from the files that all guests may have open one for each granted directory.
pub(super) fn take_dirs(grants: &Grants) -> anyhow::Result<Vec<Ticket>> {
    let too_many = || anyhow::anyhow!(TooMany::OfAll.text());
    let dirs = grants.dirs.iter();
    dirs.map(|_| Ticket::take().ok_or_else(too_many)).collect()
}

/// The WASI context with the directories that are granted, if any are. Fails where one cannot be opened.
pub(super) fn context_with_dirs(
    policy: &Policy,
    log: &LogBudget,
    backend: &dyn JobBackend,
    tape: &Tape,
) -> anyhow::Result<Option<WasiCtx>> {
    let grants = &policy.grants;
    // A recording holds no files.
    if grants.dirs.is_empty() || tape.is_replay() {
        return Ok(None);
    }
    let mut wasi = context(policy, log, backend, tape);
    for dir in &grants.dirs {
        let access = if dir.writable {
            FsPerms::ReadWrite
        } else {
            FsPerms::ReadOnly
        };
        // Paths are resolved below the open directory: neither `..` nor a link leads out of it.
        wasi.preopened_dir(&dir.host, &dir.guest, access)
            .map_err(anyhow::Error::from)
            .with_context(|| format!("failed to open directory `{}`", dir.host.display()))?;
    }
    Ok(Some(wasi.build()))
}

/// What `wasi:config` answers.
pub(super) fn config_variables(grants: &Grants) -> WasiConfigVariables {
    grants.config.clone().into_iter().collect()
}

/// Why a guest gets no further handle.
pub(crate) fn too_many_handles() -> String {
    format!("processor exceeded its limit of {HANDLES_MAX} open handles")
}

/// A table for the guest's handles.
pub(super) fn handles() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES_MAX);
    table
}
