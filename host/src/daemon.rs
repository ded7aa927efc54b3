//! `toril serve`: wires everything; starts, reloads, drains.
//!
//! Start: processors are loaded first, so that mistakes show before anything is connected; then Redis;
//! then one worker per queue. Stop: workers take no more jobs, running ones end within the grace time,
//! the rest is given back; then our own Redis stops, if there is one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use backon::{ExponentialBuilder, Retryable as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{Config, read_authority};
use crate::host::Host;
use crate::private_redis::{self, PrivateRedis};
use crate::queue::{QueueError, Redis, redacted};
use crate::registry::Slot;
use crate::runtime::Runtime;
use crate::telemetry::Telemetry;

/// Where our own Redis keeps its data, below the working directory.
const PRIVATE_REDIS_DIR: &str = ".toril/redis";

/// Serves until it is told to stop.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    if config.queues.is_empty() {
        bail!(
            "no queue is configured\nhint: name one with `--queue NAME=FILE.wasm` or in `toril.toml`"
        );
    }
    let mut signals = Signals::new()?;
    let runtime = Arc::new(Runtime::new(&config.runtime)?);
    let slots = load_processors(&runtime, &config).await?;
    let Some((redis, private)) = signals.unless_stopped(connect(&config)).await else {
        return Ok(());
    };
    let (redis, private) = (redis?, private);
    redis.check_server().await.map_err(anyhow::Error::from)?;
    let telemetry = config
        .otlp_endpoint
        .as_deref()
        .map(Telemetry::new)
        .transpose()?
        .map(Arc::new);
    let host =
        Host::new(Arc::clone(&runtime), redis, &config.prefix).with_telemetry(telemetry.clone());
    for (name, slot) in slots {
        host.attach_slot(&name, &config.queues[&name], slot)?;
    }
    info!(queues = config.queues.len(), "serving");
    supervise(&host, &mut signals, config.grace_ms).await;
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
    info!("stopped");
    Ok(())
}

async fn load_processors(
    runtime: &Arc<Runtime>,
    config: &Config,
) -> anyhow::Result<BTreeMap<String, Arc<Slot>>> {
    let mut slots = BTreeMap::new();
    for (name, queue) in &config.queues {
        let slot = Slot::load(runtime, &queue.processor, &queue.limits, &queue.grants)
            .await
            .with_context(|| format!("queue `{name}`"))?;
        let processor = slot.current();
        info!(
            queue = name,
            digest = processor.digest,
            bytes = processor.inspection.bytes,
            compile_ms = u64::try_from(processor.compile_time.as_millis()).unwrap_or(u64::MAX),
            "processor is ready"
        );
        slots.insert(name.clone(), Arc::new(slot));
    }
    Ok(slots)
}

/// Connects to the configured Redis for as long as it takes; where none is configured, to a local one,
/// or to one of our own.
async fn connect(config: &Config) -> (anyhow::Result<Redis>, Option<PrivateRedis>) {
    if let Some(url) = &config.redis_url {
        let redis = match read_authority(config.redis_ca_file.as_deref()) {
            Ok(authority) => connect_until_answered(url, authority.as_deref()).await,
            Err(error) => Err(error),
        };
        return (redis, None);
    }
    let port = config.local_redis_port;
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

/// Reloads on SIGHUP; on SIGTERM or SIGINT drains, and returns when all workers have ended.
async fn supervise(host: &Host, signals: &mut Signals, grace_ms: u64) {
    while signals.next().await == Asked::Reload {
        reload(host).await;
    }
    info!(
        grace_ms,
        "stopping: running jobs may end, a second signal ends them now"
    );
    host.drain_all();
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

async fn reload(host: &Host) {
    for (queue, result) in host.reload().await {
        match result {
            Ok(true) => info!(queue, "processor was swapped"),
            Ok(false) => info!(queue, "processor is unchanged"),
            Err(error) => {
                error!(
                    queue,
                    error = format!("{error:#}"),
                    "swap was refused, the old processor stays"
                );
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.reload.recv() => Asked::Reload,
        }
    }

    async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.stop() => None,
        }
    }
}
