//! A connection to the master that the sentinels name. Asks them again when it breaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    TlsCertificates, TlsMode,
};

use super::address::unbuffered;
use super::connection::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};

#[derive(Clone)]
pub(crate) struct Sentinel {
    shared: Arc<State>,
}

struct State {
    sentinels: Vec<ConnectionAddr>,
    /// Who logs in, into which database; host and port are the sentinels' to tell.
    master: ConnectionInfo,
    service: String,
    certificates: TlsCertificates,
    /// To the master of the moment; forgotten when it breaks. Never held while anything is awaited.
    current: Mutex<Option<MultiplexedConnection>>,
}

impl Sentinel {
    pub(super) fn new(
        sentinels: Vec<ConnectionAddr>,
        master: ConnectionInfo,
        service: String,
        certificates: TlsCertificates,
    ) -> Self {
        let current = Mutex::new(None);
        Sentinel {
            shared: Arc::new(State {
                sentinels,
                master,
                service,
                certificates,
                current,
            }),
        }
    }

    pub(super) async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &*self.current() {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection = self.open(&config).await?;
        *self.current() = Some(connection.clone());
        Ok(connection)
    }

    /// Opens a connection that nobody else uses.
    pub(super) async fn open(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let open = async {
            // A client of its own each time: one that met a failover may hang on to what it saw.
            let master = self.client()?.async_get_client().await?;
            master
                .get_multiplexed_async_connection_with_config(config)
                .await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, open).await {
            Ok(result) => result,
            Err(_) => Err(RedisError::from((
                ErrorKind::Io,
                "the sentinels name no master that answers",
            ))),
        }
    }

    fn client(&self) -> RedisResult<SentinelClient> {
        let State {
            sentinels,
            master,
            service,
            certificates,
            ..
        } = &*self.shared;
        let settings = master.redis_settings();
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels.iter().cloned(), service, kind)?
            .set_client_to_redis_db(settings.db())
            .set_client_to_redis_tcp_settings(unbuffered());
        if let Some(username) = settings.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if matches!(master.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }

    /// Forgets a connection that broke, or whose server is no master any more.
    pub(super) fn note<T>(&self, result: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &result
            && (error.is_io_error()
                || error.is_unrecoverable_error()
                || error.code() == Some("READONLY"))
        {
            *self.current() = None;
        }
        result
    }

    fn current(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.shared
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
