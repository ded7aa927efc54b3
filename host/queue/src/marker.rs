//! Waiting for work on an idle queue: one blocking pop of the marker.

use std::time::Duration;

use crate::error::QueueError;
use crate::queue::Queue;
use crate::redis::connection::Dedicated;
use crate::time::SAFE_INTEGER_MAX;

/// What woke a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Marker {
    /// There is work.
    Work,
    /// A delayed job is due at this time, in ms since the epoch.
    Delayed(u64),
}

/// The blocking connection of one worker. Its client name makes the worker visible to BullMQ's
/// `getWorkers`. Dropping it closes the connection.
pub struct MarkerWait {
    queue: Queue,
    client_name: String,
    connection: Option<Dedicated>,
}

impl Queue {
    /// Prepares to wait for work on this queue; connects on first use.
    pub fn marker_wait(&self, worker: Option<&str>) -> MarkerWait {
        MarkerWait {
            queue: self.clone(),
            client_name: self.keys.client_name(worker),
            connection: None,
        }
    }

    /// Puts a marker back that this worker took and cannot follow.
    pub async fn return_marker(&self, marker: Marker) -> Result<(), QueueError> {
        let (score, member) = match marker {
            Marker::Work => (0, 0),
            Marker::Delayed(due) => (due, 1),
        };
        let mut command = redis::cmd("ZADD");
        command.arg(self.keys.of("marker")).arg(score).arg(member);
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }
}

impl MarkerWait {
    /// Opens the connection and names it, unless that was done.
    pub async fn connect(&mut self) -> Result<(), QueueError> {
        if self.connection.is_none() {
            let mut connection = self.queue.redis.dedicated().await?;
            let mut command = redis::cmd("CLIENT");
            command.arg("SETNAME").arg(&self.client_name);
            match connection.send::<()>(&command).await {
                Err(QueueError::Redis(error)) if error.code().is_none() => {
                    return Err(QueueError::Redis(error));
                }
                // Some services forbid it, and it takes no spaces: the worker works, unseen.
                Err(error) => tracing::warn!(%error, "worker is not listed by `getWorkers`"),
                Ok(()) => {}
            }
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Waits for a marker, at most for `timeout`.
    ///
    /// Not cancel safe: a marker that arrives after the future was dropped is lost until the next
    /// worker's timeout.
    pub async fn next(&mut self, timeout: Duration) -> Result<Option<Marker>, QueueError> {
        /// A lost connection may never say so: past this the wait counts as broken.
        const GRACE: Duration = Duration::from_secs(2);
        self.connect().await?;
        let Some(connection) = &mut self.connection else {
            return Err(QueueError::Reply("CLIENT SETNAME"));
        };
        let mut command = redis::cmd("BZPOPMIN");
        command
            .arg(self.queue.keys.of("marker"))
            .arg(timeout.as_secs_f64());
        let wait = connection.send_blocking::<Option<(String, String, f64)>>(&command, timeout);
        match tokio::time::timeout(timeout + GRACE, wait).await {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some((_, _, score)))) if score <= 0.0 => Ok(Some(Marker::Work)),
            Ok(Ok(Some((_, _, score)))) => {
                Ok(Some(Marker::Delayed((score as u64).min(SAFE_INTEGER_MAX))))
            }
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                Ok(None)
            }
        }
    }
}
