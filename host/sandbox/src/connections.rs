//! What outlives an attempt: the connections that the attempts of one queue share. No other queue does, and a policy that
//! changes begins with none. They decide nothing: who asks for a connection brings the judge of its addresses.

mod connect;
pub(crate) mod http;
mod tls;

use std::sync::{Arc, OnceLock};

pub(crate) use self::connect::Proxy;
use self::http::HttpPool;
pub use self::tls::TlsFiles;

/// The connections of one queue. Each kind is made when it is first asked for.
#[derive(Clone, Default)]
pub struct Connections {
    http: Arc<OnceLock<Arc<HttpPool>>>,
}

impl Connections {
    /// Those to servers that speak HTTP.
    pub(crate) fn http(&self, make: impl FnOnce() -> HttpPool) -> Arc<HttpPool> {
        Arc::clone(self.http.get_or_init(|| Arc::new(make())))
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
