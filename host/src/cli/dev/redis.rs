//! The Redis of `toril dev`: the one that is configured, or one of its own beside the project.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, bail};
use toril::config::Config;
use toril::private_redis::{self, PrivateRedis};
use toril::queue::redacted;

/// Below the project's directory.
const DIR: &str = ".toril/redis";

pub(super) struct DevRedis {
    pub(super) url: String,
    /// Ours, and the lock that keeps others from starting one on the same data.
    own: Option<(PrivateRedis, File)>,
    is_configured: bool,
}

impl DevRedis {
    pub(super) async fn start(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.redis.url {
            return Ok(DevRedis {
                url: url.clone(),
                own: None,
                is_configured: true,
            });
        }
        let port = config
            .redis
            .names_local_port
            .then_some(config.redis.local_port);
        if let Some(port) = port
            && private_redis::answers(&private_redis::url(port)).await
        {
            return Ok(DevRedis {
                url: private_redis::url(port),
                own: None,
                is_configured: false,
            });
        }
        let dir = Path::new(DIR);
        let lock = lock(dir)?;
        let redis = start_own(dir, port).await?;
        Ok(DevRedis {
            url: redis.url(),
            own: Some((redis, lock)),
            is_configured: false,
        })
    }

    pub(super) fn describe(&self) -> String {
        let url = redacted(&self.url);
        match self.own {
            Some(_) => format!("{url}, started for this project, with its data in `{DIR}`"),
            None => url,
        }
    }

    /// What other commands need to find it, with a blank before it.
    pub(super) fn as_argument(&self) -> String {
        match self.is_configured {
            true => String::new(),
            false => format!(" --redis {}", self.url),
        }
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Some((redis, _lock)) = self.own {
            redis
                .stop()
                .await
                .context("failed to stop the project's redis")?;
        }
        Ok(())
    }
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("failed to create `{}`", dir.display()))?;
    let file = dir.join("lock");
    let lock =
        File::create(&file).with_context(|| format!("failed to create `{}`", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!("another `toril dev` already serves this project"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("failed to lock `{}`", file.display()))
        }
    }
}

/// Starts it at the port that is named, or the one of last time if it is still free: so what was typed in another terminal goes
/// on to work.
async fn start_own(dir: &Path, port: Option<u16>) -> anyhow::Result<PrivateRedis> {
    if let Some(port) = port {
        return PrivateRedis::start(dir, port, true).await;
    }
    let note = dir.join("port");
    let last = std::fs::read_to_string(&note).ok();
    let last = last.and_then(|port| port.trim().parse().ok());
    if let Some(port) = last {
        private_redis::stop_orphan(dir, port).await?;
    }
    let redis = match last {
        Some(port) if is_free(port) => PrivateRedis::start(dir, port, true).await?,
        _ => PrivateRedis::start_anywhere(dir, true).await?,
    };
    // Without the note it starts elsewhere the next time.
    let _ = std::fs::write(note, redis.port().to_string());
    Ok(redis)
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}
