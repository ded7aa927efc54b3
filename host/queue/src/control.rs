//! Looking after jobs and queues: what BullMQ's `Job` and `Queue` offer beside adding, reading and removing.

use std::collections::BTreeMap;

use crate::error::QueueError;
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::request::Request;
use crate::time::{SAFE_INTEGER_MAX, now_ms};

/// The states that jobs are counted by, and the keys that have them.
const COUNTED: [(JobState, &str, &str); 8] = [
    (JobState::Active, "LLEN", "active"),
    (JobState::Completed, "ZCARD", "completed"),
    (JobState::Delayed, "ZCARD", "delayed"),
    (JobState::Failed, "ZCARD", "failed"),
    (JobState::Prioritized, "ZCARD", "prioritized"),
    (JobState::Waiting, "LLEN", "wait"),
    // Where jobs wait while a producer of BullMQ 5 has paused the queue.
    (JobState::Waiting, "LLEN", "paused"),
    (JobState::WaitingChildren, "ZCARD", "waiting-children"),
];

impl Queue {
    /// Changes when a delayed job is due, in ms from now.
    pub async fn change_delay(&self, id: &str, delay_ms: u64) -> Result<(), QueueError> {
        self.change_delay_once(id, delay_ms, &Request::untracked())
            .await
    }

    /// Changes the delay as [`Queue::change_delay`] does, once however often the request is sent.
    pub async fn change_delay_once(
        &self,
        id: &str,
        delay_ms: u64,
        request: &Request,
    ) -> Result<(), QueueError> {
        const COMMAND: &str = "changeDelay";
        let script = script!(once "change_delay", "events", "ids", "line");
        let mut call = script.call(self.keys.meta());
        call.arg(id)
            .arg(delay_ms.min(SAFE_INTEGER_MAX))
            .arg(now_ms());
        request.push(&mut call, self.keys.base())?;
        match self.redis.run(script, &call).await? {
            0 => Ok(()),
            -3 => Err(QueueError::not_in_state(id, JobState::Delayed, COMMAND)),
            code => Err(QueueError::job(code, id, COMMAND)),
        }
    }

    /// Changes the priority of a job; one that waits is put in line again, with `lifo` before its equals.
    pub async fn change_priority(
        &self,
        id: &str,
        priority: u32,
        lifo: bool,
    ) -> Result<(), QueueError> {
        let script = script!("change_priority", "events", "ids", "line");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(priority).arg(u8::from(lifo));
        match self.redis.run(script, &call).await? {
            0 => Ok(()),
            code => Err(QueueError::job(code, id, "changePriority")),
        }
    }

    /// The number of jobs by state.
    pub async fn counts(&self) -> Result<BTreeMap<String, u64>, QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for (_, command, key) in COUNTED {
            pipeline.cmd(command).arg(self.keys.of(key));
        }
        let found: Vec<u64> = pipeline.query_async(&mut self.redis.shared()).await?;
        let mut counts = BTreeMap::new();
        for ((state, ..), count) in COUNTED.iter().zip(found) {
            *counts.entry(state.to_string()).or_insert(0) += count;
        }
        Ok(counts)
    }

    /// Lets jobs with this deduplication id be added again, once however often the same request is sent. False: no job
    /// held it.
    pub async fn remove_deduplication_key(
        &self,
        id: &str,
        request: &Request,
    ) -> Result<bool, QueueError> {
        let script = script!(once "remove_deduplication_key");
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        request.push(&mut call, self.keys.base())?;
        self.redis.run(script, &call).await
    }

    /// Emits an event of the caller's own, once however often the same request is sent.
    pub async fn publish_event(
        &self,
        name: &str,
        fields: &[(String, String)],
        request: &Request,
    ) -> Result<(), QueueError> {
        let script = script!(once "publish_event", "events");
        let mut call = script.call(self.keys.meta());
        call.arg(name);
        for (field, value) in fields {
            call.arg(field).arg(value);
        }
        request.push(&mut call, self.keys.base())?;
        self.redis.run::<u8>(script, &call).await.map(drop)
    }
}
