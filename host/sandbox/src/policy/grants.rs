//! What an operator grants to the processors of a queue, and which imports that serves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http::HttpGrant;
use super::keyvalue::KvGrant;
use super::postgres::PostgresGrant;
use super::redact::Secrets;
use super::tcp::TcpGrant;

/// What one queue's processors may do beyond their own job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub secrets: Secrets,
    /// Directories of the host.
    pub dirs: Vec<DirGrant>,
    /// Values that it gets from `wasi:config`.
    pub config: BTreeMap<String, String>,
    /// Requests to other servers, through `wasi:http`.
    pub http: Option<HttpGrant>,
    /// Connections to other servers, through `wasi:sockets` and `wasi:tls`.
    pub tcp: Option<TcpGrant>,
    /// Key-value stores, through `wasi:keyvalue`.
    pub kv: Option<KvGrant>,
    /// Databases, through `toril:postgres`, by the names under which a processor opens them.
    pub postgres: BTreeMap<String, PostgresGrant>,
    /// Interfaces that are linked and refuse every call: for toolchains that import more than they use.
    pub stub: Vec<Stub>,
}

/// A directory of the host in which a processor may work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stub {
    /// Outbound requests.
    #[serde(rename = "wasi:http")]
    Http,
    /// Sockets.
    #[serde(rename = "wasi:sockets")]
    Sockets,
    /// TLS over sockets.
    #[serde(rename = "wasi:tls")]
    Tls,
    /// Config values.
    #[serde(rename = "wasi:config")]
    Config,
    /// Databases.
    #[serde(rename = "toril:postgres")]
    Postgres,
}

impl Grants {
    /// Refuses a component that imports what only a grant can serve, and names the grant.
    pub fn check_imports<'a>(
        &self,
        imports: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), String> {
        let has = |stub| self.stub.contains(&stub);
        for import in imports {
            let package = import.split('/').next().unwrap_or_default();
            const TCP: &str = "tcp = { hosts = [\"smtp.example.com:587\"] }";
            let (served, hint) = match package {
                "wasi:http" => (
                    self.http.is_some() || has(Stub::Http),
                    "http = { hosts = [\"api.example.com\"] }",
                ),
                "wasi:config" => (
                    !self.config.is_empty() || has(Stub::Config),
                    "config = { key = \"value\" }",
                ),
                "wasi:sockets" => (self.tcp.is_some() || has(Stub::Sockets), TCP),
                "wasi:tls" => (self.tcp.is_some() || has(Stub::Tls), TCP),
                "wasi:keyvalue" => (self.kv.is_some(), "kv = { stores = [\"default\"] }"),
                "toril:postgres" => (
                    !self.postgres.is_empty() || has(Stub::Postgres),
                    "postgres.main = { url = { env = \"DATABASE_URL\" } }",
                ),
                _ => continue,
            };
            if !served {
                // Toolchains import sockets for programs that open none.
                let unused = match package {
                    "wasi:sockets" => ", or `stub = [\"wasi:sockets\"]` if it makes no connections",
                    _ => "",
                };
                return Err(format!(
                    "component imports `{import}`, which needs a grant\nhint: add `{hint}` to `[queues.NAME.grants]`{unused}"
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
            ("secrets", self.secrets.names()),
            ("dirs", self.dirs.iter().map(dir).collect()),
            ("config", names(&self.config)),
            (
                "http",
                self.http
                    .as_ref()
                    .map(|http| http.hosts.clone())
                    .unwrap_or_default(),
            ),
            (
                "tcp",
                self.tcp
                    .as_ref()
                    .map(TcpGrant::hosts_shown)
                    .unwrap_or_default(),
            ),
            (
                "kv",
                self.kv.as_ref().map(KvGrant::describe).unwrap_or_default(),
            ),
            (
                "postgres",
                self.postgres
                    .iter()
                    .map(|(name, grant)| grant.describe(name))
                    .collect(),
            ),
        ];
        let granted = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        granted
            .map(|(kind, names)| format!("{kind}: {}", names.join(", ")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_that_need_a_grant_are_refused_with_it() {
        let import = |name| ["wasi:io/poll@0.2.6", name];
        for (name, hint) in [
            ("wasi:http/outgoing-handler@0.2.4", "http = { hosts ="),
            ("wasi:config/store@0.2.0-rc.1", "config = {"),
            ("wasi:sockets/tcp@0.2.6", "tcp = { hosts ="),
            ("wasi:keyvalue/store@0.2.0-draft2", "kv = { stores ="),
            ("wasi:tls/types@0.2.0-draft", "tcp = { hosts ="),
            ("toril:postgres/client@1.0.0", "postgres.main = { url ="),
        ] {
            let error = Grants::default().check_imports(import(name)).unwrap_err();
            assert!(error.contains(name) && error.contains(hint), "{error}");
        }
        let granted: Grants =
            toml::from_str("http = { hosts = [\"a.example\"] }\nstub = [\"wasi:sockets\"]\npostgres.main.url = { env = \"X\" }")
                .unwrap();
        for name in [
            "wasi:http/types@0.2.4",
            "wasi:sockets/tcp@0.2.6",
            "toril:postgres/client@1.0.0",
        ] {
            assert!(granted.check_imports(import(name)).is_ok());
        }
        let granted: Grants = toml::from_str("tcp = { hosts = [\"a.example:25\"] }").unwrap();
        for name in ["wasi:tls/types@0.2.0-draft", "wasi:sockets/tcp@0.2.6"] {
            assert!(granted.check_imports(import(name)).is_ok());
        }
        assert_eq!(granted.describe(), ["tcp: a.example:25"]);
    }
}
