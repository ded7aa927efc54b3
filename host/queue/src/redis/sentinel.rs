//! Finds the master that the sentinels name.

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{ConnectionAddr, ConnectionInfo, RedisResult, TlsCertificates, TlsMode};

use super::address::unbuffered;

/// A service of sentinels.
pub(super) struct Sentinel {
    pub(super) sentinels: Vec<ConnectionAddr>,
    /// Who logs in, into which database; host and port are the sentinels' to tell.
    pub(super) master: ConnectionInfo,
    pub(super) service: String,
}

impl Sentinel {
    /// Asks the sentinels where the master is.
    pub(super) async fn locate(&self, authority: Option<&[u8]>) -> RedisResult<ConnectionInfo> {
        // A client of its own each time: one that met a failover may hang on to what it saw.
        let master = self.client(authority)?.async_get_client().await?;
        Ok(master.get_connection_info().clone())
    }

    fn client(&self, authority: Option<&[u8]>) -> RedisResult<SentinelClient> {
        let Sentinel {
            sentinels,
            master,
            service,
        } = self;
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
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: authority.map(<[u8]>::to_vec),
            };
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        builder.build()
    }
}
