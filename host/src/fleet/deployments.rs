//! What is deployed on a queue, in Redis: changed by commands and the admin API, followed by every host.
//!
//! All of it is under `toril:{prefix:queue}:`, apart from BullMQ's keys; `lua/lib.lua` says what is where.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use redis::{FromRedisValue, Script, Value};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::registry::{CanaryRule, Refusal, Tally, VersionReport};
use toril_queue::{Queue, QueueError, Redis};

/// How many components a queue keeps, unless it is told otherwise. One in use is never removed.
pub const VERSIONS_KEPT: usize = 10;
/// A host that has not reported for this long counts as gone.
const GONE_MS: u64 = 5_000;
/// The queues that have deployments or hosts. Not under a queue's hash tag: it is of all queues.
const QUEUES: &str = "toril:queues";

/// The deployments of one queue.
#[derive(Clone)]
pub struct Deployments {
    redis: Redis,
    queue: String,
    key: String,
}

/// What is deployed now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Grows with each change.
    pub revision: u64,
    /// The digest that serves; none where hosts serve their own files.
    pub active: Option<String>,
    /// A candidate that takes some of the jobs.
    pub canary: Option<CanaryRecord>,
}

/// A candidate and how it does, on all hosts.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryRecord {
    /// The revision with which it began.
    pub id: u64,
    /// The candidate's digest.
    pub digest: String,
    /// What it takes, and when it is aborted.
    pub rule: CanaryRule,
    /// The active version's attempts since it began: completed, failed.
    pub active: [u64; 2],
    /// Its own.
    pub candidate: [u64; 2],
}

/// A change of what is deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The revision that it made.
    pub revision: u64,
    /// When, in ms since the epoch.
    pub at: u64,
    /// `stored`, `deployed`, `canary`, `promoted`, `aborted`, `rolled back` or `undeployed`.
    pub what: String,
    /// Of which component.
    pub digest: String,
    /// Why, where it was not asked for.
    pub reason: Option<String>,
}

/// What is known of a stored component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Note {
    /// Its size.
    pub bytes: usize,
    /// The file that it came from.
    pub name: Option<String>,
    /// What its SDK says of itself.
    pub sdk: Option<serde_json::Value>,
}

/// A component that is stored, and could be deployed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredVersion {
    /// `sha256:` and the digest of the component.
    pub digest: String,
    /// When it was stored or last became active, in ms since the epoch.
    pub at: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub note: Note,
}

/// What a host does for one queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// Another one for each process.
    pub host: String,
    /// The machine's name and the process's id.
    pub name: String,
    /// The revision of the deployment that it follows.
    pub revision: u64,
    /// The digest that its next job runs on.
    pub active: Option<String>,
    /// The candidate, while there is one.
    pub candidate: Option<String>,
    /// The versions that serve, or that jobs still run on.
    pub versions: Vec<VersionReport>,
    /// Jobs that run at once.
    pub concurrency: usize,
    /// Jobs that are held now.
    pub running: usize,
    /// True while it takes no jobs.
    pub paused: bool,
    /// The last processor that it did not take.
    pub refusal: Option<Refusal>,
    /// What its processors may do beyond their jobs: names, no values.
    #[serde(default)]
    pub grants: Vec<String>,
    /// How long ago it reported, in ms; counted by Redis.
    #[serde(default)]
    pub age: u64,
    /// False where it has not reported for some seconds.
    #[serde(default)]
    pub alive: bool,
}

/// What a component is stored with.
pub struct Upload<'a> {
    /// The component.
    pub bytes: &'a [u8],
    /// What is known of it.
    pub note: Note,
}

/// Why a deployment was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The digest is not stored.
    #[error("queue `{queue}` has no version `{digest}`\nhint: `toril versions {queue}` lists them")]
    NoSuchVersion {
        /// The queue.
        queue: String,
        /// The digest asked for.
        digest: String,
    },
    /// The beginning of a digest fits several.
    #[error("several versions of queue `{queue}` begin with `{digest}`")]
    Ambiguous {
        /// The queue.
        queue: String,
        /// The beginning.
        digest: String,
    },
    /// There is no candidate.
    #[error("queue `{0}` has no canary")]
    NoCanary(String),
    /// No other version was active before.
    #[error("queue `{0}` has no earlier version to go back to")]
    NothingBefore(String),
    /// There is no deployment.
    #[error("nothing is deployed on queue `{0}`: its hosts serve their own files")]
    NothingDeployed(String),
    /// The rule cannot be followed.
    #[error("{0}")]
    Invalid(String),
    /// Redis did not do it.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/lib.lua"),
        include_str!("lua/change.lua")
    ))
});
static SYNC: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/lib.lua"),
        include_str!("lua/sync.lua")
    ))
});

#[derive(Default)]
struct Arguments<'a> {
    digest: &'a str,
    upload: Option<&'a Upload<'a>>,
    rule: Option<&'a CanaryRule>,
    reason: &'a str,
}

impl Deployments {
    /// The deployments of a queue; nothing is sent to Redis.
    pub fn of(queue: &Queue) -> Self {
        let base = queue.keys().base();
        Deployments {
            redis: queue.redis().clone(),
            queue: queue.keys().name().to_owned(),
            key: format!("toril:{{{base}}}"),
        }
    }

    /// The queues, as `prefix:queue`, that were ever deployed to or served.
    pub async fn queues(redis: &Redis) -> Result<Vec<String>, QueueError> {
        let mut command = redis::cmd("SMEMBERS");
        let mut queues: Vec<String> = command.arg(QUEUES).query_async(&mut redis.shared()).await?;
        queues.sort();
        Ok(queues)
    }

    /// Lists the queue among those of [`Deployments::queues`].
    pub async fn enlist(&self) -> Result<(), QueueError> {
        let base = self.key.trim_start_matches("toril:");
        let base = &base[1..base.len() - 1];
        let mut command = redis::cmd("SADD");
        command.arg(QUEUES).arg(base);
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }

    /// Keeps a component, to be deployed later.
    pub async fn store(
        &self,
        digest: &str,
        upload: &Upload<'_>,
    ) -> Result<Deployment, DeployError> {
        let upload = Some(upload);
        self.change(
            "store",
            Arguments {
                digest,
                upload,
                ..Arguments::default()
            },
        )
        .await
    }

    /// Makes a component active, or with a rule the candidate. Without an upload it is one that is stored.
    pub async fn deploy(
        &self,
        digest: &str,
        upload: Option<&Upload<'_>>,
        rule: Option<&CanaryRule>,
    ) -> Result<Deployment, DeployError> {
        if let Some(rule) = rule {
            rule.check().map_err(DeployError::Invalid)?;
        }
        self.change(
            "deploy",
            Arguments {
                digest,
                upload,
                rule,
                reason: "",
            },
        )
        .await
    }

    /// Makes the candidate active.
    pub async fn promote(&self) -> Result<Deployment, DeployError> {
        self.change("promote", Arguments::default()).await
    }

    /// Ends the canary.
    pub async fn abort(&self, reason: &str) -> Result<Deployment, DeployError> {
        self.change(
            "abort",
            Arguments {
                reason,
                ..Arguments::default()
            },
        )
        .await
    }

    /// Makes a stored version active again: this one, or the one that was active before.
    pub async fn rollback(&self, digest: Option<&str>) -> Result<Deployment, DeployError> {
        let digest = digest.unwrap_or_default();
        self.change(
            "rollback",
            Arguments {
                digest,
                ..Arguments::default()
            },
        )
        .await
    }

    /// Takes the deployment away: hosts go back to their files.
    pub async fn undeploy(&self) -> Result<Deployment, DeployError> {
        self.change("undeploy", Arguments::default()).await
    }

    async fn change(
        &self,
        verb: &str,
        arguments: Arguments<'_>,
    ) -> Result<Deployment, DeployError> {
        let mut call = CHANGE.key(&self.key);
        let (bytes, note): (&[u8], String) = match arguments.upload {
            Some(upload) => (upload.bytes, to_json(&upload.note)),
            None => (&[], String::new()),
        };
        call.arg(verb)
            .arg(arguments.digest)
            .arg(bytes)
            .arg(note)
            .arg(VERSIONS_KEPT);
        match arguments.rule {
            Some(rule) => call
                .arg(to_json(rule))
                .arg(rule.margin_percent / 100.0)
                .arg(rule.minimum),
            None => call.arg("").arg(0).arg(0),
        };
        call.arg(arguments.reason);
        self.enlist().await?;
        let reply: Vec<Value> = call
            .invoke_async(&mut self.redis.shared())
            .await
            .map_err(QueueError::from)?;
        self.read_change(reply, arguments.digest)
    }

    fn read_change(&self, reply: Vec<Value>, digest: &str) -> Result<Deployment, DeployError> {
        let queue = || self.queue.clone();
        let mut reply = reply.into_iter();
        match (reply.next(), reply.next()) {
            (Some(Value::Int(0)), Some(record)) => Ok(read_deployment(record)?),
            (Some(Value::Int(-1)), _) => Err(DeployError::NoSuchVersion {
                queue: queue(),
                digest: digest.to_owned(),
            }),
            (Some(Value::Int(-2)), _) => Err(DeployError::NoCanary(queue())),
            (Some(Value::Int(-3)), _) => Err(DeployError::NothingBefore(queue())),
            (Some(Value::Int(-4)), _) => Err(DeployError::NothingDeployed(queue())),
            _ => Err(QueueError::Reply("change").into()),
        }
    }

    /// What is deployed now.
    pub async fn current(&self) -> Result<Deployment, QueueError> {
        read_deployment(self.read("HGETALL", "deployment", &[]).await?)
    }

    /// The changes of the past, newest first.
    pub async fn changes(&self) -> Result<Vec<Change>, QueueError> {
        let entries: Vec<String> = self.read("LRANGE", "changes", &["0", "-1"]).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| from_json(entry))
            .collect())
    }

    /// The components that are stored, newest first.
    pub async fn versions(&self) -> Result<Vec<StoredVersion>, QueueError> {
        let stored: Vec<(String, f64)> = self
            .read("ZREVRANGE", "versions", &["0", "-1", "WITHSCORES"])
            .await?;
        let notes: BTreeMap<String, String> = self.read("HGETALL", "notes", &[]).await?;
        let version = |(digest, at): (String, f64)| {
            let note = notes.get(&digest).and_then(|note| from_json(note));
            StoredVersion {
                note: note.unwrap_or_default(),
                digest,
                at: at as u64,
            }
        };
        Ok(stored.into_iter().map(version).collect())
    }

    /// The digest that begins so, with or without `sha256:`.
    pub async fn resolve(&self, beginning: &str) -> Result<String, DeployError> {
        let wanted = beginning.trim_start_matches("sha256:");
        let mut found = self.versions().await?.into_iter().filter(|version| {
            let digest = version.digest.trim_start_matches("sha256:");
            !wanted.is_empty() && digest.starts_with(wanted)
        });
        let (queue, digest) = (self.queue.clone(), beginning.to_owned());
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.digest),
            (None, _) => Err(DeployError::NoSuchVersion { queue, digest }),
            _ => Err(DeployError::Ambiguous { queue, digest }),
        }
    }

    /// The bytes of a stored component.
    pub async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>, QueueError> {
        self.read("GET", &format!("component:{digest}"), &[]).await
    }

    /// True where the digest was active once. A candidate that was aborted was not.
    pub async fn was_active(&self, digest: &str) -> Result<bool, QueueError> {
        let place: Option<u64> = self.read("LPOS", "history", &[digest]).await?;
        Ok(place.is_some())
    }

    /// What the hosts said last of what they do. Those that are gone for long are left out.
    pub async fn hosts(&self) -> Result<Vec<HostReport>, QueueError> {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut self.redis.shared())
            .await?;
        let now = seconds * 1000 + micros / 1000;
        let reports: BTreeMap<String, String> = self.read("HGETALL", "hosts", &[]).await?;
        let read = |text: &String| {
            let (at, report) = text.split_once(' ')?;
            let mut report: HostReport = from_json(report)?;
            report.age = now.saturating_sub(at.parse().ok()?);
            report.alive = report.age < GONE_MS;
            Some(report)
        };
        let mut hosts: Vec<HostReport> = reports.values().filter_map(read).collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hosts)
    }

    /// Reports what a host does, and returns the deployment where it is not the one that the host knows.
    pub(super) async fn sync(
        &self,
        report: &HostReport,
        canary: Option<(u64, Tally)>,
    ) -> Result<Option<Deployment>, QueueError> {
        let (canary, tally) = match canary {
            Some((id, tally)) => (id.to_string(), tally),
            None => (String::new(), Tally::default()),
        };
        let mut call = SYNC.key(&self.key);
        call.arg(&report.host)
            .arg(to_json(report))
            .arg(report.revision)
            .arg(canary);
        for count in tally.active.into_iter().chain(tally.candidate) {
            call.arg(count);
        }
        match call.invoke_async(&mut self.redis.shared()).await? {
            Value::Nil => Ok(None),
            record => read_deployment(record).map(Some),
        }
    }

    /// Takes a host off the list.
    pub(super) async fn leave(&self, host: &str) -> Result<(), QueueError> {
        self.read("HDEL", "hosts", &[host]).await
    }

    async fn read<T: FromRedisValue>(
        &self,
        command: &str,
        key: &str,
        arguments: &[&str],
    ) -> Result<T, QueueError> {
        let mut command = redis::cmd(command);
        command.arg(format!("{}:{key}", self.key)).arg(arguments);
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }
}

fn to_json(value: &impl Serialize) -> String {
    // Of types that are plain data, which cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// What another version of us wrote may be unreadable: then it is left out.
fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn read_deployment(record: Value) -> Result<Deployment, QueueError> {
    let mut fields: BTreeMap<String, String> =
        redis::from_redis_value(record).map_err(|_| QueueError::Reply("deployment"))?;
    let number = |name: &str| {
        fields
            .get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    };
    let (revision, id) = (number("revision"), number("canary"));
    let (active, candidate) = (["a0", "a1"].map(number), ["c0", "c1"].map(number));
    let rule = fields.get("rule").and_then(|rule| from_json(rule));
    let canary = fields.remove("candidate").map(|digest| CanaryRecord {
        id,
        digest,
        rule: rule.unwrap_or_default(),
        active,
        candidate,
    });
    Ok(Deployment {
        revision,
        active: fields.remove("active"),
        canary,
    })
}
