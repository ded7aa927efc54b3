//! What outlives an attempt: the connections that the attempts of one queue share. No other queue does, and a policy that
//! changes begins with none. They decide nothing: who asks for a connection brings the judge of its addresses.

mod connect;
pub(crate) mod http;
mod lookup;
mod socket;
mod tls;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustls::ClientConfig;
use toril_postgres::Pool;

pub(crate) use self::connect::Proxy;
use self::http::{HttpPool, HttpSettings};
pub(crate) use self::lookup::Lookups;
pub use self::tls::TlsFiles;

/// The connections of one queue. Each kind is made when it is first asked for.
#[derive(Clone, Default)]
pub struct Connections {
    http: Arc<OnceLock<Arc<HttpPool>>>,
    lookups: Lookups,
    /// Of connections that guests make themselves, which no other job shares.
    tcp_tls: Arc<OnceLock<Arc<ClientConfig>>>,
    /// By the names of `grants.postgres`.
    postgres: Arc<Mutex<BTreeMap<String, Pool>>>,
}

impl Connections {
    /// Those to servers that speak HTTP.
    pub(crate) fn http(&self, settings: impl FnOnce() -> HttpSettings) -> Arc<HttpPool> {
        let make = || Arc::new(HttpPool::new(settings(), self.lookups.clone()));
        Arc::clone(self.http.get_or_init(make))
    }

    /// Places for look-ups of names.
    pub(crate) fn lookups(&self) -> Lookups {
        self.lookups.clone()
    }

    /// How a connection of a guest becomes TLS. Jobs that connect one after the other resume their sessions.
    pub(crate) fn tcp_tls(&self, files: &TlsFiles) -> anyhow::Result<Arc<ClientConfig>> {
        if let Some(config) = self.tcp_tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(files.client_config()?);
        Ok(Arc::clone(self.tcp_tls.get_or_init(|| config)))
    }

    /// Those to a database. The error is for the guest.
    pub(crate) fn postgres(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Pool, String>,
    ) -> Result<Pool, String> {
        let mut pools = self.postgres.lock();
        if let Some(pool) = pools.get(name) {
            return Ok(pool.clone());
        }
        let pool = make()?;
        pools.insert(name.to_owned(), pool.clone());
        Ok(pool)
    }
}

/// Policies are compared by what they allow.
impl PartialEq for Connections {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}
