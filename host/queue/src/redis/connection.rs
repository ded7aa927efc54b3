//! Redis, as the rest of the crate and its users see it: shared connections, one for each worker, and scripts.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};

use super::address::Address;
use super::script::Script;
use super::server::{Connection, Server};
use super::shared::SharedConnection;
use super::text;
use crate::error::{QueueError, RedisFailure};
use crate::keys::hash_tag;

/// BullMQ's scripts and ours need what came with this version (`LPOS`, `ZADD GT`, `COPY`).
const VERSION_MIN: (u32, u32) = (6, 2);

/// A connection to Redis that many tasks share and that is opened again when it breaks.
///
/// Replies come in the order of the calls, so a large one holds up those behind it. [`Redis::own_connection`] is for
/// large calls, and for those that must not wait.
#[derive(Clone)]
pub struct Redis {
    server: Arc<Server>,
    shared: SharedConnection,
}

/// A connection that only one task uses, for commands that block.
pub(crate) struct Dedicated(Connection);

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
        Self::connect_trusting(url, None).await
    }

    /// Connects, trusting only certificates signed by this authority (PEM) where the URL asks for
    /// TLS; without one, those that the system trusts.
    pub async fn connect_trusting(url: &str, authority: Option<&[u8]>) -> Result<Self, QueueError> {
        // Fails where the process has a provider already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Arc::new(Server::new(Address::parse(url)?, authority)?);
        let redis = Redis {
            shared: SharedConnection::new(Arc::clone(&server)),
            server,
        };
        redis.log_in().await?;
        Ok(redis)
    }

    /// Before the first call a password that is wrong or missing is a mistake, not one that is being changed.
    async fn log_in(&self) -> Result<(), QueueError> {
        let refused = |error| {
            let hint =
                "hint: the URL takes the user and the password: `redis://user:password@host:6379`";
            QueueError::Invalid(format!("redis: {error}\n{hint}"))
        };
        let mut connection = match self.shared.connection().await {
            Err(error) if error.kind() == ErrorKind::AuthenticationFailed => {
                return Err(refused(error));
            }
            connection => connection?,
        };
        match connection.send(&redis::cmd("PING")).await {
            Err(error) if error.code() == Some("NOAUTH") => Err(refused(error)),
            // It starts, say: those who call learn of it.
            _ => Ok(()),
        }
    }

    /// The same Redis over a connection of its own, which is opened when it is first used: so that a large call there
    /// holds up nobody else's.
    pub fn own_connection(&self) -> Redis {
        Redis {
            shared: SharedConnection::new(Arc::clone(&self.server)),
            server: Arc::clone(&self.server),
        }
    }

    /// The shared connection. Cheap to call; never send a blocking command on it.
    pub fn shared(&self) -> impl ConnectionLike + Clone + Send + Sync + use<> {
        self.shared.clone()
    }

    /// Runs a script, which is sent along where Redis does not know it. `call` is one of [`Script::call`].
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, QueueError> {
        let call = &*self.guarded(call);
        let mut connection = self.shared();
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        let reply = match call.query_async(&mut connection).await {
            Err(error) if error.kind() == unknown => {
                script.with_text(call).query_async(&mut connection).await
            }
            reply => reply,
        };
        reply.map_err(|error| failure(script, error))
    }

    /// Runs a script over a connection of its own, and sends it along at once: for a call that is too large to be sent
    /// twice where Redis does not know the script, and that others should not wait behind.
    pub async fn run_large<T: FromRedisValue>(
        &self,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, QueueError> {
        let own = self.own_connection();
        let whole = script.with_text(&self.guarded(call));
        let reply = whole.query_async(&mut own.shared()).await;
        reply.map_err(|error| failure(script, error))
    }

    /// A call as it is sent: the slot of its keys may be moving to another node of a cluster.
    fn guarded<'a>(&self, call: &'a Cmd) -> Cow<'a, Cmd> {
        if self.server.is_cluster() {
            Cow::Owned(Script::for_cluster(call))
        } else {
            Cow::Borrowed(call)
        }
    }

    /// Runs a script that replies with one string.
    pub(crate) async fn run_packed(
        &self,
        script: &Script,
        call: &Cmd,
    ) -> Result<Vec<u8>, QueueError> {
        match self.run(script, call).await? {
            Value::BulkString(bytes) => Ok(bytes),
            _ => Err(QueueError::Reply("script")),
        }
    }

    /// Refuses a prefix whose queues a cluster would spread over its nodes.
    pub fn check_prefix(&self, prefix: &str) -> Result<(), QueueError> {
        let tagged = prefix
            .find('{')
            .is_some_and(|open| prefix[open + 1..].find('}').is_some_and(|close| close > 0));
        if tagged || !self.server.is_cluster() {
            return Ok(());
        }
        Err(QueueError::Invalid(format!(
            "prefix `{prefix}` has no hash tag, and this redis is a cluster\n\
             hint: use a prefix such as `{{bull}}`, here and in your producers"
        )))
    }

    /// Refuses keys that one script cannot use in a cluster. Redis would refuse the first key that is elsewhere, and in words
    /// that do not say what to do.
    pub(crate) fn check_one_slot<'a>(
        &self,
        mut keys: impl Iterator<Item = &'a str>,
    ) -> Result<(), QueueError> {
        let Some(first) = keys.next().filter(|_| self.server.is_cluster()) else {
            return Ok(());
        };
        let tag = hash_tag(first);
        match keys.find(|key| tag.is_none() || hash_tag(key) != tag) {
            None => Ok(()),
            Some(other) => Err(QueueError::Invalid(format!(
                "`{first}` and `{other}` have no hash tag in common, and this redis is a cluster\n\
                 hint: a flow, and a job with its parent, needs queues whose prefixes have one hash tag"
            ))),
        }
    }

    /// Opens a connection of its own, for commands that block.
    pub(crate) async fn dedicated(&self) -> Result<Dedicated, QueueError> {
        Ok(Dedicated(self.server.open().await?))
    }

    /// Asks the server what it is.
    pub async fn server_info(&self) -> Result<ServerInfo, QueueError> {
        let reply: Value = redis::cmd("INFO").query_async(&mut self.shared()).await?;
        // A cluster answers for each node.
        let reply = match reply {
            Value::Map(nodes) => nodes
                .into_iter()
                .next()
                .map_or(Value::Nil, |(_, info)| info),
            reply => reply,
        };
        let text: String = text::read(reply).map_err(|_| QueueError::Reply("INFO"))?;
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

    /// Refuses a server that is too old. Returns its version.
    pub async fn check_version(&self) -> Result<String, QueueError> {
        let version = self.server_info().await?.version;
        check_version(&version)?;
        Ok(version)
    }

    /// Refuses a server that is too old and warns of one that may lose jobs. Asks until it answers: it may be starting.
    pub async fn check_server(&self) -> Result<ServerInfo, QueueError> {
        let backoff = ExponentialBuilder::default()
            .with_max_delay(Duration::from_secs(5))
            .without_max_times();
        let info = (|| self.server_info())
            .retry(backoff)
            .when(QueueError::is_transient)
            .notify(|error, pause| {
                tracing::warn!(%error, retry_in = ?pause, "redis does not answer, trying again");
            })
            .await?;
        check_version(&info.version)?;
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

impl Dedicated {
    pub(crate) async fn send<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, QueueError> {
        let reply = self.0.send(command).await?;
        Ok(text::read(reply).map_err(redis::RedisError::from)?)
    }

    /// Sends a command that Redis may answer only after `longest`.
    pub(crate) async fn send_blocking<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
        longest: Duration,
    ) -> Result<T, QueueError> {
        let reply = self.0.send_blocking(command, longest).await?;
        Ok(text::read(reply).map_err(redis::RedisError::from)?)
    }
}

fn check_version(version: &str) -> Result<(), QueueError> {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found >= VERSION_MIN {
        return Ok(());
    }
    let (major, minor) = VERSION_MIN;
    Err(QueueError::Invalid(format!(
        "redis {version} is too old\nhint: install redis {major}.{minor} or newer, or any valkey"
    )))
}

/// A URL without user, password and query, fit for logs and errors.
pub fn redacted(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (rest, query) = match rest.split_once('?') {
        // A password that holds a question mark, or one in the query that holds an at sign.
        Some((_, query)) if query.contains('@') => return format!("{scheme}***"),
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{host}{query}"),
        None => format!("{scheme}{rest}{query}"),
    }
}

fn failure(script: &Script, error: RedisError) -> QueueError {
    let located = script.locate(&error.to_string());
    QueueError::Redis(RedisFailure::new(error, located))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_with_a_hint() {
        for version in ["6.2.0", "7.0.15", "10.1"] {
            assert!(check_version(version).is_ok());
        }
        for version in ["6.0.16", "5.0.7", "?"] {
            let error = check_version(version).unwrap_err().to_string();
            assert!(error.contains("hint: install redis 6.2"), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            redacted("redis://user:p@ss@host:1/0"),
            "redis://***@host:1/0"
        );
        assert_eq!(redacted("redis://host:1"), "redis://host:1");
        for secret in ["redis://user:p?ss@host:1/0", "redis://host:1?pass=p@ss"] {
            assert_eq!(redacted(secret), "redis://***");
        }
    }
}
