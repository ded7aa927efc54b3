//! Which databases a guest may use, and how much of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml_writer::ToTomlKey as _;
use toril_postgres::{Address, Pool, PoolOptions};

use crate::connections::TlsFiles;

/// Characters of a name that a guest asks for which are shown.
const SHOWN_MAX: usize = 64;

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
    /// A file with certificates of authorities that are trusted besides those of the system (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What the file says. Filled in by the config.
    #[serde(skip)]
    pub tls: TlsFiles,
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
    /// Takes the URL.
    pub fn take_url(&mut self, url: &str) -> anyhow::Result<()> {
        self.address = Some(url.trim().parse()?);
        Ok(())
    }

    /// Reads the file that it names, relative to `dir`, and refuses what cannot work.
    pub fn resolve(&mut self, dir: &Path) -> anyhow::Result<()> {
        self.tls = TlsFiles::read(dir, [&mut self.ca_file, &mut None, &mut None])?;
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
        };
        let tls = self.tls.client_config();
        let tls = tls.map_err(|error| format!("TLS cannot be set up: {error:#}"))?;
        Ok(Pool::new(address, options, Arc::new(tls)))
    }

    pub(super) fn describe(&self, name: &str) -> String {
        let access = if self.read_only { " (read-only)" } else { "" };
        format!("{name}{access}")
    }
}

/// What a guest hears that asks for a database which is not granted, and what to change.
pub(crate) fn denied(name: &str, queue: &str) -> String {
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    let (section, key) = (super::section(queue), shown.to_toml_key());
    let shown = shown.escape_debug();
    format!(
        "database `{shown}` is not in grants.postgres of queue {queue}\nhint: add `[{section}.grants.postgres.{key}]` with `url = {{ env = \"DATABASE_URL\" }}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(more: &str) -> PostgresGrant {
        toml::from_str(&format!("url = {{ env = \"X\" }}\n{more}")).unwrap()
    }

    #[test]
    fn authorities_are_read_with_the_config_and_count_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let mut resolved = Vec::new();
        for name in ["a.example", "b.example"] {
            let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            std::fs::write(&file, own.cert.pem()).unwrap();
            let mut granted = grant("ca_file = \"ca.pem\"");
            granted.resolve(dir.path()).unwrap();
            resolved.push(granted);
        }
        assert_ne!(resolved[0], resolved[1]);
        std::fs::write(&file, "nothing").unwrap();
        for name in ["ca.pem", "missing.pem"] {
            let mut granted = grant(&format!("ca_file = \"{name}\""));
            let error = granted.resolve(dir.path()).unwrap_err();
            let said = format!("{error:#}");
            assert!(
                said.contains("ca_file") || said.contains("missing.pem"),
                "{said}"
            );
        }
    }

    #[test]
    fn refusal_names_the_section_to_add() {
        let said = denied("shop", "paint.it");
        assert!(said.contains("of queue paint.it\n"), "{said}");
        assert!(
            said.contains("`[queues.\"paint.it\".grants.postgres.shop]`"),
            "{said}"
        );
        let said = denied(&"a\nb".repeat(1_000), "paint");
        assert!(said.len() < 600 && said.lines().count() == 2, "{said}");
    }
}
