//! The admin API: where it listens, and what callers must show.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

use super::{File, Overrides};

/// Where the admin API listens, unless it is told otherwise: nobody but this machine reaches it.
pub const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7717);

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
}
