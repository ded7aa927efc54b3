//! What a host takes up while it serves: changes of the config on SIGHUP, and of watched files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tracing::{error, info, warn};

use super::retry::Retry;
use super::signals::{Asked, Signals};
use crate::config::{Config, Reread, Source, warn_of_left_out};
use crate::host::{Detach, Host, Reloaded};
use crate::language::made_of;
use crate::served_queue::QueueSpec;
use crate::watch::{self, Changed, ProcessorFiles, Watch};

/// How long reading the config again may take, with all that it names.
const RELOAD_TIME_MAX: Duration = Duration::from_secs(30);

/// Takes up changes of the config on SIGHUP, and of watched files at once, until the host should stop.
/// If the host is attended, a saved config needs no signal.
pub(super) async fn follow_files(
    host: &Host,
    source: &Source,
    config: &Config,
    signals: &mut Signals,
    attended: bool,
) {
    let mut current = config.clone();
    let (config_dirs, rest) = match attended {
        true => (
            ProcessorFiles::of(source.path()).dirs().clone(),
            watch::REST_OF_EDITORS,
        ),
        false => (BTreeSet::new(), watch::REST),
    };
    // Before the files are looked for: what is built after that is noticed.
    let mut built = made_of::changes();
    let mut files = Files::of(config, &config_dirs);
    let mut watch = watch_files(config, &files, rest);
    let mut retry = Retry::default();
    let mut refused_before = Vec::new();
    // Not before: who reads this may change a file at once.
    info!(queues = config.queues.len(), "serving");
    loop {
        let cause = tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => return,
                Asked::Reload => Cause::Signal,
            },
            changed = changed(&mut watch) => match attended {
                true => Cause::Saved(changed),
                false => Cause::Files(changed),
            },
            () = retry.is_due() => Cause::Retry,
            _ = built.changed(), if watch.is_some() => {
                let looking = files_now(&current, &config_dirs);
                let Some(found) = signals.unless_stopped(looking).await else {
                    return;
                };
                files = found.unwrap_or(files);
                set_dirs(&mut watch, &files);
                continue;
            }
        };
        if let Some(watch) = &mut watch {
            watch.renew();
        }
        let loading = load_again(source, &current, &config_dirs);
        let Some(loaded) = signals.unless_stopped(loading).await else {
            return;
        };
        // Before the processors are read: what changes after that is noticed.
        let reread = retry.after(&cause, loaded).map(|(reread, named)| {
            files = named;
            set_dirs(&mut watch, &files);
            reread
        });
        if let Some(reread) = &reread {
            warn_of(reread, &current, &mut refused_before, &cause);
        }
        let config = reread.map(|reread| reread.config);
        follow_change(host, config, &mut current, &cause, &files);
    }
}

/// Why the config and the files are read again.
pub(super) enum Cause {
    /// Somebody asked for it.
    Signal,
    /// These files changed.
    Files(Changed),
    /// A person who watches saved these.
    Saved(Changed),
    /// Something could not be read before.
    Retry,
}

impl Cause {
    /// True where the config should be taken up as it is written now.
    fn asks_for_the_config(&self) -> bool {
        !matches!(self, Cause::Files(_))
    }

    /// True where this config should be taken up. A directory of processors names queues, too.
    fn takes_up(&self, config: &Config) -> bool {
        self.asks_for_the_config() || config.processors_dir.is_some()
    }

    /// True where a queue should read its processor again.
    fn concerns(&self, queue: &str, files: &Files) -> bool {
        match self {
            Cause::Signal => true,
            Cause::Files(changed) | Cause::Saved(changed) => files.concern(queue, changed),
            // It did so when it was asked to.
            Cause::Retry => false,
        }
    }
}

/// Where the files are that the queues are made of.
pub(super) struct Files {
    /// What to watch.
    dirs: BTreeSet<PathBuf>,
    of_queues: BTreeMap<String, ProcessorFiles>,
}

impl Files {
    fn of(config: &Config, others: &BTreeSet<PathBuf>) -> Self {
        let queues = config.queues.iter();
        let queues = queues.map(|(name, queue)| (name, &queue.processor));
        let unusable = config.unusable.iter();
        let unusable = unusable.map(|(name, queue)| (name, &queue.processor));
        let files = queues.chain(unusable);
        let files = files.filter_map(|(name, file)| Some((name.clone(), file.as_deref()?)));
        let of_queues = files.map(|(name, file)| (name, ProcessorFiles::of(file)));
        let of_queues: BTreeMap<_, _> = of_queues.collect();
        let all = of_queues.values().flat_map(|files| files.dirs().clone());
        let all = all.chain(config.processors_dir.clone());
        Files {
            dirs: all.chain(others.iter().cloned()).collect(),
            of_queues,
        }
    }

    /// True where a change may be one of a queue's processor.
    fn concern(&self, queue: &str, changed: &Changed) -> bool {
        let files = self.of_queues.get(queue);
        files.is_some_and(|files| files.concern(changed))
    }
}

/// Reads the config, and where its files are; beside the main task, because a file system may not answer.
async fn load_again(
    source: &Source,
    current: &Config,
    others: &BTreeSet<PathBuf>,
) -> anyhow::Result<(Reread, Files)> {
    let (source, current, others) = (source.clone(), current.clone(), others.clone());
    let loading = tokio::task::spawn_blocking(move || {
        let reread = source.load_again(&current)?;
        let files = Files::of(&reread.config, &others);
        anyhow::Ok((reread, files))
    });
    let loaded = tokio::time::timeout(RELOAD_TIME_MAX, loading).await;
    loaded.context("a file system that it names does not answer")??
}

/// The files that the config names, unless a file system does not answer.
async fn files_now(config: &Config, others: &BTreeSet<PathBuf>) -> Option<Files> {
    let (config, others) = (config.clone(), others.clone());
    let looking = tokio::task::spawn_blocking(move || Files::of(&config, &others));
    let found = tokio::time::timeout(RELOAD_TIME_MAX, looking).await;
    found.ok()?.ok()
}

fn set_dirs(watch: &mut Option<Watch>, files: &Files) {
    if let Some(watch) = watch {
        watch.set(files.dirs.clone());
    }
}

/// Tells each queue that it concerns what changed. Each takes it up by itself: nobody waits here.
fn follow_change(
    host: &Host,
    config: Option<Config>,
    current: &mut Config,
    cause: &Cause,
    files: &Files,
) {
    let mut applied = BTreeSet::new();
    if let Some(config) = config
        && cause.takes_up(&config)
    {
        applied = apply(host, current, &config);
        *current = config;
    }
    let by_signal = cause.asks_for_the_config();
    let reloading = host.start_reload(by_signal, |name| {
        !applied.contains(name) && cause.concerns(name, files)
    });
    for (queue, reloaded) in reloading {
        tokio::spawn(async move {
            if let Some(Some(reloaded)) = reloaded.get().await {
                note_reloaded(&queue, reloaded, by_signal);
            }
        });
    }
}

/// Says what is not taken up of a config. What was said before is said again only to somebody who asks: the log may be in a
/// directory that is watched, where each line of it is a change.
fn warn_of(reread: &Reread, old: &Config, refused_before: &mut Vec<String>, cause: &Cause) {
    let new = &reread.config;
    if !cause.takes_up(new) {
        return;
    }
    let is_asked = matches!(cause, Cause::Signal);
    warn_of_left_out(
        new.left_out
            .iter()
            .filter(|(file, error)| is_asked || old.left_out.get(*file) != Some(*error)),
    );
    let refused = reread.refused.iter().map(|error| format!("{error:#}"));
    let refused: Vec<String> = refused.collect();
    for error in &refused {
        if is_asked || !refused_before.contains(error) {
            warn!(
                error,
                "a part of the config that takes effect only at a start was refused; the host keeps the old one"
            );
        }
    }
    *refused_before = refused;
    let keys = old.fixed_keys_changed(new);
    if !keys.is_empty() {
        warn!(
            keys = keys.join(", "),
            "these keys have changed; they take effect when the host starts again"
        );
    }
}

fn watch_files(config: &Config, files: &Files, rest: Duration) -> Option<Watch> {
    if !config.watch {
        return None;
    }
    let mut watch = Watch::new(rest)
        .inspect_err(|error| error!(%error, "files cannot be watched"))
        .ok()?;
    watch.set(files.dirs.clone());
    Some(watch)
}

async fn changed(watch: &mut Option<Watch>) -> Changed {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Attaches, changes and detaches queues as a new config says. Queues that were attached through the admin API stay as
/// they are. Returns the queues that it changes.
fn apply(host: &Host, old: &Config, new: &Config) -> BTreeSet<String> {
    let attached: BTreeSet<String> = host.names().into_iter().collect();
    let mut changed = BTreeSet::new();
    let names: BTreeSet<&String> = new.names().collect();
    for name in old.names().filter(|name| !names.contains(name)) {
        if attached.contains(name) {
            let detached = host.detach(name, Detach::Wait);
            note(name, "detached", async { Ok(detached.await?) });
            changed.insert(name.clone());
        }
    }
    let done = |name: &String| match attached.contains(name) {
        false => "attached",
        true => "changed",
    };
    for (name, section) in &new.unusable {
        let applied = host.apply_section(name, Arc::clone(section));
        note(name, done(name), async { Ok(applied.await?) });
        changed.insert(name.clone());
    }
    for (name, spec) in &new.queues {
        let done = done(name);
        if done == "changed" && old.queues.get(name) == Some(spec) {
            continue;
        }
        let applied = host.apply(name, spec.clone());
        note(name, done, async { Ok(applied.await?) });
        changed.insert(name.clone());
    }
    changed
}

/// Logs what comes of a change, some time later.
fn note(
    queue: &str,
    done: &'static str,
    result: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let queue = queue.to_owned();
    tokio::spawn(async move {
        match result.await {
            Ok(()) => info!(queue, done, "queue was {done} as the config says"),
            Err(error) => {
                let error = QueueSpec::with_section_of(&queue, &format!("{error:#}"));
                error!(queue, error, "queue could not be {done} as the config says");
            }
        }
    });
}

fn note_reloaded(queue: &str, reloaded: Reloaded, by_signal: bool) {
    match reloaded {
        // The queue's task has told.
        Reloaded::Swapped | Reloaded::Refused => {}
        Reloaded::Hidden => info!(
            queue,
            "file changed, but a deployment takes precedence; `toril undeploy {queue}` removes it"
        ),
        Reloaded::Unchanged if by_signal => info!(queue, "processor is unchanged"),
        Reloaded::Unchanged => {}
    }
}
