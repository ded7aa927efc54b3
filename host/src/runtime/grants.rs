//! What a processor may do beyond its own job: the only place that grants anything. Nothing is granted unless
//! the operator says so.

mod outbound;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_config::WasiConfigVariables;

use super::Limits;
use crate::imports::{GuestOutput, LogBudget};
pub use outbound::{HttpGrant, Outbound};

/// Handles that a guest may hold at once: open files, streams, requests.
const HANDLES_MAX: usize = 1024;
/// Random bytes that one call may ask for.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;
/// A secret shorter than this would make every log unreadable, were it replaced.
const SECRET_BYTES_MIN: usize = 4;

/// What a queue's processors may use and do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rights {
    /// What one attempt may use.
    pub limits: Limits,
    /// What it may do beyond its own job.
    pub grants: Arc<Grants>,
    /// How often an instance is used; none makes a fresh one for each attempt.
    pub reuse: Option<Reuse>,
}

impl Rights {
    /// Rights that refuse no import: to look at a component that is not for a queue of this host.
    pub fn unjudged() -> Arc<Self> {
        let grants = Grants {
            stub: vec![Stub::Http, Stub::Sockets, Stub::Config],
            ..Grants::default()
        };
        Arc::new(Rights {
            grants: Arc::new(grants),
            ..Rights::default()
        })
    }
}

/// How long an instance is used for further jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reuse {
    /// Jobs that it runs at most.
    pub jobs: u32,
    /// Milliseconds that it lives at most.
    #[serde(default = "Reuse::default_age_ms")]
    pub age_ms: u64,
}

impl Reuse {
    fn default_age_ms() -> u64 {
        60_000
    }
}

/// The rights of one queue's processor.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Queues in which it may add, look at and remove jobs: names, `prefix:name` for one of another prefix,
    /// `*` for all of the host's prefix.
    pub queues: Vec<String>,
    /// Environment variables that it sees.
    pub env: BTreeMap<String, String>,
    /// Environment variables that it sees and that nobody else does. Filled in by the config, which says
    /// where they are.
    #[serde(skip)]
    pub secrets: BTreeMap<String, Secret>,
    /// Directories of the host.
    pub dirs: Vec<DirGrant>,
    /// Values that it gets from `wasi:config`.
    pub config: BTreeMap<String, String>,
    /// Requests to other servers, through `wasi:http`.
    pub http: Option<HttpGrant>,
    /// Interfaces that are linked and refuse every call: for toolchains that import more than they use.
    pub stub: Vec<Stub>,
}

/// A directory of the host in which a processor may work.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirGrant {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where the processor sees it.
    pub guest: String,
    /// True where it may write there.
    #[serde(default)]
    pub writable: bool,
}

/// An interface that a component may import without being able to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stub {
    /// Outbound requests.
    #[serde(rename = "wasi:http")]
    Http,
    /// Sockets, which no grant serves.
    #[serde(rename = "wasi:sockets")]
    Sockets,
    /// Config values.
    #[serde(rename = "wasi:config")]
    Config,
}

/// A text that is shown to a processor and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret. Refuses one that is too short to be told from other text.
    pub fn new(text: String) -> anyhow::Result<Self> {
        anyhow::ensure!(
            text.len() >= SECRET_BYTES_MIN,
            "it has fewer than {SECRET_BYTES_MIN} bytes"
        );
        Ok(Secret(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl Grants {
    /// True when jobs of this queue may be touched. `prefix` is given where it is not the host's.
    pub fn admits_queue(&self, prefix: Option<&str>, name: &str) -> bool {
        self.queues.iter().any(|granted| match prefix {
            None => granted == "*" || granted == name,
            Some(prefix) => {
                granted
                    .strip_prefix(prefix)
                    .and_then(|rest| rest.strip_prefix(':'))
                    == Some(name)
            }
        })
    }

    /// Refuses a component that imports what only a grant can serve, and names the grant.
    pub fn check_imports(&self, imports: &[String]) -> Result<(), String> {
        let has = |stub| self.stub.contains(&stub);
        for import in imports {
            let package = import.split('/').next().unwrap_or_default();
            let (served, hint) = match package {
                "wasi:http" => (
                    self.http.is_some() || has(Stub::Http),
                    "http = { hosts = [\"api.example.com\"] }",
                ),
                "wasi:config" => (
                    !self.config.is_empty() || has(Stub::Config),
                    "config = { key = \"value\" }",
                ),
                "wasi:sockets" => (has(Stub::Sockets), "stub = [\"wasi:sockets\"]"),
                _ => continue,
            };
            if !served {
                let what = match package {
                    "wasi:sockets" => "which no grant serves; to link it without any use of it",
                    _ => "which needs a grant",
                };
                return Err(format!(
                    "component imports `{import}`, {what}\nhint: add `{hint}` to `[queues.NAME.grants]`"
                ));
            }
        }
        Ok(())
    }

    /// What is granted, for people. Names only: no secret, no value.
    pub fn describe(&self) -> Vec<String> {
        let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
        let dir = |dir: &DirGrant| {
            let access = if dir.writable {
                "writable"
            } else {
                "read-only"
            };
            format!("{} ({access})", dir.guest)
        };
        let kinds = [
            ("queues", self.queues.clone()),
            ("env", names(&self.env)),
            ("secrets", self.secrets.keys().cloned().collect()),
            ("dirs", self.dirs.iter().map(dir).collect()),
            ("config", names(&self.config)),
            (
                "http",
                self.http
                    .as_ref()
                    .map(|http| http.hosts.clone())
                    .unwrap_or_default(),
            ),
        ];
        let granted = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        granted
            .map(|(kind, names)| format!("{kind}: {}", names.join(", ")))
            .collect()
    }

    /// Replaces the secrets in a text that others will see.
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let mut redacted = Cow::Borrowed(text);
        for Secret(secret) in self.secrets.values() {
            if redacted.contains(secret.as_str()) {
                redacted = Cow::Owned(redacted.replace(secret.as_str(), "***"));
            }
        }
        redacted
    }

    /// The WASI context of an instance: what every standard library imports, and in it what is granted but the
    /// directories.
    pub(crate) fn wasi(&self, log: &LogBudget) -> WasiCtxBuilder {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(GuestOutput::new("stdout", log.clone()))
            .stderr(GuestOutput::new("stderr", log.clone()));
        wasi.max_random_size(RANDOM_BYTES_MAX);
        for (name, value) in &self.env {
            wasi.env(name, value);
        }
        for (name, Secret(secret)) in &self.secrets {
            wasi.env(name, secret);
        }
        wasi
    }

    /// The WASI context with the directories that are granted, if any are. Fails where one cannot be opened.
    pub(crate) fn wasi_with_dirs(&self, log: &LogBudget) -> anyhow::Result<Option<WasiCtx>> {
        if self.dirs.is_empty() {
            return Ok(None);
        }
        let mut wasi = self.wasi(log);
        for dir in &self.dirs {
            let access = if dir.writable {
                FsPerms::ReadWrite
            } else {
                FsPerms::ReadOnly
            };
            // Paths are resolved below the open directory: neither `..` nor a link leads out of it.
            wasi.preopened_dir(&dir.host, &dir.guest, access)
                .map_err(anyhow::Error::from)
                .with_context(|| format!("failed to open directory `{}`", dir.host.display()))?;
        }
        Ok(Some(wasi.build()))
    }

    /// What `wasi:config` answers.
    pub(crate) fn config_variables(&self) -> WasiConfigVariables {
        self.config.clone().into_iter().collect()
    }

    /// A table for the guest's handles.
    pub(crate) fn handles() -> wasmtime::component::ResourceTable {
        let mut table = wasmtime::component::ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_unless_named() {
        assert!(!Grants::default().admits_queue(None, "paint"));
        assert!(Grants::default().describe().is_empty());
        let grants = |queues: &[&str]| Grants {
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            ..Grants::default()
        };
        let two = grants(&["paint", "other:fix"]);
        assert!(two.admits_queue(None, "paint") && two.admits_queue(Some("other"), "fix"));
        assert!(!two.admits_queue(None, "fix") && !two.admits_queue(Some("other"), "paint"));
        let all = grants(&["*"]);
        assert!(all.admits_queue(None, "any") && !all.admits_queue(Some("other"), "any"));
    }

    #[test]
    fn imports_that_need_a_grant_are_refused_with_it() {
        let import = |name: &str| vec!["wasi:io/poll@0.2.6".to_owned(), name.to_owned()];
        for (name, hint) in [
            ("wasi:http/outgoing-handler@0.2.4", "http = { hosts ="),
            ("wasi:config/store@0.2.0-rc.1", "config = {"),
            ("wasi:sockets/tcp@0.2.6", "stub = [\"wasi:sockets\"]"),
        ] {
            let error = Grants::default().check_imports(&import(name)).unwrap_err();
            assert!(error.contains(name) && error.contains(hint), "{error}");
        }
        let granted: Grants =
            toml::from_str("http = { hosts = [\"a.example\"] }\nstub = [\"wasi:sockets\"]")
                .unwrap();
        for name in ["wasi:http/types@0.2.4", "wasi:sockets/tcp@0.2.6"] {
            assert!(granted.check_imports(&import(name)).is_ok());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("hunter22".into()).unwrap();
        let grants = Grants {
            secrets: [("TOKEN".to_owned(), secret)].into(),
            ..Grants::default()
        };
        assert!(!format!("{grants:?}").contains("hunter22"));
        assert_eq!(grants.describe(), ["secrets: TOKEN"]);
        assert_eq!(grants.redact("is hunter22!"), "is ***!");
        assert!(Secret::new("abc".into()).is_err());
    }
}
