//! Looking at jobs without taking them.

use std::collections::BTreeMap;

use crate::error::QueueError;
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;

/// A stored job, field by field, as BullMQ wrote it.
pub type JobRecord = BTreeMap<String, String>;

/// Only a job's hash has a name and one of the others.
fn is_job(record: &JobRecord) -> bool {
    let has = |field: &&str| record.contains_key(*field);
    has(&"name") && ["timestamp", "ats"].iter().any(has)
}

impl Queue {
    /// True for an id that could spell a key of another queue and is no job of this one.
    pub(crate) async fn is_foreign(&self, id: &str) -> Result<bool, QueueError> {
        Ok(id.contains(':') && self.state(id).await? == JobState::Unknown)
    }

    /// Reads a job's hash; `None` where there is no such job.
    pub async fn job(&self, id: &str) -> Result<Option<JobRecord>, QueueError> {
        if self.is_foreign(id).await? {
            return Ok(None);
        }
        let mut command = redis::cmd("HGETALL");
        let fields = self.redis.ask(command.arg(self.keys.job(id))).await;
        let record: JobRecord = match fields {
            // A key of the queue that is no hash.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(None),
            fields => fields?,
        };
        Ok(Some(record).filter(is_job))
    }

    /// Reads what of a job a flow shows, not its data; `None` where there is no such job.
    pub(crate) async fn shown_fields(&self, id: &str) -> Result<Option<JobRecord>, QueueError> {
        const SHOWN: [&str; 5] = ["name", "timestamp", "ats", "returnvalue", "failedReason"];
        if self.is_foreign(id).await? {
            return Ok(None);
        }
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.job(id)).arg(&SHOWN);
        let fields: Vec<Option<String>> = match self.redis.ask(&command).await {
            // A key of the queue that is no hash.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(None),
            fields => fields?,
        };
        let record: JobRecord = SHOWN
            .iter()
            .zip(fields)
            .filter_map(|(name, value)| Some(((*name).to_owned(), value?)))
            .collect();
        Ok(Some(record).filter(is_job))
    }

    /// Finds the state of a job.
    pub async fn state(&self, id: &str) -> Result<JobState, QueueError> {
        let script = script!("state", "ids");
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        let state: String = self.redis.run(script, &call).await?;
        state.parse().map_err(|_| QueueError::Reply("state"))
    }

    /// Reads the newest `limit` lines of a job's log, oldest first.
    pub async fn logs(&self, id: &str, limit: usize) -> Result<Vec<String>, QueueError> {
        if self.is_foreign(id).await? {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("LRANGE");
        let from = -i64::try_from(limit).unwrap_or(i64::MAX);
        command
            .arg(format!("{}:logs", self.keys.job(id)))
            .arg(from)
            .arg(-1);
        Ok(self.redis.ask(&command).await?)
    }
}
