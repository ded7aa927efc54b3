//! What the config says of one queue, for commands that serve none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toril::config::{DEFAULT_FILE, Overrides, Source, default_cache_dir};
use toril::processor_file::read_processor;
use toril::sandbox::{Engine, EngineOptions, LoadError};
use toril::served_queue::spec::QueueSpec;

use super::progress::during;

/// For an engine that looks at one component, which is compiled once and then kept.
pub(super) fn one_component() -> EngineOptions {
    EngineOptions {
        cache_dir: default_cache_dir(),
        ..EngineOptions::for_one_component()
    }
}

/// Says why a component was refused, for the queue that it is meant for.
pub(super) fn refused(file: &Path, queue: Option<&str>, error: &LoadError) -> anyhow::Error {
    let reason = match queue {
        Some(queue) => QueueSpec::with_section_of(queue, &error.to_string()),
        None => error.to_string(),
    };
    anyhow::Error::msg(reason).context(format!("component `{}` was refused", file.display()))
}

/// What a host would run a queue's processor with.
pub(super) struct QueueConfig {
    /// For an engine that runs one job at a time.
    pub(super) engine: EngineOptions,
    pub(super) spec: QueueSpec,
}

/// The component of a file, built where the file is source.
pub(super) async fn built(file: &Path, engine: &Engine) -> anyhow::Result<Vec<u8>> {
    let built = read_processor(file, engine.component_bytes_max());
    during(format_args!("building `{}`", file.display()), built).await
}

/// The environment variables that the config grants a queue; none where there is no such section.
pub(super) fn env_of(config: Option<PathBuf>, queue: &str) -> BTreeMap<String, String> {
    of(config, queue)
        .map(|config| config.spec.grants.env)
        .unwrap_or_default()
}

/// Reads it. What only a host needs is not read, nor are the sections of other queues, whose secrets may be out of reach
/// here.
pub(super) fn of(config: Option<PathBuf>, queue: &str) -> anyhow::Result<QueueConfig> {
    let overrides = Overrides {
        only_queue: Some(queue.to_owned()),
        ..Overrides::default()
    };
    let name = config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let source = Source {
        file: config,
        overrides,
    };
    let mut config = source.load_queues()?;
    let spec = config.queues.remove(queue).with_context(|| {
        format!(
            "queue `{queue}` is not in `{}`\nhint: add `[{}]` to it, or name another file with `--config`",
            name.display(),
            QueueSpec::section(queue)
        )
    })?;
    let engine = EngineOptions {
        executions_max: 1,
        idle_max: 0,
        ..config.runtime
    };
    Ok(QueueConfig { engine, spec })
}
