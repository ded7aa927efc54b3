//! Where a request goes.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use http::Uri;
use http::uri::Scheme;

/// A server: connections to the same one are shared.
pub(crate) struct Target {
    /// Without brackets, in lower case.
    pub(crate) host: String,
    /// The same as it was written, without secrets: for the log.
    pub(crate) shown: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Target {
    pub(crate) fn of(uri: &Uri, shown: impl FnOnce(&str) -> String) -> Option<Self> {
        let authority = uri.authority()?;
        // A name before the host would be sent as part of it.
        if authority.as_str().contains('@') {
            return None;
        }
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = authority.host().trim_matches(['[', ']']);
        Some(Target {
            shown: shown(host),
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
        })
    }
    /// Its address as a proxy is told it.
    pub(crate) fn uri(&self) -> Option<Uri> {
        let Target { host, port, .. } = self;
        let scheme = if self.tls { "https" } else { "http" };
        let host = match host.contains(':') {
            true => Cow::Owned(format!("[{host}]")),
            false => Cow::Borrowed(host.as_str()),
        };
        format!("{scheme}://{host}:{port}/").parse().ok()
    }

    fn key(&self) -> (&str, u16, bool) {
        (&self.host, self.port, self.tls)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
