//! What one queue should be: a [`QueueSpec`]. The config file and the admin API each have a form of
//! their own, which is read here; embedders fill in the fields.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toril_queue::{KeepJobs, Limiter};
use utoipa::ToSchema;

use crate::worker::options::{ApiWorkerOptions, WorkerOptions, with_worker_options};
use toril_sandbox::policy::QueueAccess;
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};
use toril_sandbox::{Grants, Limits, Policy, Record, Reuse, Secret, SecretSource};

/// How one queue is served.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueueSpec {
    /// The component's file; without one the queue waits for a deployment. A deployment takes precedence over the file.
    pub processor: Option<PathBuf>,
    /// A job keeps the version that it started on.
    pub pinned: bool,
    /// The prefix of its keys, where it is not the host's.
    pub prefix: Option<String>,
    /// The worker.
    pub worker: WorkerOptions,
    /// What one attempt may use.
    pub limits: Limits,
    /// What it may do beyond its own job.
    pub grants: Grants,
    /// How often an instance is used; none makes a fresh one for each attempt.
    pub reuse: Option<Reuse>,
    /// Which attempts are recorded.
    pub record: Record,
}

impl QueueSpec {
    /// A queue with this processor and the defaults of `toril serve`.
    pub fn new(processor: Option<PathBuf>) -> Self {
        QueueSpec {
            processor,
            ..QueueSpec::default()
        }
    }

    /// What the queue's processors may use and do.
    pub fn policy(&self) -> Policy {
        Policy {
            limits: self.limits.clone(),
            grants: Arc::new(self.grants.clone()),
            reuse: self.reuse,
            record: self.record,
            ..Policy::default()
        }
    }

    /// The section of a queue in `toril.toml`, as it is written there.
    pub fn section(queue: &str) -> String {
        toril_sandbox::policy::section(queue)
    }

    /// An error or a reason whose hint names the section of this queue: the sandbox knows no queues.
    pub fn with_section_of(queue: &str, text: &str) -> String {
        let section = format!("`[{}.", Self::section(queue));
        text.replace("`[queues.NAME.", &section)
    }

    /// Refuses what would stop a queue, or a host.
    pub fn check(&self) -> anyhow::Result<()> {
        self.worker.check().map_err(anyhow::Error::msg)?;
        self.limits.check().map_err(anyhow::Error::msg)?;
        self.record.check().map_err(anyhow::Error::msg)?;
        if let Some(reuse) = &self.reuse {
            reuse.check().map_err(anyhow::Error::msg)?;
        }
        QueueAccess::check(&self.grants.queues).context("`grants.queues`")?;
        ensure!(
            self.prefix.as_deref() != Some(""),
            "`prefix` must not be empty"
        );
        ensure!(
            self.reuse.is_none() || !self.record.attempts.any(),
            "`record` and `reuse` exclude each other: no recording has what an instance keeps from one job to the next"
        );
        Ok(())
    }

    /// True where a worker with this spec can go on as one with the other: only what can change while it works differs.
    pub(crate) fn same_worker(&self, other: &QueueSpec) -> bool {
        let concurrency = other.worker.concurrency;
        let options = WorkerOptions {
            concurrency,
            ..self.worker.clone()
        };
        options == other.worker && self.prefix == other.prefix
    }
}

/// A queue's section of the config, with what flags say over it. What it refers to is read when it is made a spec.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    pub(crate) file: QueueFile,
    /// Paths in it are relative to this.
    pub(crate) dir: PathBuf,
    pub(crate) processor: Option<PathBuf>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) stand_in_secrets: bool,
}

impl Section {
    /// A section as it is written.
    pub(crate) fn new(file: QueueFile, dir: &Path, stand_in_secrets: bool) -> Self {
        Section {
            processor: file.processor().map(|processor| dir.join(processor)),
            file,
            dir: dir.to_owned(),
            concurrency: None,
            stand_in_secrets,
        }
    }

    /// Reads what it refers to, and checks what it says.
    pub(crate) fn spec(&self) -> anyhow::Result<QueueSpec> {
        let file = self.file.clone();
        let mut spec = file.into_spec(&self.dir, self.stand_in_secrets)?;
        spec.processor.clone_from(&self.processor);
        if let Some(concurrency) = self.concurrency {
            spec.worker.concurrency = concurrency;
        }
        spec.check()?;
        Ok(spec)
    }
}

/// How long the files that a section refers to may take to be read.
const SECTION_TIME_MAX: Duration = Duration::from_secs(30);

/// What a queue should be, known or still to be read.
#[derive(Clone)]
pub(crate) enum Wanted {
    Spec(Box<QueueSpec>),
    /// Something that it refers to cannot be used now.
    Section(Arc<Section>),
}

impl From<QueueSpec> for Wanted {
    fn from(spec: QueueSpec) -> Self {
        Wanted::Spec(Box::new(spec))
    }
}

impl Wanted {
    /// What it is, with what can be read now.
    pub(crate) async fn spec(&self) -> anyhow::Result<QueueSpec> {
        let section = match self {
            Wanted::Spec(spec) => return Ok((**spec).clone()),
            Wanted::Section(section) => Arc::clone(section),
        };
        let reading = tokio::task::spawn_blocking(move || section.spec());
        let read = tokio::time::timeout(SECTION_TIME_MAX, reading).await;
        read.context("the files that it names cannot be read: their file system does not answer")??
    }
}

macro_rules! define_file {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($($file:tt)+)])?
        $(#[schemars($($schema:tt)+)])?
        $field:ident: $type:ty = $default:expr, $api:tt $api_type:ident;
    )+) => {
        /// A queue's section of `toril.toml`.
        #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct QueueFile {
            /// The component, or the source of the processor, relative to this file; without one, jobs wait for `toril deploy`.
            processor: Option<PathBuf>,
            /// A job keeps the version that it started on.
            pinned: bool,
            /// The prefix of its keys (default: the host's).
            pub(crate) prefix: Option<String>,
            /// What one attempt may use.
            pub(crate) limits: Limits,
            /// What its processors may do beyond their own job.
            pub(crate) grants: GrantsFile,
            /// How often an instance is used (default: a fresh one for each attempt).
            reuse: Option<Reuse>,
            /// Which attempts are recorded, and how many recordings are kept.
            record: Record,
            $($(#[doc = $doc])+ $(#[serde($($file)+)])? $(#[schemars($($schema)+)])? $field: $type,)+
        }

        impl Default for QueueFile {
            fn default() -> Self {
                let WorkerOptions { $($field,)+ } = WorkerOptions::default();
                QueueFile {
                    processor: None,
                    pinned: false,
                    prefix: None,
                    limits: Limits::default(),
                    grants: GrantsFile::default(),
                    reuse: None,
                    record: Record::default(),
                    $($field,)+
                }
            }
        }

        impl QueueFile {
            /// The processor's file, as it stands there.
            pub(crate) fn processor(&self) -> Option<&Path> {
                self.processor.as_deref()
            }

            /// Reads what it refers to. Paths are relative to `dir`.
            pub(crate) fn into_spec(self, dir: &Path, stand_in_secrets: bool) -> anyhow::Result<QueueSpec> {
                Ok(QueueSpec {
                    processor: self.processor.map(|file| dir.join(file)),
                    pinned: self.pinned,
                    prefix: self.prefix,
                    worker: WorkerOptions { $($field: self.$field,)+ },
                    limits: self.limits,
                    grants: self.grants.resolve(dir, stand_in_secrets)?,
                    reuse: self.reuse,
                    record: self.record,
                })
            }
        }
    };
}
with_worker_options!(define_file);

/// Grants, and where their secrets are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct GrantsFile {
    /// Environment variables that it sees and that no log shows, and where their values are.
    secrets: BTreeMap<String, SecretSource>,
    /// The others, which refuse what they do not know.
    #[serde(flatten)]
    #[schemars(with = "Grants")]
    grants: toml::Table,
}

impl GrantsFile {
    fn grants(&self) -> anyhow::Result<Grants> {
        Grants::deserialize(self.grants.clone()).map_err(|error| {
            let written = self.grants.to_string();
            let said = crate::config::invalid::explain(&error, &written);
            anyhow::anyhow!("`grants` is invalid: {said}")
        })
    }

    /// With all defaults, and without the secrets' values.
    pub(crate) fn shown(&self) -> anyhow::Result<toml::Table> {
        let mut shown = toml::Table::try_from(self.grants()?)?;
        shown.insert("secrets".into(), toml::Value::try_from(&self.secrets)?);
        Ok(shown)
    }

    /// Reads the secrets, and makes paths absolute or relative to the config.
    fn resolve(self, dir: &Path, stand_in_secrets: bool) -> anyhow::Result<Grants> {
        let mut grants = self.grants()?;
        for granted in &mut grants.dirs {
            granted.host = dir.join(&granted.host);
            ensure!(
                granted.host.is_dir(),
                "`grants.dirs`: `{}` is not a directory",
                granted.host.display()
            );
        }
        if let Some(http) = &mut grants.http {
            http.resolve(dir).context("`grants.http`")?;
        }
        if let Some(tcp) = &mut grants.tcp {
            tcp.resolve(dir).context("`grants.tcp`")?;
        }
        if let Some(kv) = &grants.kv {
            kv.check().map_err(anyhow::Error::msg)?;
        }
        for (name, source) in self.secrets {
            let text = match stand_in_secrets {
                true => format!("secret-{name}"),
                false => read(&source, dir).with_context(|| format!("secret `{name}`"))?,
            };
            let secret = Secret::new(text.trim().to_owned());
            let secret = secret.with_context(|| format!("secret `{name}` cannot be kept"))?;
            grants.secrets.insert(name, secret);
        }
        for (name, granted) in &mut grants.postgres {
            let resolved = granted.resolve(dir).and_then(|()| match stand_in_secrets {
                // Without its URL a database is not reached.
                true => Ok(()),
                false => granted.take_url(&read(&granted.url, dir)?),
            });
            resolved.with_context(|| format!("`grants.postgres.{name}`"))?;
        }
        Ok(grants)
    }
}

fn read(source: &SecretSource, dir: &Path) -> anyhow::Result<String> {
    match source {
        SecretSource::Env(variable) => {
            std::env::var(variable).with_context(|| format!("environment variable `{variable}`"))
        }
        SecretSource::File(file) => regular_file::read_text(&dir.join(file), SMALL_BYTES_MAX)
            .with_context(|| format!("failed to read `{}`", file.display())),
    }
}

/// How to serve a queue. Its processor is the deployed one; until one is deployed, jobs wait.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = Attach)]
pub(crate) struct QueueRequest {
    options: Option<ApiWorkerOptions>,
    /// The limits of an attempt, as in the config.
    #[schema(value_type = Option<Object>)]
    limits: Option<Limits>,
    /// The queues in which its processors may add, read and remove jobs. Only the config can grant files and secrets.
    queues: Option<Vec<String>>,
    /// A job keeps the version that it started on.
    pinned: Option<bool>,
}

impl QueueRequest {
    /// What is asked for.
    pub(crate) fn into_spec(self) -> QueueSpec {
        let mut options = self.options.unwrap_or_default();
        QueueSpec {
            prefix: options.prefix.take(),
            pinned: self.pinned.unwrap_or_default(),
            worker: options.into(),
            limits: self.limits.unwrap_or_default(),
            grants: Grants {
                queues: self.queues.unwrap_or_default(),
                ..Grants::default()
            },
            ..QueueSpec::default()
        }
    }
}
