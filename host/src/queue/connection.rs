//! The connection to Redis: reconnects by itself, checks what it is connected to, runs scripts.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};

use super::QueueError;

/// BullMQ's scripts and ours need what came with this version (`LPOS`, `ZADD GT`, `COPY`).
const VERSION_MIN: (u32, u32) = (6, 2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A call that takes longer counts as lost. Far above what a healthy Redis needs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);

/// A connection to Redis that many tasks share and that reconnects by itself.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    shared: ConnectionManager,
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// `redis_version`; Valkey reports the Redis version that it is compatible with.
    pub version: String,
    /// `maxmemory_policy`, where it is told.
    pub eviction_policy: Option<String>,
}

impl Redis {
    /// Connects, and fails where nothing answers.
    pub async fn connect(url: &str) -> Result<Self, QueueError> {
        let client = Client::open(url.into_connection_info()?)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(3)
            .set_max_delay(RECONNECT_DELAY_MAX);
        let shared = ConnectionManager::new_with_config(client.clone(), config).await?;
        Ok(Redis { client, shared })
    }

    /// The shared connection. Cheap to call; never send a blocking command on it.
    pub fn shared(&self) -> ConnectionManager {
        self.shared.clone()
    }

    /// Opens a connection of its own, for commands that block.
    pub(super) async fn dedicated(&self) -> Result<MultiplexedConnection, QueueError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        Ok(self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// Asks the server what it is.
    pub async fn server_info(&self) -> Result<ServerInfo, QueueError> {
        let text: String = redis::cmd("INFO").query_async(&mut self.shared()).await?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::to_owned)
        };
        Ok(ServerInfo {
            version: field("redis_version").ok_or(QueueError::Reply("INFO"))?,
            eviction_policy: field("maxmemory_policy"),
        })
    }

    /// Refuses a server that is too old and warns of one that may lose jobs.
    pub async fn check_server(&self) -> Result<ServerInfo, QueueError> {
        let info = self.server_info().await?;
        let mut parts = info
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if version < VERSION_MIN {
            return Err(QueueError::Invalid(format!(
                "redis {} is too old\nhint: toril needs redis {}.{} or newer, or any valkey",
                info.version, VERSION_MIN.0, VERSION_MIN.1
            )));
        }
        match info.eviction_policy.as_deref() {
            None | Some("noeviction") => {}
            Some(policy) => tracing::warn!(
                policy,
                "redis may evict jobs when its memory is full; set maxmemory-policy to noeviction"
            ),
        }
        Ok(info)
    }
}

/// A Redis URL without its password, fit for logs and errors.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

/// Joins library files and a script into one static [`redis::Script`], loaded on first use and again
/// whenever Redis forgot it.
#[macro_export]
#[doc(hidden)]
macro_rules! lua_script {
    ($name:literal $(, $lib:literal)*) => {{
        static SCRIPT: std::sync::LazyLock<redis::Script> = std::sync::LazyLock::new(|| {
            redis::Script::new(concat!(
                include_str!("lua/lib/queue.lua"),
                $(include_str!(concat!("lua/lib/", $lib, ".lua")),)*
                include_str!(concat!("lua/", $name, ".lua")),
            ))
        });
        &*SCRIPT
    }};
}
pub use lua_script as script;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            redacted("redis://user:p@ss@host:1/0"),
            "redis://***@host:1/0"
        );
        assert_eq!(redacted("redis://host:1"), "redis://host:1");
    }
}
