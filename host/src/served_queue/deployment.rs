//! What is deployed on a queue, in Redis: changed by commands and the admin API, followed by every host.
//!
//! All of it is under `toril:{prefix:queue}:`, apart from BullMQ's keys; `lua/lib.lua` says what is where.

mod forget;
mod hosts;
mod record;
mod sync;

use std::collections::BTreeMap;

use redis::{FromRedisValue, Value};

use super::cancel::requests::KEPT;
use super::reason::Reason;
use crate::versions::CanaryRule;
pub use forget::{Forgotten, forget};
pub use hosts::announced_hosts;
pub(crate) use hosts::{announce, withdraw_host};
pub use record::{
    AbortedCanary, CanaryRecord, Change, DeployError, Deployment, Note, StoredVersion, Upload,
};
use record::{from_json, read_deployment, to_json};
pub(crate) use sync::Asked;
pub(super) use sync::{News, Report};
use toril_queue::{AttemptId, Queue, QueueError, Redis, script};

/// How many components a queue keeps, unless it is told otherwise. One in use is never removed.
pub const VERSIONS_KEPT: usize = 10;
/// The queues that have deployments or hosts. Not under a queue's hash tag: it is of all queues.
const QUEUES: &str = "toril:queues";

/// The deployments of one queue.
#[derive(Clone)]
pub struct Deployments {
    redis: Redis,
    queue: String,
    key: String,
}

/// Asks the host that runs a job to stop it.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// The job's id.
    pub id: String,
    /// Of the lock of the start that runs.
    pub token: String,
    /// The request is for all starts of this attempt.
    pub attempt: AttemptId,
    /// The reason that was given; may be empty.
    pub said: String,
}

/// What a version is on a queue, for the jobs that started on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the candidate of the canary that runs.
    Candidate,
    /// It is active, or was: also before a rollback.
    WasActive,
    /// It was never active: it was only stored, or was a candidate that was aborted.
    Neither,
}

#[derive(Default)]
struct Arguments<'a> {
    digest: &'a str,
    upload: Option<&'a Upload<'a>>,
    rule: Option<&'a CanaryRule>,
    reason: Reason<'a>,
    revision: Option<u64>,
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

    /// The same over another connection.
    pub(super) fn over(self, redis: &Redis) -> Self {
        Deployments {
            redis: redis.clone(),
            ..self
        }
    }

    /// The queues, as `prefix:queue`, that are deployed to or served, or were.
    pub async fn queues(redis: &Redis) -> Result<Vec<String>, QueueError> {
        let mut command = redis::cmd("SMEMBERS");
        let mut queues: Vec<String> = command.arg(QUEUES).query_async(&mut redis.shared()).await?;
        queues.sort();
        Ok(queues)
    }

    /// Lists the queue among those of [`Deployments::queues`].
    pub async fn enlist(&self) -> Result<(), QueueError> {
        Self::enlist_all(std::slice::from_ref(self)).await
    }

    /// Lists queues of one Redis.
    pub(super) async fn enlist_all(queues: &[Self]) -> Result<(), QueueError> {
        let Some(first) = queues.first() else {
            return Ok(());
        };
        let names: Vec<&str> = queues.iter().map(Self::base).collect();
        let mut command = redis::cmd("SADD");
        command.arg(QUEUES).arg(names);
        Ok(command.query_async(&mut first.redis.shared()).await?)
    }

    /// `prefix:queue`.
    fn base(&self) -> &str {
        let tagged = self.key.strip_prefix("toril:{").unwrap_or_default();
        tagged.strip_suffix('}').unwrap_or_default()
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
                ..Arguments::default()
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
        let reason = Reason::said(reason).map_err(DeployError::Invalid)?;
        self.change(
            "abort",
            Arguments {
                reason,
                ..Arguments::default()
            },
        )
        .await
    }

    /// Ends the canary that began with this revision. Fails where it has ended.
    pub(super) async fn abort_canary(&self, id: u64, reason: &str) -> Result<(), DeployError> {
        let arguments = Arguments {
            reason: Reason::found(reason),
            revision: Some(id),
            ..Arguments::default()
        };
        self.change("abort", arguments).await.map(drop)
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

    /// Takes back the change that made this revision: what was active before it is active again, and a canary that ran
    /// goes on. Fails where another change was made since.
    pub async fn withdraw(&self, revision: u64, reason: &str) -> Result<Deployment, DeployError> {
        let (revision, reason) = (Some(revision), Reason::found(reason));
        self.change(
            "withdraw",
            Arguments {
                reason,
                revision,
                ..Arguments::default()
            },
        )
        .await
    }

    async fn change(
        &self,
        verb: &str,
        arguments: Arguments<'_>,
    ) -> Result<Deployment, DeployError> {
        let script = script!(in "src/served_queue/lua": "lib", "change");
        let mut call = script.call(&self.key);
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
            Some(rule) => call.arg(to_json(rule)),
            None => call.arg(""),
        };
        call.arg(arguments.reason.as_str());
        let revision = arguments.revision.map(|revision| revision.to_string());
        call.arg(revision.unwrap_or_default());
        // Other changes are made to what was deployed before: a name with a typing error is not listed.
        if arguments.upload.is_some() {
            self.enlist().await?;
        }
        let reply: Vec<Value> = match arguments.upload {
            // A component takes long on a slow link, and holds up nobody else's calls.
            Some(_) => self.redis.run_large(script, &call).await?,
            None => self.redis.run(script, &call).await?,
        };
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
            (Some(Value::Int(-5)), _) => Err(DeployError::Changed(queue())),
            (Some(Value::Int(-6)), _) => Err(DeployError::ActiveAlready {
                queue: queue(),
                digest: digest.to_owned(),
            }),
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

    /// The bytes of a stored component. They may take long, and hold up nobody else's calls.
    pub async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let redis = self.redis.own_connection();
        let mut command = redis::cmd("GET");
        command.arg(format!("{}:component:{digest}", self.key));
        Ok(command.query_async(&mut redis.shared()).await?)
    }

    /// What a digest is or was. In the order in which a digest becomes what it is, so that no change is missed.
    pub(super) async fn standing(&self, digest: &str) -> Result<Standing, QueueError> {
        let candidate: Option<String> = self.read("HGET", "deployment", &["candidate"]).await?;
        if candidate.as_deref() == Some(digest) {
            return Ok(Standing::Candidate);
        }
        let place: Option<u64> = self.read("LPOS", "history", &[digest]).await?;
        if place.is_some() || self.read("SISMEMBER", "left", &[digest]).await? {
            return Ok(Standing::WasActive);
        }
        Ok(Standing::Neither)
    }

    /// The bytes that a stored component has; 0 where it is not stored.
    pub(super) async fn component_bytes(&self, digest: &str) -> Result<usize, QueueError> {
        self.read("STRLEN", &format!("component:{digest}"), &[])
            .await
    }

    /// Where the queue's keys are in a cluster: queues of equal routes can be asked for in one call. Elsewhere all can.
    pub(super) fn route(&self) -> &str {
        let tag = self.key.strip_prefix("toril:{").unwrap_or_default();
        let tag = tag.split('}').next().unwrap_or_default();
        // Only a prefix with a hash tag of its own is admitted to a cluster: without one, this is none.
        if tag.contains('{') { tag } else { "" }
    }

    /// Asks the host that runs a job, whichever it is, to stop it.
    pub(super) async fn ask_to_cancel(&self, request: &CancelRequest) -> Result<(), QueueError> {
        let script = script!(in "src/served_queue/lua": "lib", "ask_to_cancel");
        let mut call = script.call(&self.key);
        call.arg(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
        call.arg("id").arg(&request.id);
        call.arg("token").arg(&request.token);
        call.arg("attempt").arg(request.attempt.as_str());
        call.arg("said").arg(&request.said);
        self.redis.run(script, &call).await
    }

    /// Takes a host off the list.
    pub(crate) async fn leave(&self, host: &str) -> Result<(), QueueError> {
        let script = script!(in "src/served_queue/lua": "lib", "leave");
        let mut call = script.call(&self.key);
        call.arg(host);
        self.redis.run(script, &call).await
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
