//! A connection that many tasks share. It is opened when it is first needed, and again after it broke.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use parking_lot::Mutex;
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};

use super::link::AtServer;
use super::server::{Connection, Server};

/// How often a server that does not answer is tried before a call fails. Callers try again by themselves.
const TRIES: usize = 4;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// All callers that need a connection wait for the same attempt at one, and share how it ends.
type Opening = SharedFuture<BoxFuture<'static, RedisResult<Connection>>>;

/// A connection by itself: its clones send over the same one.
#[derive(Clone)]
pub(super) struct SharedConnection(Arc<State>);

struct State {
    server: Arc<Server>,
    /// The connection, or the attempt at it; none before the first call and after it broke. Never held while
    /// anything is awaited.
    current: Mutex<Option<Opening>>,
    /// The last one that was given up, until its server has heard of it.
    spent: Mutex<Option<AtServer>>,
}

impl SharedConnection {
    pub(super) fn new(server: Arc<Server>) -> Self {
        SharedConnection(Arc::new(State {
            server,
            current: Mutex::new(None),
            spent: Mutex::new(None),
        }))
    }

    /// The connection of the moment.
    pub(super) async fn connection(&self) -> RedisResult<Connection> {
        let opening = {
            let mut current = self.0.current.lock();
            match current.as_ref().map(|opening| (opening, opening.peek())) {
                Some((_, Some(Ok(connection)))) => return Ok(connection.clone()),
                Some((opening, None)) => opening.clone(),
                Some((_, Some(Err(_)))) | None => {
                    let opening = open(Arc::clone(&self.0)).boxed().shared();
                    current.insert(opening).clone()
                }
            }
        };
        opening.await
    }

    async fn sent<T>(
        &self,
        send: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let result = send(&mut connection).await;
        if let Err(error) = &result
            && connection.is_spent(error)
        {
            self.forget(&connection, error);
        }
        result
    }

    /// Forgets a connection, unless another one took its place meanwhile.
    fn forget(&self, spent: &Connection, error: &RedisError) {
        let mut current = self.0.current.lock();
        let peeked = current.as_ref().and_then(|opening| opening.peek());
        if matches!(peeked, Some(Ok(connection)) if connection.is(spent)) {
            *current = None;
            // One that answered carries nothing any more, and others may still wait for its answers.
            let answered = error.code().is_some();
            if let Some(spent) = spent.at_server().filter(|_| !answered) {
                *self.0.spent.lock() = Some(spent.clone());
            }
        }
    }
}

async fn open(state: Arc<State>) -> RedisResult<Connection> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_max_times(TRIES - 1)
        .with_jitter();
    (|| open_fenced(&state))
        .retry(backoff)
        .when(RedisError::is_io_error)
        .await
}

/// A connection before which the one that was given up is gone.
async fn open_fenced(state: &State) -> RedisResult<Connection> {
    let mut opened = state.server.open().await?;
    let spent = state.spent.lock().clone();
    if opened.follow(spent.as_ref()).await? {
        *state.spent.lock() = None;
    }
    Ok(opened)
}

impl ConnectionLike for SharedConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.sent(async |connection| connection.send(command).await))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(
            self.sent(async move |connection| connection.send_all(pipeline, offset, count).await),
        )
    }

    fn get_db(&self) -> i64 {
        self.0.server.database()
    }
}
