//! Queues that no host serves any more: they leave the list after a day, and all that is kept of them on demand.

use redis::Value;
use serde::Serialize;
use utoipa::ToSchema;

use super::hosts::GONE_MS;
use super::record::{DeployError, from_json};
use super::{Deployments, QUEUES};
use crate::served_queue::report::QueueStatus;
use toril_queue::{Queue, QueueError, script};

/// For how long a queue is listed that no host serves. What is deployed on it stays.
const LISTED_MS: i64 = 24 * 60 * 60 * 1000;

/// The data that was removed with a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forgotten {
    /// The digest of the version that was deployed.
    pub active: Option<String>,
    /// How many components were removed.
    pub versions: u64,
    /// The bytes of these components.
    pub bytes: u64,
    /// How many changes the history had.
    pub changes: u64,
    /// How many recordings of attempts were removed.
    pub recordings: u64,
}

/// Forgets a queue that no host serves: what [`Deployments::forget`] does, and the recordings of its attempts.
pub async fn forget(queue: &Queue) -> Result<Forgotten, DeployError> {
    let forgotten = Deployments::of(queue).forget().await;
    if matches!(forgotten, Err(DeployError::Worked { .. })) {
        return forgotten;
    }
    let recordings = queue.drop_all_recordings().await?;
    match forgotten {
        // It may have nothing else.
        Err(DeployError::NothingKnown(_)) if recordings > 0 => Ok(Forgotten {
            recordings,
            ..Forgotten::default()
        }),
        forgotten => Ok(Forgotten {
            recordings,
            ..forgotten?
        }),
    }
}

impl Deployments {
    /// Forgets a queue that no host serves: what is deployed on it, its components and its history, and that there was
    /// such a queue. BullMQ's keys, and so its jobs, stay as they are.
    pub async fn forget(&self) -> Result<Forgotten, DeployError> {
        let script = script!(in "src/served_queue/lua": "lib", "forget");
        let mut call = script.call(&self.key);
        call.arg(GONE_MS);
        let reply: Vec<Value> = self.redis.run(script, &call).await?;
        let (forgotten, had_keys) = self.read_forgotten(reply)?;
        if !self.delist().await? && !had_keys {
            return Err(DeployError::NothingKnown(self.queue.clone()));
        }
        Ok(forgotten)
    }

    fn read_forgotten(&self, reply: Vec<Value>) -> Result<(Forgotten, bool), DeployError> {
        let wrong = || QueueError::Reply("forget");
        let mut reply = reply.into_iter();
        if reply.next() == Some(Value::Int(-1)) {
            let reports = reply.next().ok_or_else(wrong)?;
            let reports: Vec<String> = redis::from_redis_value(reports).map_err(|_| wrong())?;
            let name = |report: &String| Some(from_json::<QueueStatus>(report)?.name);
            return Err(DeployError::Worked {
                queue: self.queue.clone(),
                hosts: reports.iter().filter_map(name).collect(),
            });
        }
        let fields = Value::Array(reply.collect());
        let (active, versions, bytes, changes, had_keys): (String, u64, u64, u64, bool) =
            redis::from_redis_value(fields).map_err(|_| wrong())?;
        let forgotten = Forgotten {
            active: Some(active).filter(|active| !active.is_empty()),
            versions,
            bytes,
            changes,
            recordings: 0,
        };
        Ok((forgotten, had_keys))
    }

    /// True if for a day no host has served the queue and nobody has changed its deployment: it is removed from the list. A
    /// host that returns adds it again.
    pub async fn is_abandoned(&self) -> Result<bool, QueueError> {
        let script = script!(in "src/served_queue/lua": "lib", "unseen");
        let unseen_ms: i64 = self.redis.run(script, &script.call(&self.key)).await?;
        let abandoned = unseen_ms > LISTED_MS;
        if abandoned {
            // Who may only read sees the same.
            let _ = self.delist().await;
        }
        Ok(abandoned)
    }

    /// Takes the queue off the list. False: it was not there.
    async fn delist(&self) -> Result<bool, QueueError> {
        let mut command = redis::cmd("SREM");
        command.arg(QUEUES).arg(self.base());
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }
}
