//! What the records of deployments say, and how they are read.

use std::collections::BTreeMap;

use redis::Value;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::versions::CanaryRule;
use toril_queue::QueueError;

/// The present deployment of a queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// A number that grows with each change.
    pub revision: u64,
    /// The digest of the active version; null if hosts serve their own files.
    pub active: Option<String>,
    /// A candidate that takes some of the jobs.
    pub canary: Option<CanaryRecord>,
    /// The last canary, if it was aborted.
    pub aborted: Option<AbortedCanary>,
}

/// A canary that was aborted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AbortedCanary {
    /// The revision with which the canary began.
    pub id: u64,
    /// The digest of the candidate.
    pub digest: String,
    /// The reason.
    pub reason: String,
}

/// A canary: the candidate, its rule, and its jobs on all hosts.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryRecord {
    /// The revision with which the canary began.
    pub id: u64,
    /// The digest of the candidate.
    pub digest: String,
    /// Which jobs the candidate takes, and when it is aborted.
    pub rule: CanaryRule,
    /// Jobs of the active version since the canary began: how many completed and how many failed at their first attempt.
    pub active: [u64; 2],
    /// Jobs of the candidate: how many completed and how many failed at their first attempt.
    pub candidate: [u64; 2],
}

/// A change of the deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The revision after the change.
    pub revision: u64,
    /// When it happened, in ms since the epoch.
    pub at: u64,
    /// `stored`, `deployed`, `canary`, `promoted`, `aborted`, `rolled back`, `undeployed` or
    /// `withdrawn`.
    pub what: String,
    /// The digest of the component.
    pub digest: String,
    /// The reason, if nobody asked for the change.
    pub reason: Option<String>,
}

/// Data about a stored component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Note {
    /// Its size in bytes.
    pub bytes: usize,
    /// The file that it was read from.
    pub name: Option<String>,
    /// The SDK that built it, with its version.
    pub sdk: Option<serde_json::Value>,
}

/// A stored component, which can be deployed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredVersion {
    /// `sha256:` and the digest of the component.
    pub digest: String,
    /// When it was stored or last became active, in ms since the epoch.
    pub at: u64,
    /// Data about it.
    #[serde(flatten)]
    pub note: Note,
}

/// What a component is stored with.
pub struct Upload<'a> {
    /// The component.
    pub bytes: &'a [u8],
    /// Data about it.
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
    #[error(
        "queue `{0}` has no earlier version to go back to\nhint: `toril undeploy {0}` removes the deployment, so that hosts serve their own files"
    )]
    NothingBefore(String),
    /// There is no deployment.
    #[error(
        "nothing is deployed on queue `{0}`: its hosts, if there are any, serve their own files"
    )]
    NothingDeployed(String),
    /// Another change was made meanwhile.
    #[error("the deployment of queue `{0}` was changed meanwhile; it stays as it is")]
    Changed(String),
    /// The candidate serves already.
    #[error(
        "version `{digest}` is the active one of queue `{queue}`: as a canary it would be compared with itself"
    )]
    ActiveAlready {
        /// The queue.
        queue: String,
        /// The digest.
        digest: String,
    },
    /// Hosts serve the queue.
    #[error(
        "queue `{queue}` is served by {}\nhint: stop them, or detach the queue there, and try again in some seconds",
        named(hosts)
    )]
    Worked {
        /// The queue.
        queue: String,
        /// Their names.
        hosts: Vec<String>,
    },
    /// There is no such queue.
    #[error("toril stores nothing for queue `{0}`\nhint: `toril status` lists the queues")]
    NothingKnown(String),
    /// The rule cannot be followed.
    #[error("{0}")]
    Invalid(String),
    /// Redis did not do it.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

fn named(hosts: &[String]) -> String {
    let quoted: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
    quoted.join(", ")
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    // Of types that are plain data, which cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// What another version of us wrote may be unreadable: then it is left out.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

pub(super) fn read_deployment(record: Value) -> Result<Deployment, QueueError> {
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
        aborted: fields
            .remove("aborted")
            .and_then(|aborted| from_json(&aborted)),
    })
}
