//! The connections of one queue to the servers that it may ask. A request takes an idle one, or connects; the connection
//! comes back when the response has been read to its end.
//!
//! Requests under way hold a place each, and there are as many places as connections. A request that has a place may connect,
//! once an idle connection has made room.

mod body;
mod connection;
mod frames;
mod idle;
mod target;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};
use wasmtime_wasi_http::{Error, WasiBody};

use self::body::Exchange;
pub(crate) use self::body::{Bounded, TOO_LARGE_REQUEST, TOO_LARGE_RESPONSE};
use self::connection::{Connection, Http1, NoResponse, copy, promised};
use self::idle::Idle;
pub(crate) use self::target::Target;
use super::connect::{Admits, Proxy, connect, encrypted};
use super::lookup::Lookups;
use super::tls::TlsFiles;

/// What a request carries.
pub(crate) type RequestBody = Bounded<WasiBody>;

/// How many connections there are, and how they are made.
pub(crate) struct HttpSettings {
    pub(crate) connections_max: u32,
    /// How long a connection is kept that no request uses.
    pub(crate) idle: Duration,
    pub(crate) tls: TlsFiles,
    pub(crate) proxy: Option<Proxy>,
}

/// The connections of one queue.
pub(crate) struct HttpPool {
    settings: HttpSettings,
    lookups: Lookups,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// Made by the first request that needs it.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// Closes idle connections when their time is over.
    sweeper: Mutex<Option<tokio::task::AbortHandle>>,
}

/// Until when the parts of a request must be done.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) connected: Instant,
    pub(crate) answered: Instant,
}

/// A connection that is lent to a request, until the response is dropped.
pub(crate) struct Loan {
    pool: Arc<HttpPool>,
    target: Arc<Target>,
    connection: Option<Connection>,
    place: Option<OwnedSemaphorePermit>,
    /// How long the connection may be idle.
    until: Instant,
    /// When the request must have been sent.
    end: Instant,
    runtime: Handle,
    exchange: Arc<Exchange>,
}

/// A response, and the connection that it comes from.
pub(crate) type Lent = (Response<Incoming>, Loan);

impl HttpPool {
    pub(crate) fn new(settings: HttpSettings, lookups: Lookups) -> Self {
        HttpPool {
            places: Arc::new(Semaphore::new(settings.connections_max as usize)),
            settings,
            lookups,
            idle: Mutex::default(),
            tls: OnceLock::new(),
            sweeper: Mutex::default(),
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(
        self: &Arc<Self>,
        target: &Arc<Target>,
        mut request: Request<RequestBody>,
        times: Times,
        admits: &Admits<'_>,
    ) -> Result<Lent, Error> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = timeout_at(times.connected, place).await;
        let place = place.map_err(|_| Error::ConnectionLimitReached)?.ok();
        let uri = request.uri().clone();
        let (exchange, end) = (request.body().exchange(), request.body().end());
        let mut may_be_stale = true;
        loop {
            let idle = may_be_stale.then(|| self.idle.lock().take(target, self.settings.idle));
            let (mut connection, is_reused) = match idle.flatten() {
                Some(connection) => (connection, true),
                None => self.connect_within(target, times.connected, admits).await?,
            };
            let again = if is_reused { copy(&request) } else { None };
            self.address(target, &connection, &uri, &mut request);
            let answer = timeout_at(times.answered, connection.send(request)).await;
            if !matches!(answer, Ok(Ok(_))) {
                self.idle.lock().forget(target, &connection);
            }
            match answer.map_err(|_| Error::HttpResponseTimeout)? {
                Ok(response) => {
                    exchange.answered();
                    let idle = self.settings.idle;
                    let kept = promised(response.headers()).map_or(idle, |said| said.min(idle));
                    let loan = Loan {
                        pool: Arc::clone(self),
                        target: Arc::clone(target),
                        connection: Some(connection),
                        place,
                        until: Instant::now() + kept,
                        end,
                        runtime: Handle::current(),
                        exchange,
                    };
                    return Ok((response, loan));
                }
                // A server may close a connection at the moment at which it is used again.
                Err(NoResponse::Failed(mut unsent)) => {
                    match unsent.take_message().filter(|_| is_reused) {
                        Some(request_again) => request = request_again,
                        None => match again.filter(|_| connection.is_stale(unsent.error())) {
                            Some(copy) => (request, may_be_stale) = (copy, false),
                            None => return Err(NoResponse::Failed(unsent).into()),
                        },
                    }
                }
                Err(endless) => return Err(endless.into()),
            }
        }
    }

    /// Writes into the request where it goes, as the protocol of the connection has it.
    fn address(
        &self,
        target: &Target,
        connection: &Connection,
        uri: &Uri,
        request: &mut Request<RequestBody>,
    ) {
        let mut whole = uri.clone();
        match (connection, &self.settings.proxy) {
            // The name is part of the address there.
            (Connection::Http2(..), _) => drop(request.headers_mut().remove(header::HOST)),
            // A proxy is told the whole address.
            (_, Some(proxy)) if !target.tls => {
                if let Some(login) = proxy.login() {
                    let headers = request.headers_mut();
                    headers.insert(header::PROXY_AUTHORIZATION, login.clone());
                }
            }
            // To the server itself goes the path alone; the host is in its header, from which a try by HTTP/2 may have
            // taken it.
            _ => {
                let host = uri.authority().and_then(|host| host.as_str().parse().ok());
                if let Some(host) = host {
                    request.headers_mut().entry(header::HOST).or_insert(host);
                }
                let path = uri.path_and_query().cloned();
                whole = path.map_or(Uri::from_static("/"), Uri::from);
            }
        }
        *request.uri_mut() = whole;
    }

    async fn connect_within(
        self: &Arc<Self>,
        target: &Arc<Target>,
        end: Instant,
        admits: &Admits<'_>,
    ) -> Result<(Connection, bool), Error> {
        let connection = timeout_at(end, self.connection(target, end, admits)).await;
        connection.map_err(|_| Error::ConnectionTimeout)?
    }

    /// A new connection, or one that became free while it was in line for one. Second: whether it was used before.
    async fn connection(
        self: &Arc<Self>,
        target: &Arc<Target>,
        end: Instant,
        admits: &Admits<'_>,
    ) -> Result<(Connection, bool), Error> {
        let line = self.idle.lock().line(target);
        let Some(line) = line else {
            return Ok((self.connect(target, end, admits).await?, false));
        };
        let alone = line.lock().await;
        if let Some(connection) = self.idle.lock().take(target, self.settings.idle) {
            return Ok((connection, true));
        }
        if self.idle.lock().line(target).is_none() {
            drop(alone);
        }
        Ok((self.connect(target, end, admits).await?, false))
    }

    async fn connect(
        self: &Arc<Self>,
        target: &Arc<Target>,
        end: Instant,
        admits: &Admits<'_>,
    ) -> Result<Connection, Error> {
        // This request has its place, so that what is left is room for idle ones.
        let room = self.places.available_permits();
        self.idle.lock().shrink_to(room);
        let stream = match &self.settings.proxy {
            Some(proxy) => proxy.connect(target).await?,
            None => connect(self.lookups.clone(), target, end, admits).await?,
        };
        let stream = encrypted(stream, target, || self.tls_config()).await?;
        let connection = Connection::over(stream, self.settings.connections_max).await?;
        let until = Instant::now() + self.settings.idle;
        self.idle.lock().note(target, &connection, until);
        if matches!(connection, Connection::Http2(..)) {
            self.sweep(&Handle::current());
        }
        Ok(connection)
    }

    fn tls_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let make = || {
            let mut config = self
                .settings
                .tls
                .client_config()
                .map_err(|error| format!("{error:#}"))?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        };
        let config = self.tls.get_or_init(make).clone();
        config.map_err(|error| Error::InternalError(Some(error)))
    }

    fn put(self: &Arc<Self>, target: &Arc<Target>, http1: Http1, until: Instant, runtime: &Handle) {
        if !http1.sender.is_closed() && until > Instant::now() {
            // Before anybody can take it and send the next request.
            http1.rest();
            self.idle.lock().put(target, http1, until);
            self.sweep(runtime);
        }
    }

    /// Sees to it that idle connections are closed when their time is over.
    fn sweep(self: &Arc<Self>, runtime: &Handle) {
        let mut sweeper = self.sweeper.lock();
        if sweeper.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let pool = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            while let Some(next) = pool.upgrade().and_then(|pool| pool.drop_expired()) {
                sleep_until(next).await;
            }
        });
        *sweeper = Some(task.abort_handle());
    }

    fn drop_expired(&self) -> Option<Instant> {
        let mut sweeper = self.sweeper.lock();
        let next = self.idle.lock().drop_expired();
        if next.is_none() {
            // A request that puts a connection back from here on starts another sweeper.
            *sweeper = None;
        }
        next
    }
}

impl Loan {
    fn give_back(&mut self, mut http1: Http1) {
        let (target, until) = (Arc::clone(&self.target), self.until);
        if http1.sender.is_ready() {
            return self.pool.put(&target, http1, until, &self.runtime);
        }
        if http1.sender.is_closed() {
            return;
        }
        // The connection notices the end of the response a moment later, or the request is still being sent. Until then
        // it is in use, but no longer than the request may take: a server that reads nothing would keep its place.
        let (pool, place, end) = (Arc::clone(&self.pool), self.place.take(), self.end);
        let runtime = self.runtime.clone();
        self.runtime.spawn(async move {
            if let Ok(Ok(())) = timeout_at(end, http1.sender.ready()).await {
                pool.put(&target, http1, until, &runtime);
            }
            drop(place);
        });
    }

    /// The same for a connection that is shared: a request that is not sent in its time has no end, so that the connection
    /// gets no further ones.
    fn give_back_shared(&mut self, connection: Connection) {
        let exchange = Arc::clone(&self.exchange);
        if exchange.sent().now_or_never().is_some() {
            return;
        }
        let (pool, place, end) = (Arc::clone(&self.pool), self.place.take(), self.end);
        let target = Arc::clone(&self.target);
        self.runtime.spawn(async move {
            if timeout_at(end, exchange.sent()).await.is_err() {
                pool.idle.lock().forget(&target, &connection);
            }
            drop(place);
        });
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.exchange.over();
        match self.connection.take() {
            Some(Connection::Http1(http1)) => self.give_back(http1),
            Some(shared) => self.give_back_shared(shared),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
