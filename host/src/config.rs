//! What the operator wants: `toril.toml`, then the environment and flags over it.
//!
//! The file is the only place that names everything; an unknown key in it is an error.

mod admin;
mod effective;
pub(crate) mod invalid;
mod queues;
mod redis;
mod runtime;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::served_queue::spec::{QueueFile, QueueSpec, Section};
use crate::telemetry::{OtlpConfig, OtlpProtocol};
use admin::AdminFile;
pub use admin::{AdminConfig, DEFAULT_ADMIN};
pub use effective::{Origin, Setting};
pub use invalid::ADDRESS_AND_PORT;
use queues::LeftOut;
pub(crate) use queues::{Reread, warn_of_left_out};
pub use redis::{RedisConfig, RedisSource};
use runtime::RuntimeFile;
pub use schema::schema;
use toril_sandbox::EngineOptions;
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

/// Read where no file is named, if it is there.
pub const DEFAULT_FILE: &str = "toril.toml";
/// BullMQ's own default.
pub const DEFAULT_PREFIX: &str = "bull";
/// Where BullMQ looks for Redis by default.
pub const DEFAULT_REDIS_PORT: u16 = 6379;

/// How long running jobs may take to end when the host stops.
const DEFAULT_GRACE_MS: u64 = 30_000;

/// What `toril serve` does.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which Redis, and which prefix.
    pub redis: RedisConfig,
    /// How long running jobs may take to end when the host stops, in ms.
    pub grace_ms: u64,
    /// Where traces and metrics go. None are recorded where there is none.
    pub otlp: Option<OtlpConfig>,
    /// Where the admin API listens; it does not where there is none.
    pub admin: Option<AdminConfig>,
    /// Swaps processors when their files change.
    pub watch: bool,
    /// A directory in which `QUEUE.wasm` serves the queue of that name.
    pub processors_dir: Option<PathBuf>,
    /// The engine.
    pub runtime: EngineOptions,
    runtime_file: RuntimeFile,
    /// The file that was read, if there was one.
    file: Option<PathBuf>,
    /// By queue name.
    pub queues: BTreeMap<String, QueueSpec>,
    /// Queues whose sections say what cannot be done now, such as a secret that is not there.
    pub(crate) unusable: BTreeMap<String, Arc<Section>>,
    /// Queues whose processors are found in `processors_dir`.
    pub(crate) found: BTreeSet<String>,
    /// What `processors_dir` has besides.
    pub(crate) left_out: LeftOut,
}

/// The queues and their engine, for a command that serves none of them.
#[derive(Debug, Clone)]
pub struct QueuesConfig {
    /// The engine.
    pub runtime: EngineOptions,
    /// By queue name.
    pub queues: BTreeMap<String, QueueSpec>,
}

/// Where a config comes from, so that it can be read again.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file; without one `toril.toml`, if it is there.
    pub file: Option<PathBuf>,
    /// What goes over it.
    pub overrides: Overrides,
}

impl Source {
    /// The file, which need not be there if nobody named one.
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// Reads it.
    pub fn load(&self) -> anyhow::Result<Config> {
        Config::load(self.file.as_deref(), self.overrides.clone())
    }

    /// Reads it again, for a host that serves by `current`.
    pub(crate) fn load_again(&self, current: &Config) -> anyhow::Result<Reread> {
        // One that was there is not optional any more: it may be away for a moment.
        let path = current.file.as_deref().or(self.file.as_deref());
        File::read(path)?.into_reread(&self.overrides, current)
    }

    /// Reads the queues and their engine, and nothing that only a host needs: it may be out of reach here.
    pub fn load_queues(&self) -> anyhow::Result<QueuesConfig> {
        File::read(self.file.as_deref())?.into_queues_config(&self.overrides)
    }

    /// Reads which Redis it names, and nothing that queues refer to: their secrets may be out of reach here.
    pub fn redis(&self) -> anyhow::Result<RedisSource> {
        let path = self.file.clone().or_else(default_file);
        let file = path
            .as_deref()
            .map_or_else(|| Ok(File::default()), read_file)?;
        file.redis_source(&self.overrides, path)
    }
}

/// What flags and the environment say over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--redis`, `TORIL_REDIS`.
    pub redis_url: Option<String>,
    /// `--redis-ca-file`, `TORIL_REDIS_CA_FILE`.
    pub redis_ca_file: Option<PathBuf>,
    /// `--local-redis-port`.
    pub local_redis_port: Option<u16>,
    /// `--prefix`, `TORIL_PREFIX`.
    pub prefix: Option<String>,
    /// `--concurrency`: for every queue.
    pub concurrency: Option<usize>,
    /// `--queue NAME=FILE`, or `NAME`.
    pub queues: Vec<(String, Option<PathBuf>)>,
    /// `--watch`.
    pub watch: bool,
    /// `--admin`, `TORIL_ADMIN`.
    pub admin: Option<SocketAddr>,
    /// `TORIL_ADMIN_TOKEN`.
    pub admin_token: Option<String>,
    /// Reads this queue's section alone: another one's secrets may be out of reach here.
    pub only_queue: Option<String>,
    /// Reads no secret: each has a text that says its name.
    pub stand_in_secrets: bool,
}

impl Config {
    /// The keys that differ from a new config and that only a new start takes up.
    pub(crate) fn fixed_keys_changed(&self, new: &Config) -> Vec<String> {
        let listen = |config: &Config| config.admin.as_ref().map(|admin| admin.listen);
        let token = |config: &Config| config.admin.as_ref().and_then(|admin| admin.token.clone());
        let endpoint = |config: &Config| config.otlp.as_ref().map(|otlp| otlp.endpoint.clone());
        let protocol = |config: &Config| config.otlp.as_ref().map(|otlp| otlp.protocol);
        let connections =
            |config: &Config| config.admin.as_ref().map(|admin| admin.connections_max);
        let changed = [
            ("redis", self.redis.url != new.redis.url),
            ("redis_ca_file", self.redis.ca_file != new.redis.ca_file),
            (
                "local_redis_port",
                self.redis.local_port != new.redis.local_port,
            ),
            ("prefix", self.redis.prefix != new.redis.prefix),
            ("grace_ms", self.grace_ms != new.grace_ms),
            ("otlp_endpoint", endpoint(self) != endpoint(new)),
            ("otlp_protocol", protocol(self) != protocol(new)),
            ("admin.listen", listen(self) != listen(new)),
            ("admin.token_file", token(self) != token(new)),
            (
                "admin.connections_max",
                connections(self) != connections(new),
            ),
            ("watch", self.watch != new.watch),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        let names = changed.map(|(name, _)| name.to_owned());
        let runtime = self.runtime_file.keys_changed(&new.runtime_file);
        names.chain(runtime).collect()
    }

    /// Reads the file, if there is one, and lays the overrides over it.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> anyhow::Result<Self> {
        File::read(file)?.into_config(overrides)
    }

    /// The queues whose processors are found in `processors_dir`, with these.
    fn processors_found(&self) -> Vec<(String, PathBuf)> {
        let usable = self.queues.iter();
        let usable = usable.map(|(name, queue)| (name, &queue.processor));
        let unusable = self.unusable.iter();
        let unusable = unusable.map(|(name, section)| (name, &section.processor));
        let found = usable
            .chain(unusable)
            .filter(|(name, _)| self.found.contains(*name));
        let found = found.filter_map(|(name, file)| Some((name.clone(), file.clone()?)));
        found.collect()
    }

    /// The names of all queues.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.queues.keys().chain(self.unusable.keys())
    }
}

/// The processors that a config file names, by queue. Reads no secrets, and nothing that the file refers to.
pub fn processors_of(file: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let config = read_file(file)?;
    let named = config.queues.iter().filter_map(|(queue, section)| {
        let processor = config.dir.join(section.processor()?);
        Some((queue.clone(), processor))
    });
    Ok(named.collect())
}

/// The file that is read where none is named.
fn default_file() -> Option<PathBuf> {
    let file = Path::new(DEFAULT_FILE);
    file.exists().then(|| file.to_owned())
}

/// The config of a Toril host.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct File {
    /// The Redis to use, such as `redis://user:password@host:6379/0`; also `rediss://`, `redis+unix://`, `redis+cluster://` and
    /// `redis+sentinel://` (default: one that runs at 127.0.0.1, or else one of the host's own).
    redis: Option<String>,
    /// The certificate authority to trust for `rediss://`, PEM (default: those of the system).
    redis_ca_file: Option<PathBuf>,
    /// If no `redis` is configured: the port at which one is looked for, and started (default: 6379).
    local_redis_port: Option<u16>,
    /// The prefix of all keys, as in BullMQ.
    prefix: String,
    /// How long running jobs may take to end when the host stops, in ms.
    grace_ms: u64,
    /// Where traces and metrics go (default: OTEL_EXPORTER_OTLP_ENDPOINT, or nowhere).
    otlp_endpoint: Option<String>,
    /// How the collector is spoken to (default: OTEL_EXPORTER_OTLP_PROTOCOL, or `http/protobuf`).
    otlp_protocol: Option<OtlpProtocol>,
    /// The admin API; without this section there is none.
    admin: Option<AdminFile>,
    /// Swaps processors when their files change.
    watch: bool,
    /// A directory in which each `NAME.wasm` serves the queue NAME.
    processors_dir: Option<PathBuf>,
    /// The engine, for all queues.
    runtime: RuntimeFile,
    /// The queues to serve, by name.
    queues: BTreeMap<String, QueueFile>,
    /// Paths in the file are relative to it.
    #[serde(skip)]
    dir: PathBuf,
    /// The file itself.
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl Default for File {
    fn default() -> Self {
        File {
            redis: None,
            redis_ca_file: None,
            local_redis_port: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            grace_ms: DEFAULT_GRACE_MS,
            otlp_endpoint: None,
            otlp_protocol: None,
            admin: None,
            watch: false,
            processors_dir: None,
            runtime: RuntimeFile::default(),
            queues: BTreeMap::new(),
            dir: PathBuf::new(),
            path: None,
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    parse(path, &read_text(path)?)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    regular_file::read_text(path, SMALL_BYTES_MAX)
        .with_context(|| format!("failed to read config `{}`", path.display()))
}

fn parse(path: &Path, text: &str) -> anyhow::Result<File> {
    let mut file: File = toml::from_str(text)
        .map_err(|error| anyhow::anyhow!(invalid::explain(&error, text)))
        .with_context(|| format!("config `{}` is invalid", path.display()))?;
    file.dir = path.parent().unwrap_or(Path::new("")).to_owned();
    file.path = Some(path.to_owned());
    Ok(file)
}

impl File {
    fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = path.map(Path::to_owned).or_else(default_file);
        path.as_deref()
            .map_or_else(|| Ok(File::default()), read_file)
    }
}

/// Reads a certificate authority, if one is named.
pub fn read_authority(file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    let pem = regular_file::read(file, SMALL_BYTES_MAX)
        .with_context(|| format!("failed to read certificate authority `{}`", file.display()))?;
    Ok(Some(pem))
}

/// Where compiled code is kept, by the XDG base directory rules.
pub fn default_cache_dir() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    let cache = xdg.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("toril").join("compiled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str, overrides: Overrides) -> anyhow::Result<Config> {
        toml::from_str::<File>(text)?.into_config(overrides)
    }

    #[test]
    fn flags_win_over_the_file() {
        let overrides = Overrides {
            redis_url: Some("redis://b".into()),
            concurrency: Some(7),
            queues: vec![
                ("paint".into(), Some("new.wasm".into())),
                ("fix".into(), Some("fix.wasm".into())),
            ],
            ..Overrides::default()
        };
        let text = "redis = \"redis://a\"\nprefix = \"p\"\n[queues.paint]\nprocessor = \"old.wasm\"\nlimits = { deadline_ms = 5 }";
        let config = config(text, overrides).unwrap();
        assert_eq!(
            (config.redis.url.as_deref(), &*config.redis.prefix),
            (Some("redis://b"), "p")
        );
        let paint = &config.queues["paint"];
        assert_eq!(
            (
                paint.processor.as_deref().and_then(Path::to_str),
                paint.worker.concurrency
            ),
            (Some("new.wasm"), 7)
        );
        assert_eq!(paint.limits.deadline_ms, 5);
        assert_eq!(config.queues["fix"].worker.concurrency, 7);
    }

    #[test]
    fn unknown_key_is_an_error_that_names_it() {
        let text = "[queues.paint]\nprocessor = \"a.wasm\"\nconcurency = 3";
        let error = config(text, Overrides::default()).unwrap_err().to_string();
        assert!(
            error.contains("concurency") && error.contains("concurrency"),
            "{error}"
        );
    }

    #[test]
    fn zeros_that_would_stop_a_queue_are_refused() {
        let text = "[queues.paint]\nprocessor = \"a.wasm\"\nlock_duration_ms = 0";
        let error = format!("{:#}", config(text, Overrides::default()).unwrap_err());
        assert_eq!(error, "queue `paint`: `lock_duration_ms` must be 1 or more");
    }

    #[test]
    fn file_that_names_no_queue_is_left_out_alone() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a:b.wasm", "paint.wasm", "notes.txt"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let text = format!("processors_dir = {:?}", dir.path());
        let config = config(&text, Overrides::default()).unwrap();
        assert_eq!(config.queues.keys().collect::<Vec<_>>(), ["paint"]);
    }

    #[test]
    fn keys_that_need_a_new_start_are_named() {
        let of = |text: &str| config(text, Overrides::default()).unwrap();
        let old = of("[queues.paint]");
        let new = of("prefix = \"p\"\nruntime = { executions_max = 7 }\n[queues.fix]");
        assert_eq!(
            old.fixed_keys_changed(&new),
            ["prefix", "runtime.executions_max"]
        );
        assert!(old.fixed_keys_changed(&old).is_empty());
    }

    #[test]
    fn what_no_queue_can_use_is_refused_with_its_queue_and_key() {
        for (option, reason) in [
            (
                "limits = { memory_bytes_max = 4294967297 }",
                "`limits.memory_bytes_max` must be 4294967296 or less: no guest can use more",
            ),
            (
                "limits = { table_elements_max = 9223372036854775807 }",
                "`limits.table_elements_max` must be 4294967295 or less: no guest can use more",
            ),
            (
                "drain_delay_ms = 9223372036854775807",
                "`drain_delay_ms` must be 315360000000 ms (ten years) or less",
            ),
            (
                "backoff = { a = [] }",
                "`backoff.a` must have one delay or more",
            ),
            (
                "reuse = { jobs = 0 }",
                "`reuse.jobs` must be 1 or more; without `reuse` each attempt has a fresh instance",
            ),
            (
                "reuse = { jobs = 1, age_ms = 0 }",
                "`reuse.age_ms` must be 1 or more; without `reuse` each attempt has a fresh instance",
            ),
        ] {
            let text = format!("[queues.paint]\n{option}");
            let error = format!("{:#}", config(&text, Overrides::default()).unwrap_err());
            assert_eq!(error, format!("queue `paint`: {reason}"));
        }
    }

    #[test]
    fn keep_rules_read_as_in_bullmq() {
        let text = "[queues.paint]\nprocessor = \"a.wasm\"\nremove_on_complete = true\nremove_on_fail = { age = 60, count = 5 }";
        let config = config(text, Overrides::default()).unwrap();
        let worker = &config.queues["paint"].worker;
        assert_eq!(worker.remove_on_complete.count, Some(0));
        assert_eq!(worker.remove_on_fail.age_s, Some(60.0));
    }
}
