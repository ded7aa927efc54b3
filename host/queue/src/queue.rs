//! A queue: a name, a prefix and a connection. What can be done with it is in the files of this folder.

use crate::{Flows, QueueKeys, Redis};

/// One queue of BullMQ.
#[derive(Clone)]
pub struct Queue {
    pub(crate) redis: Redis,
    pub(crate) keys: QueueKeys,
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
    pub fn redis(&self) -> &Redis {
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
