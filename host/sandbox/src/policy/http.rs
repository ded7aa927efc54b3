//! Which servers and which addresses a guest's requests may go to.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::hosts::{self, Net, is_host_name, is_named, lower_case, place, split_port};
use crate::connections::http::HttpSettings;
use crate::connections::{Proxy, TlsFiles};

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
    /// Connections at once, for all jobs of the queue on this host.
    #[serde(default = "defaults::connections_max")]
    pub connections_max: u32,
    /// How long a connection is kept that no request uses, in ms. 0 keeps none.
    #[serde(default = "defaults::idle_ms")]
    pub idle_ms: u64,
    /// Authorities in PEM that are trusted beside those of the system, relative to this file.
    pub ca_file: Option<PathBuf>,
    /// A certificate with its chain in PEM, which servers are shown that ask for one. With `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`, in PEM.
    pub key_file: Option<PathBuf>,
    /// A proxy through which all requests go: `http://proxy.example.com:3128`. It resolves the names of servers, so that
    /// their addresses are its concern.
    pub proxy: Option<ProxyUrl>,
    /// What the files say. Filled in by the config.
    #[serde(skip)]
    pub tls: TlsFiles,
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

    pub(super) fn connections_max() -> u32 {
        256
    }

    pub(super) fn idle_ms() -> u64 {
        30_000
    }
}

impl HttpGrant {
    /// Reads the files that it names, relative to `dir`, and refuses what cannot work.
    pub fn resolve(&mut self, dir: &Path) -> anyhow::Result<()> {
        ensure!(
            self.connections_max > 0,
            "`connections_max` must be 1 or more"
        );
        if let Some(ProxyUrl(url)) = &self.proxy {
            // The text may hold a password.
            ensure!(
                Proxy::of(url).is_some(),
                "`proxy` is not a URL such as `http://proxy.example.com:3128`"
            );
        }
        for host in &mut self.hosts {
            *host = checked_host(host)?;
        }
        let files = [&mut self.ca_file, &mut self.cert_file, &mut self.key_file];
        self.tls = TlsFiles::read(dir, files)?;
        Ok(())
    }

    pub(crate) fn settings(&self) -> HttpSettings {
        HttpSettings {
            connections_max: self.connections_max,
            idle: Duration::from_millis(self.idle_ms),
            tls: self.tls.clone(),
            proxy: self.proxy.as_ref().and_then(|ProxyUrl(url)| Proxy::of(url)),
        }
    }

    pub(crate) fn admits(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|granted| {
            let (name, granted_port) = split_port(granted);
            // Where no port is named, those of the schemes are meant.
            let port_fits = match granted_port {
                Some(granted) => granted == port,
                None => port == 443 || port == 80,
            };
            is_named(name, host) && port_fits
        })
    }

    /// An address that is not public must be named: in `private`, or as a host by itself.
    pub(crate) fn admits_address(&self, address: IpAddr, host: &str) -> bool {
        hosts::admits_address(&self.private, address, host)
    }
}

/// The URL of a proxy. Shown without the name, the password and the query that may be in it.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ProxyUrl(String);

impl std::fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ProxyUrl(url) = self;
        let (scheme, rest) = url.split_once("://").unzip();
        let rest = rest.unwrap_or(url);
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        let (login, place) = rest.rsplit_once('@').unzip();
        if login.is_some() {
            f.write_str("***@")?;
        }
        let place = place.unwrap_or(rest);
        match place.split_once(['?', '#']) {
            Some((place, _)) => write!(f, "{place}?***"),
            None => f.write_str(place),
        }
    }
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A host of the list as names are compared. Refuses what no request could ever be for.
fn checked_host(written: &str) -> anyhow::Result<String> {
    let (host, port) = split_port(written);
    let host = lower_case(host);
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let address = host.parse::<IpAddr>();
    ensure!(
        (address.is_ok() || is_host_name(name)) && port != Some(0),
        "`hosts`: `{written}` is not a host\nhint: write `api.example.com`, `*.example.com:8443` or `[::1]:8080`"
    );
    Ok(match (address, port) {
        (Ok(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
        (_, Some(port)) => format!("{host}:{port}"),
        (_, None) => host,
    })
}

/// Why a request is not sent.
#[derive(Clone, Copy)]
pub(crate) enum HttpRefusal {
    /// The host is not on the list.
    Host,
    /// Its addresses are private.
    Private,
    /// The attempt sent as many as it may.
    Requests,
    /// No connection became free in time.
    Connections,
    /// The body of the request is too large.
    RequestBytes,
    /// The body of the response is too large.
    ResponseBytes,
}

impl HttpRefusal {
    /// What a guest and the log are told, and what to change.
    pub(crate) fn text(self, grant: &HttpGrant, queue: &str, host: &str, port: u16) -> String {
        let key = match self {
            HttpRefusal::Host => "hosts",
            HttpRefusal::Private => "private",
            HttpRefusal::Requests => "requests_max",
            HttpRefusal::Connections => "connections_max",
            HttpRefusal::RequestBytes => "request_bytes_max",
            HttpRefusal::ResponseBytes => "response_bytes_max",
        };
        let why = match self {
            HttpRefusal::Host => format!("not in grants.http.{key} of queue {queue}"),
            HttpRefusal::Private => {
                format!("its address is private and not in grants.http.{key} of queue {queue}")
            }
            HttpRefusal::Requests => format!(
                "the attempt has sent {}, the limit in grants.http.{key} of queue {queue}",
                grant.requests_max
            ),
            HttpRefusal::Connections => format!(
                "all {} connections are in use, the limit in grants.http.{key} of queue {queue}",
                grant.connections_max
            ),
            HttpRefusal::RequestBytes => format!(
                "the request has more than {} bytes, the limit in grants.http.{key} of queue {queue}",
                grant.request_bytes_max
            ),
            HttpRefusal::ResponseBytes => format!(
                "the response has more than {} bytes, the limit in grants.http.{key} of queue {queue}",
                grant.response_bytes_max
            ),
        };
        let server = place(host, port);
        let hint = match self {
            HttpRefusal::Host if !host.contains(':') && (port == 80 || port == 443) => {
                format!("add \"{host}\" to `{key}`")
            }
            HttpRefusal::Host => format!("add \"{server}\" to `{key}`"),
            HttpRefusal::Private => format!("add the address or its network to `{key}`"),
            HttpRefusal::Requests
            | HttpRefusal::Connections
            | HttpRefusal::RequestBytes
            | HttpRefusal::ResponseBytes => format!("raise `{key}`"),
        };
        let section = super::section(queue);
        format!("request to {server} was refused: {why}\nhint: {hint} in `[{section}.grants.http]`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(toml: &str) -> HttpGrant {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn hosts_are_checked_and_kept_as_names_are_compared() {
        let resolved = |host: &str| {
            let mut grant = grant(&format!("hosts = [{host:?}]"));
            let checked = grant.resolve(Path::new(""));
            checked
                .map(|()| grant.hosts.remove(0))
                .map_err(|error| error.to_string())
        };
        for (written, kept) in [
            ("API.Example.com", "api.example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com:8443", "*.example.com:8443"),
            ("[::1]:8080", "[::1]:8080"),
            ("::1", "::1"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(resolved(written).as_deref(), Ok(kept));
        }
        for written in [
            "http://x.example",
            "a b",
            "",
            "*.",
            "x.example:0",
            "x.example/path",
        ] {
            assert!(
                resolved(written).unwrap_err().contains("is not a host"),
                "{written}"
            );
        }
    }

    #[test]
    fn login_of_a_proxy_is_not_shown() {
        let grant = grant("hosts = []\nproxy = \"http://me:secret@proxy.example:3128\"");
        let shown = toml::to_string(&grant).unwrap() + &format!("{grant:?}");
        assert!(
            !shown.contains("secret") && shown.contains("http://***@proxy.example:3128"),
            "{shown}"
        );
        assert!(grant.settings().proxy.is_some());
    }

    #[test]
    fn proxy_that_is_no_url_is_not_shown_either() {
        for (written, shown) in [
            ("me:secret@proxy.example:3128", "***@proxy.example:3128"),
            (
                "http://proxy.example:3128/?key=secret",
                "http://proxy.example:3128/?***",
            ),
            (
                "http://me:se?cr/e#t@proxy.example#secret",
                "http://***@proxy.example?***",
            ),
            ("proxy.example:3128", "proxy.example:3128"),
        ] {
            assert_eq!(ProxyUrl(written.to_owned()).to_string(), shown);
        }
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
    fn address_of_a_refused_server_can_be_copied_into_the_list() {
        let grant = grant("hosts = []");
        let text = HttpRefusal::Host.text(&grant, "paint", "2001:db8::1", 8080);
        assert_eq!(
            text,
            "request to [2001:db8::1]:8080 was refused: not in grants.http.hosts of queue paint\n\
             hint: add \"[2001:db8::1]:8080\" to `hosts` in `[queues.paint.grants.http]`"
        );
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
}
