//! One connection to one server. It is given up where nothing moves, and only then.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, Value};
use tokio::task::JoinHandle;

use super::stream::{Counted, Progress, open};

/// How often a call that waits for its reply looks whether bytes move.
const TICK: Duration = Duration::from_secs(3);
/// A server counts as dead after this many looks in a row without a byte: after 12 to 15 s. Far above what a
/// healthy Redis needs for anything, and above the longest wait for a marker.
const SILENT_TICKS: u32 = 4;

/// A connection that its clones share. Closed with the last of them.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    progress: Progress,
    driver: Arc<Driver>,
    at_server: Option<AtServer>,
}

/// How a server knows a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AtServer {
    /// Each start of the server has another one, and counts the ids from 1.
    run: Arc<str>,
    id: i64,
}

/// The task that reads and writes. Dropping it closes the connection, and calls under way fail.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Opens a stream and logs in.
    pub(super) async fn open(info: &ConnectionInfo, authority: Option<&[u8]>) -> RedisResult<Self> {
        let (stream, progress) = Counted::new(open(info.addr(), authority).await?);
        // The reply's time is watched here: redis-rs would cut off one that is on its way.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let settings = info.redis_settings();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        Ok(Link {
            connection,
            progress,
            driver: Arc::new(Driver(tokio::spawn(driver))),
            at_server: None,
        })
    }

    /// Asks the server how it knows this connection, so that a later one can have it dropped.
    pub(super) async fn identify(&mut self) -> RedisResult<()> {
        self.at_server = self.ask_server().await?;
        Ok(())
    }

    /// None if the server does not say: a user may not have the right to ask.
    async fn ask_server(&self) -> RedisResult<Option<AtServer>> {
        let mut ask = redis::pipe();
        ask.cmd("CLIENT").arg("ID").cmd("INFO").arg("server");
        let (Value::Int(id), info) = (match &self.send_all(&ask, 0, 2).await?[..] {
            [id, info] => (id.clone(), info.clone()),
            _ => return Ok(None),
        }) else {
            return Ok(None);
        };
        let info: String = super::text::read(info).unwrap_or_default();
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(run.map(|run| AtServer {
            run: run.into(),
            id,
        }))
    }

    pub(super) fn at_server(&self) -> Option<&AtServer> {
        self.at_server.as_ref()
    }

    /// Makes the server drop a connection that was given up, so that what is still on its way there is not carried out: it
    /// would be after what is sent again over this one. False: it could not be asked. An error: this one broke.
    pub(super) async fn fence(&self, spent: &AtServer) -> RedisResult<bool> {
        let Some(here) = &self.at_server else {
            return Ok(false);
        };
        if here.run != spent.run || here.id == spent.id {
            return Ok(true);
        }
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(spent.id);
        // A user may not have the right to do so. Then the other connection stays.
        self.send(&kill).await.map(|_| true)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.driver, &other.driver)
    }

    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        self.watched(TICK, connection.send_packed_command(command))
            .await
    }

    /// Sends a command that Redis may answer only after `longest`.
    pub(super) async fn send_blocking(
        &self,
        command: &Cmd,
        longest: Duration,
    ) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        let reply = connection.send_packed_command(command);
        self.watched(longest.saturating_add(TICK), reply).await
    }

    pub(super) async fn send_all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut connection = self.connection.clone();
        self.watched(
            TICK,
            connection.send_packed_commands(pipeline, offset, count),
        )
        .await
    }

    /// Waits for a reply for as long as bytes move in either direction.
    async fn watched<T>(
        &self,
        first_tick: Duration,
        reply: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        let mut reply = pin!(reply);
        let (mut seen, mut silent, mut tick) = (self.progress.bytes(), 0, first_tick);
        loop {
            if let Ok(reply) = tokio::time::timeout(tick, reply.as_mut()).await {
                return reply;
            }
            tick = TICK;
            let bytes = self.progress.bytes();
            silent = if bytes == seen { silent + 1 } else { 0 };
            seen = bytes;
            if silent == SILENT_TICKS {
                // All who wait on this connection learn of it now.
                self.driver.0.abort();
                return Err(RedisError::from(std::io::Error::from(
                    std::io::ErrorKind::TimedOut,
                )));
            }
        }
    }
}
