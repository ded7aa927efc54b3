//! A queue: a name, a prefix and a connection. What can be done with it is in the other files of this folder.

use crate::keys::{QueueKeys, QueueName};
use crate::redis::connection::Redis;

/// One queue of BullMQ.
#[derive(Clone)]
pub struct Queue {
    pub(crate) redis: Redis,
    pub(crate) keys: QueueKeys,
}

impl Queue {
    /// Names a queue; nothing is sent to Redis.
    pub fn new(redis: Redis, prefix: &str, name: &QueueName) -> Self {
        Queue {
            redis,
            keys: QueueKeys::new(prefix, name),
        }
    }

    /// Another queue of the same prefix.
    pub fn sibling(&self, name: &QueueName) -> Queue {
        Queue::new(self.redis.clone(), self.keys.prefix(), name)
    }

    /// The same queue over a connection of its own: see [`Redis::own_connection`].
    pub fn on_own_connection(&self) -> Queue {
        Queue {
            redis: self.redis.own_connection(),
            keys: self.keys.clone(),
        }
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
