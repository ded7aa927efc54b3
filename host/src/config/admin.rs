//! The admin API: where it listens, and what callers must show.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

use super::{File, Overrides, Source, default_file, invalid, read_text};

/// Where the admin API listens, unless it is told otherwise: nobody but this machine reaches it.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7717);

/// Connections of the admin API: many more than people and tools need, and far fewer than the 1,024 files that a
/// process may open by default.
const DEFAULT_ADMIN_CONNECTIONS_MAX: usize = 128;

/// Where the admin API listens, and for whom.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// The address.
    pub listen: SocketAddr,
    /// What callers must send as a bearer token. Only an address that nobody else reaches can do without.
    pub token: Option<String>,
    /// Connections at once. Beyond, only `/healthz` and `/readyz` are answered.
    pub connections_max: usize,
}

impl std::fmt::Debug for AdminConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        write!(formatter, "AdminConfig({})", self.listen)
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminFile {
    /// The address. Any other than this machine's own needs a token.
    #[serde(default = "default_admin_listen")]
    listen: SocketAddr,
    /// The file of the token (or TORIL_ADMIN_TOKEN).
    token_file: Option<PathBuf>,
    /// Connections at once; beyond, only `/healthz` and `/readyz` are answered (default: 128).
    connections_max: Option<usize>,
}

fn default_admin_listen() -> SocketAddr {
    DEFAULT_ADMIN
}

/// The part of a config file that says where a running host is. Other keys are not judged: the host that runs has an
/// earlier text of the file, and must not look dead because somebody is editing it.
#[derive(Deserialize)]
struct AddressFile {
    admin: Option<AddressSection>,
}

#[derive(Deserialize)]
struct AddressSection {
    #[serde(default = "default_admin_listen")]
    listen: SocketAddr,
}

impl Source {
    /// Where the admin API of the running host can be reached from this machine. Reads no token and no other secret.
    pub fn running_host(&self) -> anyhow::Result<SocketAddr> {
        let configured = match self.overrides.admin {
            Some(address) => Some(address),
            None => self.configured_admin()?,
        };
        let address = configured.unwrap_or(DEFAULT_ADMIN);
        ensure!(
            address.port() != 0,
            "the host chose the port of its admin API itself: the config says `{address}`\n\
             hint: `toril status` shows the address; name it with `--admin`"
        );
        Ok(reachable(address))
    }

    fn configured_admin(&self) -> anyhow::Result<Option<SocketAddr>> {
        let Some(path) = self.file.clone().or_else(default_file) else {
            return Ok(None);
        };
        let text = read_text(&path)?;
        let file: AddressFile = toml::from_str(&text)
            .map_err(|error| anyhow::anyhow!(invalid::explain(&error, &text)))
            .with_context(|| format!("config `{}` is invalid", path.display()))?;
        Ok(file.admin.map(|admin| admin.listen))
    }
}

/// A host that listens at all addresses is reached at this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl File {
    pub(super) fn admin(&self, overrides: &Overrides) -> anyhow::Result<Option<AdminConfig>> {
        let listen = overrides
            .admin
            .or(self.admin.as_ref().map(|admin| admin.listen));
        let Some(listen) = listen else {
            return Ok(None);
        };
        let token = self.token(overrides)?;
        ensure!(
            token.is_some() || listen.ip().is_loopback(),
            "the admin API at `{listen}` can be reached from other machines and has no token\n\
             hint: set TORIL_ADMIN_TOKEN or `admin.token_file`, or listen at 127.0.0.1"
        );
        let connections_max = self.admin.as_ref().and_then(|admin| admin.connections_max);
        let connections_max = connections_max.unwrap_or(DEFAULT_ADMIN_CONNECTIONS_MAX);
        ensure!(
            (1..=Semaphore::MAX_PERMITS).contains(&connections_max),
            "`admin.connections_max` must be 1 or more"
        );
        Ok(Some(AdminConfig {
            listen,
            token,
            connections_max,
        }))
    }

    fn token(&self, overrides: &Overrides) -> anyhow::Result<Option<String>> {
        if let Some(token) = &overrides.admin_token {
            let token = checked_token(token).context("in TORIL_ADMIN_TOKEN")?;
            return Ok(Some(token));
        }
        let admin = self.admin.as_ref();
        let Some(file) = admin.and_then(|admin| admin.token_file.as_ref()) else {
            return Ok(None);
        };
        let file = self.dir.join(file);
        let token = read_token(&file)?;
        let token = checked_token(&token).with_context(|| format!("in `{}`", file.display()))?;
        Ok(Some(token))
    }
}

/// A token as callers can send it, in one line of a request's head.
fn checked_token(token: &str) -> anyhow::Result<String> {
    let token = token.trim();
    ensure!(!token.is_empty(), "the admin API's token is empty");
    ensure!(
        token
            .chars()
            .all(|character| matches!(character, ' '..='~')),
        "the admin API's token cannot be sent: it is more than one line, or not of printable ASCII characters alone"
    );
    Ok(token.to_owned())
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    regular_file::read_text(file, SMALL_BYTES_MAX)
        .with_context(|| format!("failed to read the admin API's token `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn config(text: &str, overrides: Overrides) -> anyhow::Result<Config> {
        toml::from_str::<File>(text)?.into_config(overrides)
    }

    #[test]
    fn admin_api_needs_a_token_where_others_reach_it() {
        let open = "[admin]\nlisten = \"0.0.0.0:7717\"";
        let error = config(open, Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("hint: set TORIL_ADMIN_TOKEN"), "{error}");
        let overrides = Overrides {
            admin_token: Some("secret".into()),
            ..Overrides::default()
        };
        let admin = config(open, overrides).unwrap().admin.unwrap();
        assert!(!format!("{admin:?}").contains("secret"));
        let local = config("[admin]", Overrides::default()).unwrap().admin;
        assert_eq!(local.unwrap().listen, DEFAULT_ADMIN);
        assert!(config("", Overrides::default()).unwrap().admin.is_none());
    }

    #[test]
    fn token_that_no_caller_can_send_is_refused_wherever_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let section = format!("[admin]\ntoken_file = {file:?}");
        let read = |token: &str| {
            std::fs::write(&file, token).unwrap();
            let overrides = Overrides {
                admin_token: Some(token.to_owned()),
                ..Overrides::default()
            };
            [
                config(&section, Overrides::default()),
                config("[admin]", overrides),
            ]
        };
        for (token, reason) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("first\nsecond", "cannot be sent"),
            ("schl\u{fc}ssel", "cannot be sent"),
            ("a\0b", "cannot be sent"),
        ] {
            for refused in read(token) {
                let error = format!("{:#}", refused.unwrap_err());
                assert!(error.contains(reason), "{token:?}: {error}");
                assert!(token.trim().is_empty() || !error.contains(token), "{error}");
            }
        }
        for token in ["right", " right\n"] {
            for read in read(token) {
                let admin = read.unwrap().admin.unwrap();
                assert_eq!(admin.token.as_deref(), Some("right"));
            }
        }
    }
    #[test]
    fn running_host_is_where_the_config_says_whatever_else_is_wrong_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("toril.toml");
        let found = |text: &str, admin: Option<SocketAddr>| {
            std::fs::write(&file, text).unwrap();
            let overrides = Overrides {
                admin,
                ..Overrides::default()
            };
            let source = Source {
                file: Some(file.clone()),
                overrides,
            };
            source.running_host().map(|address| address.to_string())
        };
        for (text, expected) in [
            ("", "127.0.0.1:7717"),
            ("[admin]", "127.0.0.1:7717"),
            ("[admin]\nlisten = \"127.0.0.2:81\"", "127.0.0.2:81"),
            // Without a token, which only the host can read; and while somebody edits the file.
            ("[admin]\nlisten = \"0.0.0.0:81\"", "127.0.0.1:81"),
            (
                "[admin]\nlisten = \"[::]:81\"\ntoken_file = \"gone\"",
                "[::1]:81",
            ),
            (
                "unknown = 1\n[admin]\nlisten = \"127.0.0.1:81\"",
                "127.0.0.1:81",
            ),
        ] {
            assert_eq!(found(text, None).unwrap(), expected, "{text}");
        }
        let named = "127.0.0.3:82".parse().ok();
        assert_eq!(found("[admin", named).unwrap(), "127.0.0.3:82");
        let error = found("[admin]\nlisten = \"127.0.0.1:0\"", None).unwrap_err();
        assert!(
            error.to_string().contains("hint: `toril status`"),
            "{error}"
        );
    }
}
