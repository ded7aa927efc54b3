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
        let written = authority.host();
        let host = written.trim_matches(['[', ']']);
        Some(Target {
            shown: shown(host),
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: match authority.as_str().strip_prefix(written)? {
                "" | ":" => {
                    if tls {
                        443
                    } else {
                        80
                    }
                }
                port => port_of(port.strip_prefix(':')?)?,
            },
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

/// None for a number that is no port: the request would go to another one than it says.
fn port_of(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_the_one_that_is_written_or_none() {
        for (text, place) in [
            ("http://a.example/", Some(("a.example", 80))),
            ("https://A.Example./", Some(("a.example", 443))),
            ("https://a.example:/", Some(("a.example", 443))),
            ("https://a.example:0443/", Some(("a.example", 443))),
            ("http://[::1]/", Some(("::1", 80))),
            (
                "http://[::FFFF:10.0.0.1]:8080/",
                Some(("::ffff:10.0.0.1", 8080)),
            ),
            ("http://0x7f.1:81/", Some(("0x7f.1", 81))),
            ("http://a.example:65536/", None),
            ("http://a.example:99999999999/", None),
            ("http://a.example:x/", None),
            ("http://a.example:-1/", None),
            ("http://a.example:+80/", None),
            ("http://[::1]:99999/", None),
            ("http://a@b.example/", None),
            ("http://a:80@b.example/", None),
            ("/", None),
        ] {
            // What is no URI comes no further.
            let target = text.parse().ok();
            let target = target.and_then(|uri| Target::of(&uri, str::to_owned));
            let found = target.as_ref().map(|target| (&*target.host, target.port));
            assert_eq!(found, place, "{text}");
        }
    }
}
