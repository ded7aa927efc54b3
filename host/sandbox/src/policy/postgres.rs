//! Which databases a guest may use, and how much of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toril_postgres::{Address, Pool, PoolOptions};

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// In an environment variable of the host.
    Env(String),
    /// In a file; white space around it does not count.
    File(PathBuf),
}

/// A database that a processor may use, through connections that the host keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresGrant {
    /// Where its URL is kept, `postgres://user:password@host:5432/database?sslmode=require`: a secret, which no processor sees.
    pub url: SecretSource,
    /// What the URL says. Filled in by the config; without it no server is reached.
    #[serde(skip)]
    pub address: Option<Address>,
    /// Connections of the queue on this host.
    #[serde(default = "defaults::connections_max")]
    pub connections_max: usize,
    /// Connections that one attempt holds at once: for transactions, and for what it keeps in a session.
    #[serde(default = "defaults::attempt_connections_max")]
    pub attempt_connections_max: u32,
    /// How long a connection is kept that nobody uses, in ms.
    #[serde(default = "defaults::idle_ms")]
    pub idle_ms: u64,
    /// How long connecting may take, in ms; meanwhile the host tries again if the server restarts.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long a statement may take, the wait for a connection included, in ms. It is cancelled at the server.
    #[serde(default = "defaults::statement_timeout_ms")]
    pub statement_timeout_ms: u64,
    /// Statements in one attempt.
    #[serde(default = "defaults::statements_max")]
    pub statements_max: u32,
    /// Rows of one answer.
    #[serde(default = "defaults::rows_max")]
    pub rows_max: usize,
    /// Size of one answer, and of a statement with its parameters, in bytes; each value counts 32 besides, each element of an array 48.
    #[serde(default = "defaults::bytes_max")]
    pub bytes_max: usize,
    /// True where nothing may be changed.
    #[serde(default)]
    pub read_only: bool,
    /// Authorities of the server's certificate, a PEM file (default: those that the system trusts).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

mod defaults {
    pub(super) fn connections_max() -> usize {
        10
    }

    pub(super) fn attempt_connections_max() -> u32 {
        2
    }

    pub(super) fn idle_ms() -> u64 {
        60_000
    }

    pub(super) fn connect_timeout_ms() -> u64 {
        5_000
    }

    pub(super) fn statement_timeout_ms() -> u64 {
        30_000
    }

    pub(super) fn statements_max() -> u32 {
        10_000
    }

    pub(super) fn rows_max() -> usize {
        10_000
    }

    pub(super) fn bytes_max() -> usize {
        8 << 20
    }
}

impl PostgresGrant {
    /// Takes the URL, and makes paths absolute or relative to the config.
    pub fn resolve(&mut self, url: &str, dir: &Path) -> anyhow::Result<()> {
        self.address = Some(url.trim().parse()?);
        if let Some(file) = &mut self.ca_file {
            *file = dir.join(&*file);
            anyhow::ensure!(
                file.is_file(),
                "`ca_file`: `{}` is not a file",
                file.display()
            );
        }
        let least = [
            ("connections_max", self.connections_max as u64),
            (
                "attempt_connections_max",
                self.attempt_connections_max.into(),
            ),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
        ];
        for (name, value) in least {
            anyhow::ensure!(value > 0, "`{name}` must be 1 or more");
        }
        Ok(())
    }

    /// A pool without connections. The error is for the guest.
    pub(crate) fn pool(&self) -> Result<Pool, String> {
        let no_server =
            "there is no server: the URL of the database was not read, as in `toril test`";
        let address = self.address.clone().ok_or(no_server)?;
        let options = PoolOptions {
            connections_max: self.connections_max,
            idle: Duration::from_millis(self.idle_ms),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            ca_file: self.ca_file.clone(),
        };
        Pool::new(address, options)
            .map_err(|error| format!("authorities (`ca_file`) could not be read: {error}"))
    }

    pub(super) fn describe(&self, name: &str) -> String {
        let access = if self.read_only { " (read-only)" } else { "" };
        format!("{name}{access}")
    }
}
