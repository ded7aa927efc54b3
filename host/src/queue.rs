//! BullMQ's protocol over its keys in Redis. Knows nothing of wasm.
//!
//! A [`Queue`] is a name, a prefix and a connection. Each operation is one script of our own
//! (`lua/*.lua`); the hot path is one of them, [`Queue::settle_and_fetch`], which settles many jobs and
//! takes the next ones in one call. The formats are those of BullMQ 6: <https://docs.bullmq.io>.

mod add;
mod address;
mod connection;
mod dependencies;
mod error;
mod events;
mod flow;
mod getters;
mod job;
mod keys;
mod locks;
mod options;
mod reader;
mod remove;
mod scheduler;
mod sentinel;
mod settle;
mod update;
mod wait;

pub use add::NewJob;
pub use connection::{Redis, redacted, script};
pub use dependencies::{Dependencies, DependenciesQuery, DependencyCounts, DependencyKinds, Page};
pub use error::{ErrorCode, QueueError};
pub use events::{Event, Events};
pub use flow::{
    FlowJob, FlowNode, FlowOptions, FlowPlan, FlowQuery, FlowQueueOptions, FlowTree, Flows,
    parse_flow,
};
pub use getters::{JobRecord, JobState};
pub use job::Job;
pub use keys::QueueKeys;
pub use options::{Backoff, JobOptions, KeepJobs};
pub use settle::{Attempt, Fetch, Limiter, Moved, Settled, Settlement, SettlementKind};
pub use wait::{Marker, MarkerWait};

/// One queue of BullMQ.
#[derive(Clone)]
pub struct Queue {
    redis: Redis,
    keys: QueueKeys,
}

impl Queue {
    /// Names a queue; nothing is sent to Redis.
    pub fn new(redis: Redis, prefix: &str, name: &str) -> Self {
        Queue {
            redis,
            keys: QueueKeys::new(prefix, name),
        }
    }

    /// Another queue of the same prefix.
    pub fn sibling(&self, name: &str) -> Queue {
        Queue::new(self.redis.clone(), self.keys.prefix(), name)
    }

    /// Flows over the queues of the same prefix.
    pub fn flows(&self) -> Flows {
        Flows::new(self.redis.clone(), self.keys.prefix())
    }

    /// The connection, for what is kept beside the queue.
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The queue's keys and names.
    pub fn keys(&self) -> &QueueKeys {
        &self.keys
    }
}

/// Milliseconds since the epoch, as BullMQ's producers count them.
pub fn now_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
