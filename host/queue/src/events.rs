//! The stream of a queue's events, as BullMQ's `QueueEvents` reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::error::QueueError;
use crate::queue::Queue;
use crate::redis::connection::Dedicated;

/// One event of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueEvent {
    /// Its place in the stream: milliseconds since the epoch, a dash, and a number.
    pub id: String,
    /// `added`, `waiting`, `active`, `completed`, …
    pub event: String,
    /// What else it says, such as `jobId`.
    #[serde(flatten)]
    pub fields: BTreeMap<String, String>,
}

/// Reads a queue's events as they come.
pub struct Events {
    queue: Queue,
    connection: Dedicated,
    after: String,
}

type Entries = Vec<(String, Vec<(String, Vec<(String, String)>)>)>;

impl Queue {
    /// Begins to read events: from now on, or after the event of an id (`0` is the first one kept).
    pub async fn events(&self, after: Option<&str>) -> Result<Events, QueueError> {
        let connection = self.redis.dedicated().await?;
        let after = after.unwrap_or("$").to_owned();
        Ok(Events {
            queue: self.clone(),
            connection,
            after,
        })
    }
}

impl Events {
    /// Waits for events, at most for `timeout`.
    pub async fn next(&mut self, timeout: Duration) -> Result<Vec<QueueEvent>, QueueError> {
        let mut command = redis::cmd("XREAD");
        let timeout = u64::try_from(timeout.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        command.arg("BLOCK").arg(timeout).arg("COUNT").arg(1000);
        command
            .arg("STREAMS")
            .arg(self.queue.keys.of("events"))
            .arg(&self.after);
        let reply: Option<Entries> = self
            .connection
            .send_blocking(&command, Duration::from_millis(timeout))
            .await?;
        let entries = reply.into_iter().flatten().flat_map(|(_, entries)| entries);
        let events: Vec<QueueEvent> = entries.map(|(id, fields)| event(id, fields)).collect();
        if let Some(last) = events.last() {
            self.after.clone_from(&last.id);
        }
        Ok(events)
    }
}

fn event(id: String, fields: Vec<(String, String)>) -> QueueEvent {
    let mut fields: BTreeMap<String, String> = fields.into_iter().collect();
    let event = fields.remove("event").unwrap_or_default();
    QueueEvent { id, event, fields }
}
