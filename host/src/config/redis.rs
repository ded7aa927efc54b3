//! Which Redis, and which prefix: what `serve` and all commands that talk to queues read alike.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{DEFAULT_REDIS_PORT, File, Overrides};
use crate::unknown_key;
use anyhow::ensure;

/// Which Redis, and which prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Its URL; `None` where none is configured.
    pub url: Option<String>,
    /// The certificate authority to trust for `rediss://`, PEM; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// The port on 127.0.0.1 at which a Redis is looked for, and started by `serve`, where none is configured.
    pub local_port: u16,
    /// False where that port is the default.
    pub names_local_port: bool,
    /// The prefix of all keys.
    pub prefix: String,
}

/// The same for a command that talks to queues and serves none.
#[derive(Debug)]
pub struct RedisSource {
    /// Which Redis.
    pub redis: RedisConfig,
    /// Prefixes that queues have for themselves.
    queue_prefixes: BTreeMap<String, String>,
    /// The queues of the config file.
    queues: Vec<String>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
}

impl RedisSource {
    /// The prefix of a queue's keys. A prefix in the queue's own section takes precedence, as in `toril serve`.
    pub fn prefix_of(&self, queue: &str) -> &str {
        self.queue_prefixes.get(queue).unwrap_or(&self.redis.prefix)
    }

    /// A queue of the file that has nearly this name, if the file does not have this one.
    pub fn queue_like(&self, queue: &str) -> Option<&str> {
        let names = self.queues.iter().map(String::as_str);
        match self.queues.iter().any(|name| name == queue) {
            true => None,
            false => unknown_key::misspelt(queue, names),
        }
    }
}

impl File {
    pub(super) fn redis(&self, overrides: &Overrides) -> anyhow::Result<RedisConfig> {
        let prefix = overrides.prefix.as_ref().unwrap_or(&self.prefix).clone();
        ensure!(!prefix.is_empty(), "prefix is empty");
        let ca_file = self.redis_ca_file.as_ref().map(|file| self.dir.join(file));
        let local_port = overrides.local_redis_port.or(self.local_redis_port);
        Ok(RedisConfig {
            url: overrides.redis_url.clone().or_else(|| self.redis.clone()),
            ca_file: overrides.redis_ca_file.clone().or(ca_file),
            local_port: local_port.unwrap_or(DEFAULT_REDIS_PORT),
            names_local_port: local_port.is_some(),
            prefix,
        })
    }

    pub(super) fn redis_source(
        self,
        overrides: &Overrides,
        file: Option<PathBuf>,
    ) -> anyhow::Result<RedisSource> {
        let queues = self.queues.iter();
        let own = queues.filter_map(|(name, queue)| Some((name.clone(), queue.prefix.clone()?)));
        Ok(RedisSource {
            redis: self.redis(overrides)?,
            queue_prefixes: own.collect(),
            queues: self.queues.keys().cloned().collect(),
            file,
        })
    }
}
