//! `toril serve`: wires everything; starts, reloads, drains.
//!
//! Start: processors are checked first, so that mistakes show before anything is connected; then Redis; then they are
//! compiled, and each queue's worker begins as soon as its own is. Stop: workers take no more jobs, running ones end within the grace time,
//! the rest is given back; then our own Redis stops, if there is one.

mod follow;
mod retry;
mod signals;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backon::{ExponentialBuilder, Retryable as _};
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::admin;
use crate::config::{Config, RedisConfig, Source, read_authority};
use crate::host::{self, ApplyError, CheckedFile, Host, OnQueue};
use crate::language::{keep_tools, project, run_tools_in_groups};
use crate::private_redis::{self, PrivateRedis};
use crate::served_queue::QueueSpec;
use crate::telemetry::Telemetry;
use crate::versions::Version;
use follow::follow_files;
use signals::Signals;
use toril_queue::{QueueError, Redis, redacted};
use toril_sandbox::{Engine, slow};

/// Where our own Redis keeps its data, below the working directory.
const PRIVATE_REDIS_DIR: &str = ".toril/redis";

/// How long running jobs may take to end where a person watches and waits for the end.
const ATTENDED_GRACE_MS: u64 = 2_000;

/// How long giving jobs back may take: Redis may not answer, and the operator waits for the end of the host.
const GIVE_BACK_TIME_MAX: Duration = Duration::from_secs(3);

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
    run_tools_in_groups();
    if config.watch {
        keep_tools();
    }
    let Some(ready) = signals.unless_stopped(ready(&config, attended)).await else {
        return Ok(());
    };
    let Ready {
        engine,
        files,
        admin,
        redis,
        private,
    } = ready?;
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
        telemetry.shutdown().await;
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

/// By queue; none where no file is named, or a file that was found is refused.
type Files = BTreeMap<String, Option<CheckedFile>>;

/// What a host needs before it serves.
struct Ready {
    engine: Arc<Engine>,
    files: Files,
    admin: Option<admin::Listener>,
    redis: Redis,
    private: Option<PrivateRedis>,
}

/// Nobody waits for Redis to learn of a mistake in the config or in a component.
async fn ready(config: &Config, attended: bool) -> anyhow::Result<Ready> {
    let RedisConfig {
        url, local_port, ..
    } = &config.redis;
    let ((engine, files, admin), redis, private) = match url {
        Some(url) => {
            let (local, redis) =
                try_join(ready_here(config, attended), connect(config, url)).await?;
            (local, redis, None)
        }
        // What is refused starts no Redis.
        None => {
            let local = ready_here(config, attended).await?;
            let (redis, private) = connect_here(*local_port).await?;
            (local, redis, private)
        }
    };
    Ok(Ready {
        engine,
        files,
        admin,
        redis,
        private,
    })
}

/// What needs no Redis.
async fn ready_here(
    config: &Config,
    attended: bool,
) -> anyhow::Result<(Arc<Engine>, Files, Option<admin::Listener>)> {
    let runtime = config.runtime.clone();
    let engine = tokio::task::spawn_blocking(move || Engine::new(&runtime)).await??;
    // Sources are built, which may take minutes.
    let files = check_files(&engine, config, attended).await?;
    let admin = match &config.admin {
        Some(admin) => Some(admin::Listener::bind(admin).await?),
        None => None,
    };
    Ok((Arc::new(engine), files, admin))
}

fn ensure_work(config: &Config) -> anyhow::Result<()> {
    // Queues may come later where there is a way for them to come.
    if config.queues.is_empty() && config.admin.is_none() && config.processors_dir.is_none() {
        let hint = "name one with `--queue NAME=FILE` or in `toril.toml`; `toril new NAME` makes a project";
        bail!(
            "no queue is configured\nhint: {}",
            project::hint_or(Path::new("."), hint)
        );
    }
    Ok(())
}

/// The files of all queues, as far as they can be checked without compiling them: sources are built, as many at once as the
/// machine has processors. Where a person watches, queues do so by
/// themselves.
async fn check_files(engine: &Engine, config: &Config, attended: bool) -> anyhow::Result<Files> {
    if attended {
        return Ok(Files::new());
    }
    let at_once = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let queues = config.queues.iter();
    let checked: Vec<_> = queues
        .map(|(name, queue)| check_file_of(engine, config, name, queue))
        .collect();
    // In the order of their names: of several errors, the same one is told each time.
    stream::iter(checked).buffered(at_once).try_collect().await
}

async fn check_file_of(
    engine: &Engine,
    config: &Config,
    name: &str,
    queue: &QueueSpec,
) -> anyhow::Result<(String, Option<CheckedFile>)> {
    let file = match &queue.processor {
        None => None,
        Some(file) => match host::check_file(engine, file, &Arc::new(queue.policy())).await {
            // Nobody named it: its queue refuses it for itself, as it does while the host serves.
            Err(_) if config.found.contains(name) => None,
            checked => Some(checked.map_err(|error| of_queue(name, &error))?),
        },
    };
    Ok((name.to_owned(), file))
}

/// Begins to work all queues, side by side: none waits for the component of another one. Ends with the first that fails.
async fn attach_all(host: &Host, config: &Config, files: Files) -> anyhow::Result<()> {
    let attached = files.into_iter().map(async |(name, file)| {
        let spec = config.queues[&name].clone();
        let is_found = config.found.contains(&name);
        let file = match file {
            Some(file) => match load(host, &name, file).await {
                Err(_) if is_found => None,
                loaded => Some(loaded?),
            },
            None => None,
        };
        match host.apply_loaded(&name, spec, file).await {
            // The queue's task says so, and tries again.
            Err(error) if is_found || error.is_transient() => Ok(()),
            Err(ApplyError::Refused { queue, error }) => Err(of_queue(&queue, &error)),
            applied => Ok(applied?),
        }
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

/// An error of one queue, whose hint names the section of this queue.
fn of_queue(queue: &str, error: &anyhow::Error) -> anyhow::Error {
    let causes: Vec<&dyn std::error::Error> = error.chain().collect();
    let texts = causes.iter().rev().map(ToString::to_string);
    let texts = texts.map(|text| QueueSpec::with_section_of(queue, &text));
    let error = texts
        .map(anyhow::Error::msg)
        .reduce(|cause, text| cause.context(text));
    let error = error.unwrap_or_else(|| anyhow::anyhow!("it was refused"));
    error.context(format!("queue `{queue}`"))
}

async fn load(host: &Host, queue: &str, file: CheckedFile) -> anyhow::Result<Arc<Version>> {
    let version = file.load(host.engine()).await;
    let version = version.map_err(|error| of_queue(queue, &error))?;
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

/// Connects to the configured Redis, for as long as it takes.
async fn connect(config: &Config, url: &str) -> anyhow::Result<Redis> {
    let authority = read_authority(config.redis.ca_file.as_deref())?;
    connect_until_answered(url, authority.as_deref()).await
}

/// Connects to the Redis that runs on this machine, or to one of our own.
async fn connect_here(port: u16) -> anyhow::Result<(Redis, Option<PrivateRedis>)> {
    let url = private_redis::url(port);
    if private_redis::answers(&url).await {
        info!(
            url,
            "no redis is configured: using the one that runs on this machine"
        );
        return Ok((connect_until_answered(&url, None).await?, None));
    }
    let private = PrivateRedis::start(Path::new(PRIVATE_REDIS_DIR), port, true).await?;
    warn!(
        url,
        dir = PRIVATE_REDIS_DIR,
        "no redis is configured, and none runs on this machine: started our own, which stops with this host"
    );
    Ok((connect_until_answered(&url, None).await?, Some(private)))
}

async fn connect_until_answered(url: &str, authority: Option<&[u8]>) -> anyhow::Result<Redis> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times();
    let connecting = (|| Redis::connect_trusting(url, authority))
        .retry(backoff)
        .when(QueueError::is_transient)
        .notify(|error, pause| {
            warn!(url = redacted(url), %error, retry_in = ?pause, "redis does not answer, trying again");
        });
    let what = format!("waiting for Redis at `{}`", redacted(url));
    let redis = slow::in_view(what, connecting)
        .await
        .with_context(|| format!("failed to connect to `{}`", redacted(url)))?;
    redis.check_server().await?;
    info!(url = redacted(url), "connected");
    Ok(redis)
}

/// Drains, and returns when all workers have ended.
async fn stop(host: &Host, grace_ms: u64, signals: &mut Signals, admin: Option<&admin::Server>) {
    if let Some(admin) = admin {
        // A load balancer that asks for it sends nothing more here.
        admin.set_ready(false);
    }
    host.drain_all();
    info!(
        grace_ms,
        "stopping: waiting for running jobs; a second signal ends them now"
    );
    drained(host, signals, grace_ms).await;
    // Redis may be away: other hosts see that this one is silent.
    let _ = tokio::time::timeout(Duration::from_secs(1), host.leave()).await;
}

async fn drained(host: &Host, signals: &mut Signals, grace_ms: u64) {
    tokio::select! {
        () = host.ended() => return,
        () = tokio::time::sleep(Duration::from_millis(grace_ms)) => {
            warn!("the grace time is over: running jobs return to the queue");
        }
        () = signals.stop() => warn!("second signal: running jobs return to the queue"),
    }
    host.give_back_all();
    tokio::select! {
        () = host.ended() => {}
        () = tokio::time::sleep(GIVE_BACK_TIME_MAX) => {
            warn!("not all jobs could be returned to the queue, because redis does not answer; other workers take them when their locks expire");
        }
        () = signals.stop() => warn!("third signal: leaving at once"),
    }
}
