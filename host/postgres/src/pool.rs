//! The sessions of one user with one database: how many there are, who waits for one, and what becomes of those that come
//! back.

mod give_back;
mod idle;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::address::Address;
use crate::connect::Connector;
use crate::error::Error;
use crate::session::Session;
use idle::Idle;

/// The first wait before another try to connect; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// What a pool may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolOptions {
    /// Connections at once.
    pub connections_max: usize,
    /// How long a connection is kept that nobody uses.
    pub idle: Duration,
    /// How long connecting may take, further tries while the server starts included.
    pub connect_timeout: Duration,
}

/// The sessions of one user with one database. Clones share them.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    options: PoolOptions,
    /// One for each connection there may be: also for those that are being reset or closed.
    permits: Arc<Semaphore>,
    idle: Idle,
}

/// A session for one user. Dropping it gives it back.
pub struct Lease {
    /// Taken out when it is dropped.
    session: Option<Session>,
    permit: Option<OwnedSemaphorePermit>,
    inner: Arc<Inner>,
}

impl Pool {
    /// A pool without connections. `tls` says whose certificates are trusted.
    pub fn new(address: Address, options: PoolOptions, tls: Arc<ClientConfig>) -> Self {
        let connector = Connector::new(address, tls);
        let permits = options.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        let inner = Inner {
            connector,
            permits: Arc::new(Semaphore::new(permits)),
            idle: Idle::default(),
            options,
        };
        let inner = Arc::new(inner);
        Pool { inner }
    }

    /// A session that nobody else uses, first come, first served. Waits for one until then at most.
    pub async fn take(&self, until: Instant) -> Result<Lease, Error> {
        let inner = Arc::clone(&self.inner);
        let permits = Arc::clone(&inner.permits).acquire_owned();
        let permit = match timeout_at(until, permits).await {
            Ok(Ok(permit)) => permit,
            _ => {
                return Err(Error::Exhausted(format!(
                    "all {} connections of the pool are in use (`connections_max`)",
                    inner.options.connections_max
                )));
            }
        };
        let session = match inner.idle.take() {
            Some(session) => session,
            None => inner.connect(until).await?,
        };
        Ok(Lease {
            session: Some(session),
            permit: Some(permit),
            inner,
        })
    }

    /// Connections that nobody uses now.
    pub fn idle(&self) -> usize {
        self.inner.idle.len()
    }
}

impl Inner {
    /// Connects; while the server is about to start or has no room, again.
    async fn connect(&self, until: Instant) -> Result<Session, Error> {
        let until = until.min(Instant::now() + self.options.connect_timeout);
        let mut wait = RETRY_FIRST;
        let mut last = None;
        loop {
            let error = match timeout_at(until, Session::connect(&self.connector)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => error,
                Err(_) => return Err(last.unwrap_or_else(|| self.no_answer())),
            };
            let next = Instant::now() + wait;
            if !error.is_transient() || next >= until {
                return Err(shown(error));
            }
            last = Some(shown(error));
            sleep_until(next).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    fn no_answer(&self) -> Error {
        let ms = self.options.connect_timeout.as_millis();
        Error::Unavailable(format!(
            "Postgres is unreachable: no answer within {ms} ms (`connect_timeout_ms`)"
        ))
    }
}

/// What the server says to one who connects names users, databases and addresses, which are the operator's. The code says
/// enough, and the server's log the rest.
fn shown(error: Error) -> Error {
    let Error::Server(error) = error else {
        return error;
    };
    let code = &error.code;
    if error.is_transient() {
        return Error::Unavailable(format!(
            "Postgres accepts no connections now (SQLSTATE {code})"
        ));
    }
    Error::Refused(format!(
        "Postgres refused the connection (SQLSTATE {code})\nhint: the log of Postgres says why; the config of the host has the URL of the database"
    ))
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("it is there until the drop")
    }
}
