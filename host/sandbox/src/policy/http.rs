//! Which servers and which addresses a guest's requests may go to.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addresses::{canonical, is_public};

/// Which servers a processor may ask, and how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `host`, `host:port`, `*.domain` for all hosts below it, or an address.
    pub hosts: Vec<String>,
    /// Private addresses that these hosts may have: addresses and nets, such as `10.1.0.0/16`.
    #[serde(default)]
    pub private: Vec<Net>,
    /// Requests in one attempt.
    #[serde(default = "defaults::requests_max")]
    pub requests_max: u32,
    /// Size of a request's body, in bytes.
    #[serde(default = "defaults::bytes_max")]
    pub request_bytes_max: u64,
    /// Size of a response's body, in bytes.
    #[serde(default = "defaults::bytes_max")]
    pub response_bytes_max: u64,
    /// How long connecting may take, in ms.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long a request may take until the end of its response, in ms.
    #[serde(default = "defaults::timeout_ms")]
    pub timeout_ms: u64,
}

mod defaults {
    pub(super) fn requests_max() -> u32 {
        100
    }

    pub(super) fn bytes_max() -> u64 {
        8 << 20
    }

    pub(super) fn connect_timeout_ms() -> u64 {
        5_000
    }

    pub(super) fn timeout_ms() -> u64 {
        30_000
    }
}

/// A net, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Net(#[schemars(with = "String")] IpNet);

impl From<Net> for String {
    fn from(Net(net): Net) -> Self {
        net.to_string()
    }
}

impl TryFrom<String> for Net {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Net)
            .map_err(|_| format!("`{text}` is neither an address nor a net such as `10.1.0.0/16`"))
    }
}

impl HttpGrant {
    pub(crate) fn admits(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|granted| {
            let (name, granted_port) = split_port(granted);
            let name_fits = match name.strip_prefix("*.") {
                Some(domain) => host
                    .strip_suffix(domain)
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                None => host == name,
            };
            // Where no port is named, those of the schemes are meant.
            let port_fits = match granted_port {
                Some(granted) => granted == port,
                None => port == 443 || port == 80,
            };
            name_fits && port_fits
        })
    }

    /// An address that is not public must be named: in `private`, or as a host by itself.
    pub(crate) fn admits_address(&self, address: IpAddr, host: &str) -> bool {
        let address = canonical(address);
        is_public(address)
            || host
                .parse::<IpAddr>()
                .is_ok_and(|named| canonical(named) == address)
            || self.private.iter().any(|Net(net)| net.contains(&address))
    }
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(granted: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = granted
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (
            host,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match granted.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (granted, None),
        },
        _ => (granted, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(toml: &str) -> HttpGrant {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn hosts_are_those_that_were_named() {
        let grant =
            grant(r#"hosts = ["api.example.com", "*.example.org:8443", "[2001:db8::1]:80"]"#);
        assert!(grant.admits("api.example.com", 443) && grant.admits("api.example.com", 80));
        assert!(grant.admits("a.b.example.org", 8443) && grant.admits("2001:db8::1", 80));
        for (host, port) in [
            ("api.example.com", 8080),
            ("xapi.example.com", 443),
            ("example.org", 8443),
            (".example.org", 8443),
            ("evilexample.org", 8443),
            ("a.example.org", 443),
            ("api.example.com.evil.example", 443),
        ] {
            assert!(!grant.admits(host, port), "{host}:{port}");
        }
    }

    #[test]
    fn private_addresses_must_be_named() {
        let grant = grant("hosts = []\nprivate = [\"10.1.0.0/16\", \"fd00::1\"]");
        let admits = |address: &str| grant.admits_address(address.parse().unwrap(), "a.example");
        for public in [
            "93.184.215.14",
            "2606:2800:21f::1",
            "10.1.2.3",
            "fd00::1",
            "::ffff:10.1.2.3",
        ] {
            assert!(admits(public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.2.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::127.0.0.1",
            "fe80::1",
            "fd00::2",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::1",
            "64:ff9b::a9fe:a9fe",
            "2001:db8::1",
        ] {
            assert!(!admits(private), "{private}");
        }
        assert!(grant.admits_address("127.0.0.1".parse().unwrap(), "127.0.0.1"));
    }

    #[test]
    fn nets_that_are_none_are_refused() {
        let error = toml::from_str::<HttpGrant>("hosts = []\nprivate = [\"ten\"]").unwrap_err();
        assert!(
            error.to_string().contains("neither an address nor a net"),
            "{error}"
        );
    }
}
