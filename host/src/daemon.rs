//! `toril serve`: wires everything; starts, reloads, drains.
//!
//! Start: processors are checked first, so that mistakes show before anything is connected; then Redis; then they are
//! compiled, and each queue's worker begins as soon as its own is. Stop: workers take no more jobs, running ones end within the grace time,
//! the rest is given back; then our own Redis stops, if there is one.

mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backon::{ExponentialBuilder, Retryable as _};
use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::admin;
use crate::config::{Config, RedisConfig, Source, read_authority};
use crate::host::{self, CheckedFile, Detach, Host, OnQueue, Reloaded};
use crate::language::{Language, project_dirs};
use crate::private_redis::{self, PrivateRedis};
use crate::served_queue::QueueSpec;
use crate::telemetry::Telemetry;
use crate::versions::Version;
use crate::watch::{self, Watch};
use signals::{Asked, Signals};
use toril_queue::{QueueError, Redis, redacted};
use toril_sandbox::Engine;

/// Where our own Redis keeps its data, below the working directory.
const PRIVATE_REDIS_DIR: &str = ".toril/redis";

/// How long running jobs may take to end where a person watches and waits for the end.
const ATTENDED_GRACE_MS: u64 = 2_000;

/// A person who watches a host that serves what is being written.
///
/// What is refused at start does not end such a host: it waits for a better one. Changes of the config are taken up when its
/// file is saved.
pub struct Attendant {
    /// Hears what each queue's worker and task tell.
    pub on_queue: OnQueue,
    /// Ends the host.
    pub quit: Arc<Notify>,
}

/// Serves until it is told to stop.
pub async fn serve(source: Source) -> anyhow::Result<()> {
    run(source, None).await
}

/// Serves until it is told to stop, and is watched meanwhile.
pub async fn serve_attended(source: Source, attendant: Attendant) -> anyhow::Result<()> {
    run(source, Some(attendant)).await
}

async fn run(source: Source, attendant: Option<Attendant>) -> anyhow::Result<()> {
    let config = source.load()?;
    ensure_work(&config)?;
    let (on_queue, quit) = match attendant {
        Some(Attendant { on_queue, quit }) => (Some(on_queue), Some(quit)),
        None => (None, None),
    };
    let attended = on_queue.is_some();
    let grace_ms = match attended {
        true => config.grace_ms.min(ATTENDED_GRACE_MS),
        false => config.grace_ms,
    };
    let mut signals = Signals::new(quit)?;
    let engine = Arc::new(Engine::new(&config.runtime)?);
    let files = match attended {
        true => BTreeMap::new(),
        false => check_files(&engine, &config).await?,
    };
    // Before Redis: an address that is taken is a mistake that should show at once.
    let admin = match &config.admin {
        Some(admin) => Some(admin::Listener::bind(admin).await?),
        None => None,
    };
    let Some((redis, private)) = signals.unless_stopped(connect(&config)).await else {
        return Ok(());
    };
    let redis = redis?;
    redis.check_server().await.map_err(anyhow::Error::from)?;
    let telemetry = config
        .otlp
        .as_ref()
        .map(Telemetry::new)
        .transpose()?
        .map(Arc::new);
    let host = Host::watched(
        engine,
        redis,
        &config.redis.prefix,
        telemetry.clone(),
        on_queue,
    );
    let host = Arc::new(host);
    let admin = admin.map(|listener| listener.serve(Arc::clone(&host)));
    let attached = match attended {
        true => {
            attach_watched(&host, &config);
            Ok(Some(()))
        }
        false => {
            let attached = signals.unless_stopped(attach_all(&host, &config, files));
            attached.await.transpose()
        }
    };
    if let Ok(Some(())) = attached {
        if let Some(admin) = &admin {
            admin.set_ready(true);
        }
        follow_files(&host, &source, &config, &mut signals, attended).await;
    }
    // Some queues may serve already where others failed.
    stop(&host, grace_ms, &mut signals, admin.as_ref()).await;
    if let Some(telemetry) = telemetry {
        tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    }
    if let Some(private) = private {
        private
            .stop()
            .await
            .context("failed to stop our own redis")?;
        info!("stopped our own redis");
    }
    attached?;
    info!("stopped");
    Ok(())
}

fn ensure_work(config: &Config) -> anyhow::Result<()> {
    // Queues may come later where there is a way for them to come.
    if config.queues.is_empty() && config.admin.is_none() && config.processors_dir.is_none() {
        bail!(
            "no queue is configured\nhint: name one with `--queue NAME=FILE.wasm` or in `toril.toml`"
        );
    }
    Ok(())
}

/// The files of all queues, as far as they can be checked without compiling them.
async fn check_files(
    engine: &Engine,
    config: &Config,
) -> anyhow::Result<BTreeMap<String, Option<CheckedFile>>> {
    let mut files = BTreeMap::new();
    for (name, queue) in &config.queues {
        let file = match &queue.processor {
            Some(file) => {
                let checked = host::check_file(engine, file, &Arc::new(queue.policy())).await;
                Some(checked.with_context(|| format!("queue `{name}`"))?)
            }
            None => None,
        };
        files.insert(name.clone(), file);
    }
    Ok(files)
}

/// Begins to work all queues, side by side: none waits for the component of another one. Ends with the first that fails.
async fn attach_all(
    host: &Host,
    config: &Config,
    files: BTreeMap<String, Option<CheckedFile>>,
) -> anyhow::Result<()> {
    let attached = files.into_iter().map(async |(name, file)| {
        let spec = config.queues[&name].clone();
        let file = match file {
            Some(file) => Some(load(host, &name, file).await?),
            None => None,
        };
        anyhow::Ok(host.apply_loaded(&name, spec, file).await?)
    });
    try_join_all(attached).await?;
    Ok(())
}

/// Tells all queues to begin. Each says for itself what is refused, and tries again.
fn attach_watched(host: &Host, config: &Config) {
    for (name, spec) in &config.queues {
        drop(host.apply(name, spec.clone()));
    }
}

async fn load(host: &Host, queue: &str, file: CheckedFile) -> anyhow::Result<Arc<Version>> {
    let version = file.load(host.engine()).await;
    let version = version.with_context(|| format!("queue `{queue}`"))?;
    let processor = &version.processor;
    info!(
        queue,
        digest = %processor.digest,
        bytes = processor.inspection.bytes,
        compile_ms = u64::try_from(processor.compile_time.as_millis()).unwrap_or(u64::MAX),
        "processor is ready"
    );
    Ok(version)
}

/// Connects to the configured Redis for as long as it takes; where none is configured, to a local one,
/// or to one of our own.
async fn connect(config: &Config) -> (anyhow::Result<Redis>, Option<PrivateRedis>) {
    let RedisConfig {
        url,
        ca_file,
        local_port,
        ..
    } = &config.redis;
    if let Some(url) = url {
        let redis = match read_authority(ca_file.as_deref()) {
            Ok(authority) => connect_until_answered(url, authority.as_deref()).await,
            Err(error) => Err(error),
        };
        return (redis, None);
    }
    let port = *local_port;
    let url = private_redis::url(port);
    if private_redis::answers(&url).await {
        info!(url, "no redis is configured, using the one that runs here");
        return (connect_until_answered(&url, None).await, None);
    }
    match PrivateRedis::start(Path::new(PRIVATE_REDIS_DIR), port, true).await {
        Ok(private) => {
            warn!(
                url,
                dir = PRIVATE_REDIS_DIR,
                "no redis is configured and none runs here: started our own, which stops with this host"
            );
            (connect_until_answered(&url, None).await, Some(private))
        }
        Err(error) => (Err(error), None),
    }
}

async fn connect_until_answered(url: &str, authority: Option<&[u8]>) -> anyhow::Result<Redis> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times();
    let redis = (|| Redis::connect_trusting(url, authority))
        .retry(backoff)
        .when(QueueError::is_transient)
        .notify(|error, pause| {
            warn!(url = redacted(url), %error, retry_in = ?pause, "redis does not answer, trying again");
        })
        .await
        .with_context(|| format!("failed to connect to `{}`", redacted(url)))?;
    info!(url = redacted(url), "connected");
    Ok(redis)
}

/// Drains, and returns when all workers have ended.
async fn stop(host: &Host, grace_ms: u64, signals: &mut Signals, admin: Option<&admin::Server>) {
    if let Some(admin) = admin {
        // A load balancer that asks for it sends nothing more here.
        admin.set_ready(false);
    }
    info!(
        grace_ms,
        "stopping: running jobs may end, a second signal ends them now"
    );
    host.drain_all();
    drained(host, signals, grace_ms).await;
    // Redis may be away: other hosts see that this one is silent.
    let _ = tokio::time::timeout(Duration::from_secs(1), host.leave()).await;
}

async fn drained(host: &Host, signals: &mut Signals, grace_ms: u64) {
    tokio::select! {
        () = host.ended() => return,
        () = tokio::time::sleep(Duration::from_millis(grace_ms)) => {
            warn!("grace time is over, running jobs are given back");
        }
        () = signals.stop() => warn!("second signal, running jobs are given back"),
    }
    host.give_back_all();
    tokio::select! {
        () = host.ended() => {}
        () = signals.stop() => warn!("third signal, leaving at once"),
    }
}

/// Takes up changes of the config on SIGHUP, and of watched files at once, until the host should stop.
/// If the host is attended, a saved config needs no signal.
async fn follow_files(
    host: &Host,
    source: &Source,
    config: &Config,
    signals: &mut Signals,
    attended: bool,
) {
    let mut current = config.clone();
    let config_dirs = match attended {
        true => watch::dirs_of(source.path()),
        false => BTreeSet::new(),
    };
    let rest = match attended {
        true => watch::REST_OF_EDITORS,
        false => watch::REST,
    };
    let mut watch = watch_files(config, &config_dirs, rest);
    // Not before: who reads this may change a file at once.
    info!(queues = config.queues.len(), "serving");
    loop {
        let by_signal = tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => return,
                Asked::Reload => true,
            },
            () = changed(&mut watch) => attended,
        };
        if let Some(watch) = &mut watch {
            watch.renew();
        }
        let config = source.load().inspect_err(|error| {
            error!(
                error = format!("{error:#}"),
                "config was refused, the old one stays"
            );
        });
        // Before the files are read: what changes after that is noticed.
        if let (Some(watch), Ok(config)) = (&mut watch, &config) {
            watch.set(directories(config, &config_dirs));
        }
        follow_change(host, config.ok(), &mut current, by_signal);
    }
}

/// Tells each queue what changed. Each takes it up by itself: nobody waits here.
fn follow_change(host: &Host, config: Option<Config>, current: &mut Config, by_signal: bool) {
    let mut applied = BTreeSet::new();
    // A directory of processors names queues, too.
    if let Some(config) = config
        && (by_signal || config.processors_dir.is_some())
    {
        warn_of_fixed_keys(current, &config);
        applied = apply(host, &current.queues, &config.queues);
        *current = config;
    }
    let files = host.start_reload(by_signal, |name| !applied.contains(name));
    for (queue, reloaded) in files {
        tokio::spawn(async move {
            if let Some(Some(reloaded)) = reloaded.get().await {
                note_reloaded(&queue, reloaded, by_signal);
            }
        });
    }
}

fn warn_of_fixed_keys(old: &Config, new: &Config) {
    let keys = old.fixed_keys_changed(new);
    if !keys.is_empty() {
        warn!(
            keys = keys.join(", "),
            "these keys were changed, and are taken up when the host is started again"
        );
    }
}

fn watch_files(config: &Config, others: &BTreeSet<PathBuf>, rest: Duration) -> Option<Watch> {
    if !config.watch {
        return None;
    }
    let mut watch = Watch::new(rest)
        .inspect_err(|error| error!(%error, "files cannot be watched"))
        .ok()?;
    watch.set(directories(config, others));
    Some(watch)
}

fn directories(config: &Config, others: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let queues = config.queues.values();
    let files = queues.filter_map(|queue| queue.processor.as_deref());
    files
        .flat_map(dirs_of)
        .chain(config.processors_dir.clone())
        .chain(others.iter().cloned())
        .collect()
}

/// The directories whose changes can change what a processor's file becomes.
fn dirs_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut dirs = watch::dirs_of(file);
    if Language::of(file).is_some() {
        dirs.extend(project_dirs(file));
    }
    dirs
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Attaches, changes and detaches queues as a new config says. Queues that were attached through the admin API stay as
/// they are. Returns the queues that it changes.
fn apply(
    host: &Host,
    old: &BTreeMap<String, QueueSpec>,
    new: &BTreeMap<String, QueueSpec>,
) -> BTreeSet<String> {
    let attached: BTreeSet<String> = host.names().into_iter().collect();
    let mut changed = BTreeSet::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        if attached.contains(name) {
            let detached = host.detach(name, Detach::Wait);
            note(name, "detached", async { Ok(detached.await?) });
            changed.insert(name.clone());
        }
    }
    for (name, spec) in new {
        let done = match attached.contains(name) {
            false => "attached",
            true if old.get(name) != Some(spec) => "changed",
            true => continue,
        };
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
                error!(
                    queue,
                    error = format!("{error:#}"),
                    "queue could not be {done} as the config says"
                );
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
