//! Which servers a guest may connect to, by which addresses, and how often.
//!
//! WASI splits a connection in two: a name is looked up, and then an address is connected to. So what was looked up is
//! remembered for the attempt: an address may be connected to only with a port that one of its names was granted with.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hosts::{self, HostAndPort, Net};
use crate::connections::TlsFiles;

/// Addresses of one name that a guest gets.
const ADDRESSES_MAX: usize = 32;

/// Which servers a processor may connect to, and how much it may send and receive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpGrant {
    /// `host:port`, `*.domain:port` for all hosts below it, or `address:port`.
    pub hosts: Vec<HostAndPort>,
    /// Private addresses that these hosts may have: addresses and nets, such as `10.1.0.0/16`.
    #[serde(default)]
    pub private: Vec<Net>,
    /// Sockets that are open at once.
    #[serde(default = "defaults::connections_max")]
    pub connections_max: u32,
    /// Connections in one attempt, refused ones included; as many names may be looked up.
    #[serde(default = "defaults::connections_total_max")]
    pub connections_total_max: u32,
    /// Bytes that one attempt may send, and as many that it may receive.
    #[serde(default = "defaults::bytes_max")]
    pub bytes_max: u64,
    /// How long the look-up of a name may take, connecting, and the handshake of TLS, each in ms.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// A file with certificates of authorities that `wasi:tls` trusts besides those of the system (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What the file says. Filled in by the config.
    #[serde(skip)]
    pub tls: TlsFiles,
}

mod defaults {
    pub(super) fn connections_max() -> u32 {
        10
    }

    pub(super) fn connections_total_max() -> u32 {
        100
    }

    pub(super) fn bytes_max() -> u64 {
        64 << 20
    }

    pub(super) fn connect_timeout_ms() -> u64 {
        5_000
    }
}

impl TcpGrant {
    /// Reads the file that it names, relative to `dir`.
    pub fn resolve(&mut self, dir: &Path) -> anyhow::Result<()> {
        self.tls = TlsFiles::read(dir, [&mut self.ca_file, &mut None, &mut None])?;
        Ok(())
    }

    /// The servers, for people.
    pub(super) fn hosts_shown(&self) -> Vec<String> {
        self.hosts.iter().map(HostAndPort::to_string).collect()
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|named| named.names(host))
    }

    fn admits(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|named| named.admits(host, port))
    }

    fn admits_literal(&self, address: SocketAddr) -> bool {
        let admits = |named: &HostAndPort| {
            named.address() == Some(address.ip()) && named.admits(&lower(address), address.port())
        };
        self.hosts.iter().any(admits)
    }

    fn admits_address(&self, address: IpAddr, host: &str) -> bool {
        hosts::admits_address(&self.private, address, host)
    }
}

fn lower(address: SocketAddr) -> String {
    address.ip().to_string()
}

/// Why a guest may not connect, or not look up a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TcpRefusal {
    /// A look-up of a name that is not on the list.
    Name(String),
    /// A server that is not on the list, as `host:port`.
    Server(String),
    /// TLS with a server whose name is not on the list.
    Certificate(String),
    /// A name has no address but private ones, which are not on the list.
    Private(String, IpAddr),
    /// What it asked for so often: the grant's limit.
    TooMany(&'static str, u32),
}

impl TcpRefusal {
    /// What stands in the way, and what to change.
    pub(crate) fn text(&self, queue: &str) -> String {
        let of = |key: &str| format!("grants.tcp.{key} of queue {queue}");
        let (text, hint) = match self {
            TcpRefusal::Name(name) => (
                format!("look-up of {name} was refused: not in {}", of("hosts")),
                format!("add \"{name}:PORT\" to `hosts`"),
            ),
            TcpRefusal::Server(server) => (
                format!("connection to {server} was refused: not in {}", of("hosts")),
                format!("add \"{server}\" to `hosts`"),
            ),
            TcpRefusal::Certificate(name) => (
                format!("TLS with {name} was refused: not in {}", of("hosts")),
                format!("add \"{name}:PORT\" to `hosts`"),
            ),
            TcpRefusal::Private(name, address) => (
                format!(
                    "connection to {name} was refused: its address {address} is private and not in {}",
                    of("private")
                ),
                "add the address or its network to `private`".to_owned(),
            ),
            TcpRefusal::TooMany(what, max) => (
                format!(
                    "{what} was refused: the attempt has made {max}, the limit in {}",
                    of("connections_total_max")
                ),
                "raise `connections_total_max`".to_owned(),
            ),
        };
        let section = super::section(queue);
        format!("{text}\nhint: {hint} in `[{section}.grants.tcp]`")
    }
}

/// What one attempt asked for so far, and the names of the addresses that it was given.
#[derive(Debug)]
pub(crate) struct TcpJudge {
    connections_left: u32,
    lookups_left: u32,
    names: HashMap<IpAddr, Vec<Arc<str>>>,
}

impl TcpJudge {
    pub(crate) fn new(grant: &TcpGrant) -> Self {
        TcpJudge {
            connections_left: grant.connections_total_max,
            lookups_left: grant.connections_total_max,
            names: HashMap::new(),
        }
    }

    /// Admits the look-up of a name, and returns the name as it is to be looked up.
    pub(crate) fn look_up(&mut self, grant: &TcpGrant, name: &str) -> Result<Arc<str>, TcpRefusal> {
        let max = grant.connections_total_max;
        let left = self.lookups_left.checked_sub(1);
        self.lookups_left = left.ok_or(TcpRefusal::TooMany("look-up of a name", max))?;
        let host = hosts::lower_case(name);
        let host = match host.parse::<IpAddr>() {
            // As the list has it, whatever the notation.
            Ok(address) => address.to_string(),
            Err(_) if hosts::is_host_name(&host) => host,
            Err(_) => return Err(TcpRefusal::Name(shown(name))),
        };
        match grant.names(&host) {
            true => Ok(host.into()),
            false => Err(TcpRefusal::Name(shown(name))),
        }
    }

    /// Remembers the addresses that a granted name has now, and returns those that may be connected to.
    pub(crate) fn found(
        &mut self,
        grant: &TcpGrant,
        name: &Arc<str>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<IpAddr>, TcpRefusal> {
        let (mut admitted, mut refused) = (Vec::new(), None);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            if !grant.admits_address(address, name) {
                refused = Some(address);
                continue;
            }
            let names = self.names.entry(address).or_default();
            if !names.contains(name) {
                names.push(Arc::clone(name));
            }
            if !admitted.contains(&address) {
                admitted.push(address);
            }
        }
        match refused {
            Some(address) if admitted.is_empty() => {
                Err(TcpRefusal::Private(name.to_string(), address))
            }
            _ => Ok(admitted),
        }
    }

    /// Admits a connection to an address that is granted itself, or that a look-up of this attempt found.
    pub(crate) fn connect(
        &mut self,
        grant: &TcpGrant,
        address: SocketAddr,
    ) -> Result<(), TcpRefusal> {
        let max = grant.connections_total_max;
        let left = self.connections_left.checked_sub(1);
        self.connections_left = left.ok_or(TcpRefusal::TooMany("connection", max))?;
        if grant.admits_literal(address) {
            return Ok(());
        }
        let names = self.names.get(&address.ip());
        let names = names.map(Vec::as_slice).unwrap_or_default();
        let is_admitted = |name: &Arc<str>| {
            grant.admits(name, address.port()) && grant.admits_address(address.ip(), name)
        };
        match names {
            names if names.iter().any(is_admitted) => Ok(()),
            [name, ..] => Err(TcpRefusal::Server(format!("{name}:{}", address.port()))),
            [] => Err(TcpRefusal::Server(address.to_string())),
        }
    }
}

/// Admits the name that a server's certificate must be for.
pub(crate) fn judge_tls(grant: &TcpGrant, name: &str) -> Result<(), TcpRefusal> {
    match grant.names(&hosts::lower_case(name)) {
        true => Ok(()),
        false => Err(TcpRefusal::Certificate(shown(name))),
    }
}

/// What a guest wrote, as far as a line of the log has room for it.
fn shown(name: &str) -> String {
    let shown: String = name.chars().take(253).collect();
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
