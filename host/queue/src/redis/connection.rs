//! The connection to Redis: reconnects by itself, checks what it is connected to, runs scripts.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    Pipeline, RedisFuture, ServerErrorKind, TlsCertificates, Value,
};

use super::address::{Address, unbuffered};
use super::script::Script;
use super::sentinel::Sentinel;
use crate::error::{QueueError, RedisFailure};

/// BullMQ's scripts and ours need what came with this version (`LPOS`, `ZADD GT`, `COPY`).
const VERSION_MIN: (u32, u32) = (6, 2);
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A call that takes longer counts as lost. Far above what a healthy Redis needs, and above the
/// longest wait for a marker.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);

/// A connection to Redis that many tasks share and that reconnects by itself.
#[derive(Clone)]
pub struct Redis {
    server: Arc<Server>,
    shared: Route<ConnectionManager>,
}

/// Makes further connections.
enum Server {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Sentinel),
}

/// A connection that only one task uses.
pub(crate) type Dedicated = Route<MultiplexedConnection>;

/// How commands reach Redis; `S` is the connection to a single server.
#[derive(Clone)]
pub(crate) enum Route<S> {
    Single(S),
    Cluster(ClusterConnection),
    Sentinel(Sentinel),
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
        Self::connect_trusting(url, None).await
    }

    /// Connects, trusting only certificates signed by this authority (PEM) where the URL asks for
    /// TLS; without one, those that the system trusts.
    pub async fn connect_trusting(url: &str, authority: Option<&[u8]>) -> Result<Self, QueueError> {
        // Fails where the process has a provider already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: authority.map(<[u8]>::to_vec),
        };
        match Address::parse(url)? {
            Address::Single(info) => Self::single(*info, certificates).await,
            Address::Cluster(nodes) => Self::cluster(nodes, certificates).await,
            Address::Sentinel {
                sentinels,
                master,
                service,
            } => {
                let sentinel = Sentinel::new(sentinels, *master, service, certificates);
                sentinel.connection().await?;
                let shared = Route::Sentinel(sentinel.clone());
                Ok(Redis {
                    server: Arc::new(Server::Sentinel(sentinel)),
                    shared,
                })
            }
        }
    }

    async fn single(
        info: ConnectionInfo,
        certificates: TlsCertificates,
    ) -> Result<Self, QueueError> {
        let client = match info.addr() {
            ConnectionAddr::TcpTls { .. } => Client::build_with_tls(info, certificates)?,
            _ => Client::open(info)?,
        };
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(3)
            .set_max_delay(RECONNECT_DELAY_MAX);
        let shared = ConnectionManager::new_with_config(client.clone(), config).await?;
        Ok(Redis {
            server: Arc::new(Server::Single(Box::new(client))),
            shared: Route::Single(shared),
        })
    }

    async fn cluster(
        nodes: Vec<ConnectionInfo>,
        certificates: TlsCertificates,
    ) -> Result<Self, QueueError> {
        let with_tls = nodes
            .iter()
            .any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .tcp_settings(unbuffered());
        if with_tls {
            builder = builder.certs(certificates);
        }
        let client = builder.build()?;
        let shared = Route::Cluster(client.get_async_connection().await?);
        Ok(Redis {
            server: Arc::new(Server::Cluster(Box::new(client))),
            shared,
        })
    }

    /// The shared connection. Cheap to call; never send a blocking command on it.
    pub fn shared(&self) -> impl ConnectionLike + Clone + Send + Sync + use<> {
        self.shared.clone()
    }

    /// Runs a script, loading it where Redis does not know it. `call` is one of [`Script::call`].
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, QueueError> {
        let mut connection = self.shared();
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        let reply = match call.query_async(&mut connection).await {
            Err(error) if error.kind() == unknown => {
                script.joined().load_async(&mut connection).await?;
                call.query_async(&mut connection).await
            }
            reply => reply,
        };
        reply.map_err(|error| {
            let located = script.locate(&error.to_string());
            QueueError::Redis(RedisFailure::new(error, located))
        })
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
        if tagged || !matches!(*self.server, Server::Cluster(_)) {
            return Ok(());
        }
        Err(QueueError::Invalid(format!(
            "prefix `{prefix}` has no hash tag, and this redis is a cluster\n\
             hint: use a prefix such as `{{bull}}`, here and in your producers"
        )))
    }

    /// Opens a connection of its own, for commands that block.
    pub(crate) async fn dedicated(&self) -> Result<Dedicated, QueueError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        Ok(match &*self.server {
            Server::Single(client) => Route::Single(
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?,
            ),
            Server::Cluster(client) => Route::Cluster(client.get_async_connection().await?),
            Server::Sentinel(sentinel) => Route::Single(sentinel.open(&config).await?),
        })
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
        let text: String = redis::from_redis_value(reply).map_err(|_| QueueError::Reply("INFO"))?;
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

fn check_version(version: &str) -> Result<(), QueueError> {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found >= VERSION_MIN {
        return Ok(());
    }
    let (major, minor) = VERSION_MIN;
    Err(QueueError::Invalid(format!(
        "redis {version} is too old\nhint: toril needs redis {major}.{minor} or newer, or any valkey"
    )))
}

impl<S: ConnectionLike + Send> ConnectionLike for Route<S> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Route::Single(connection) => connection.req_packed_command(command),
            Route::Cluster(connection) => connection.req_packed_command(command),
            Route::Sentinel(sentinel) => Box::pin(async move {
                let mut connection = sentinel.connection().await?;
                sentinel.note(connection.req_packed_command(command).await)
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Route::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Route::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
            Route::Sentinel(sentinel) => Box::pin(async move {
                let mut connection = sentinel.connection().await?;
                sentinel.note(
                    connection
                        .req_packed_commands(pipeline, offset, count)
                        .await,
                )
            }),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Route::Single(connection) => connection.get_db(),
            Route::Cluster(connection) => connection.get_db(),
            Route::Sentinel(_) => 0,
        }
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
            assert!(error.contains("hint: toril needs redis 6.2"), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            redacted("redis://user:p@ss@host:1/0"),
            "redis://***@host:1/0"
        );
        assert_eq!(redacted("redis://host:1"), "redis://host:1");
    }
}
