//! What the config says of one queue, for commands that serve none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use toril::config::{
    DEFAULT_FILE, Overrides, RedisSource, Source, default_cache_dir, processors_of,
};
use toril::language::project;
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

/// What a command looks at whose user names neither a queue nor a file: the only queue of the config, or the only processor
/// of this directory.
pub(super) fn only(config: Option<&Path>) -> anyhow::Result<(Option<String>, Option<PathBuf>)> {
    let file = config.unwrap_or(Path::new(DEFAULT_FILE));
    let named = match config.is_some() || file.is_file() {
        true => processors_of(file)?,
        false => Vec::new(),
    };
    match &named[..] {
        [] => {
            let found = project::find(Path::new("."))?.file;
            let found = found.strip_prefix(".").unwrap_or(&found);
            Ok((None, Some(found.to_owned())))
        }
        [(queue, _)] => Ok((Some(queue.clone()), None)),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "`{}` names several processors\nhint: name one of their queues with `--queue`: {}",
                file.display(),
                names.join(", ")
            )
        }
    }
}

/// The file that is named, or else the one that the config has for a queue.
pub(super) fn file_or(
    named: Option<PathBuf>,
    queue: Option<&str>,
    of_queue: Option<PathBuf>,
) -> anyhow::Result<PathBuf> {
    let queue = queue.unwrap_or_default();
    named.or(of_queue).with_context(|| {
        format!("queue `{queue}` has no processor in the config\nhint: name its file beside `--queue {queue}`")
    })
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
    let spec = config.queues.remove(queue);
    let spec = spec.ok_or_else(|| not_configured(queue, &name, source.redis().ok()))?;
    let engine = EngineOptions {
        executions_max: 1,
        idle_max: 0,
        ..config.runtime
    };
    Ok(QueueConfig { engine, spec })
}

/// A queue is asked for that the config does not have.
pub(super) fn not_configured(
    queue: &str,
    file: &Path,
    source: Option<RedisSource>,
) -> anyhow::Error {
    let near = source
        .as_ref()
        .and_then(|source| source.queue_like(queue))
        .map_or_else(String::new, |near| {
            format!("did you mean `{near}`? Otherwise ")
        });
    let section = QueueSpec::section(queue);
    let hint = format!("{near}add `[{section}]` to it, or name another file with `--config`");
    let hint = match file.is_file() {
        true => hint,
        false => project::hint_or(file.parent().unwrap_or(file), &hint),
    };
    anyhow!(
        "queue `{queue}` is not in `{}`\nhint: {hint}",
        file.display()
    )
}
