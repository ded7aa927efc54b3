//! Servers that an operator names, and the addresses that they may have. Each grant of a connection judges by this.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addresses::{canonical, is_public};

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
        net.map(Net).map_err(|_| {
            format!("`{text}` is neither an address nor a network such as `10.1.0.0/16`")
        })
    }
}

/// A host, or all hosts below a domain, with a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct HostAndPort {
    host: String,
    port: u16,
}

impl HostAndPort {
    /// True for this host, which is written in lower case, with any port.
    pub(super) fn names(&self, host: &str) -> bool {
        is_named(&self.host, host)
    }

    pub(super) fn admits(&self, host: &str, port: u16) -> bool {
        self.port == port && self.names(host)
    }

    /// The address, where it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl std::fmt::Display for HostAndPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HostAndPort { host, port } = self;
        match host.parse::<Ipv6Addr>() {
            Ok(address) => f.write_str(&place(&address.to_string(), *port)),
            Err(_) => f.write_str(&place(host, *port)),
        }
    }
}

/// A server as it is written in a config: an address of IPv6 has brackets.
pub(crate) fn place(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

impl From<HostAndPort> for String {
    fn from(named: HostAndPort) -> Self {
        named.to_string()
    }
}

impl TryFrom<String> for HostAndPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (host, port) = split_port(&text);
        let Some(port) = port.filter(|port| *port > 0) else {
            return Err(format!(
                "`{text}` has no port: write `db.example:5432`, `*.db.example:5432` or `[::1]:5432`"
            ));
        };
        let host = lower_case(host);
        let name = host.strip_prefix("*.").unwrap_or(&host);
        if host.parse::<IpAddr>().is_err() && !is_host_name(name) {
            return Err(format!("`{text}` names no host"));
        }
        Ok(HostAndPort { host, port })
    }
}

/// True if `host` is the one that was named, or lies below the domain that was.
pub(super) fn is_named(named: &str, host: &str) -> bool {
    match named.strip_prefix("*.") {
        Some(domain) => host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => host == named,
    }
}

/// An address that is not public must be named: in `private`, or as a host by itself.
pub(super) fn admits_address(private: &[Net], address: IpAddr, host: &str) -> bool {
    let address = canonical(address);
    is_public(address)
        || host
            .parse::<IpAddr>()
            .is_ok_and(|named| canonical(named) == address)
        || private.iter().any(|Net(net)| net.contains(&address))
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
pub(super) fn split_port(named: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = named
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (
            host,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match named.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (named, None),
        },
        _ => (named, None),
    }
}

/// A name as names are compared: in lower case, without the dot of the root.
pub(super) fn lower_case(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// True for what can be looked up. Names of other alphabets are written as DNS has them (`xn--…`).
pub(super) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        (1..=63).contains(&label.len())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_required() {
        for (text, shown) in [
            ("db.example:5432", "db.example:5432"),
            ("DB.Example.:5432", "db.example:5432"),
            ("*.db.example:5432", "*.db.example:5432"),
            ("127.0.0.1:6379", "127.0.0.1:6379"),
            ("[::1]:6379", "[::1]:6379"),
        ] {
            let named = HostAndPort::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(named), shown);
        }
        for (text, reason) in [
            ("db.example", "has no port"),
            ("db.example:0", "has no port"),
            ("db.example:65536", "has no port"),
            ("db.example:smtp", "has no port"),
            ("::1", "has no port"),
            ("[::1]", "has no port"),
            (":25", "names no host"),
            ("*:25", "names no host"),
            ("*.:25", "names no host"),
            ("a.*.example:25", "names no host"),
            ("http://a.example:25", "has no port"),
            ("a b.example:25", "names no host"),
        ] {
            let error = HostAndPort::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn nets_that_are_none_are_refused() {
        let error = Net::try_from("ten".to_owned()).unwrap_err();
        assert!(error.contains("neither an address nor a net"), "{error}");
    }
}
