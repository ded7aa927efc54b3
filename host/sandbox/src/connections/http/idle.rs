//! Connections that no request has now, by the server that they lead to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::time::Instant;

use super::connection::Http1;
use super::{Connection, RequestBody, Target, connection};

/// Servers that are remembered without a connection to them: their protocol is known then.
const REMEMBERED_MAX: usize = 1_000;

#[derive(Default)]
pub(super) struct Idle {
    servers: HashMap<Arc<Target>, Server>,
    connections: usize,
}

#[derive(Default)]
struct Server {
    /// The one that was used last is at the end.
    idle: Vec<(Http1, Instant)>,
    /// One connection of HTTP/2 carries all requests.
    shared: Option<Shared>,
    protocol: Protocol,
    /// Held by the request that finds out the protocol or connects by HTTP/2: one at a time does.
    line: Arc<tokio::sync::Mutex<()>>,
}

/// What a server answered when it was asked for its protocol.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    #[default]
    Unknown,
    Http1,
    Http2,
}

struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// As many references as there are requests under way, and this one.
    users: Arc<connection::Shared>,
    until: Instant,
}

impl Idle {
    /// A connection to this server that is open, as far as one can know.
    pub(super) fn take(&mut self, target: &Target, idle: Duration) -> Option<Connection> {
        let now = Instant::now();
        let server = self.servers.get_mut(target)?;
        while let Some((http1, until)) = server.idle.pop() {
            self.connections -= 1;
            if until > now && http1.sender.is_ready() {
                return Some(Connection::Http1(http1));
            }
        }
        let shared = server.shared.as_mut()?;
        if shared.sender.is_closed() {
            server.shared = None;
            self.connections -= 1;
            return None;
        }
        shared.until = now + idle;
        Some(Connection::Http2(
            shared.sender.clone(),
            Arc::clone(&shared.users),
        ))
    }

    /// Takes a connection back.
    pub(super) fn put(&mut self, target: &Arc<Target>, http1: Http1, until: Instant) {
        let server = self.servers.entry(Arc::clone(target)).or_default();
        server.idle.push((http1, until));
        self.connections += 1;
    }

    /// Notes what a new connection speaks. One that speaks HTTP/2 is shared from now on.
    pub(super) fn note(&mut self, target: &Arc<Target>, connection: &Connection, until: Instant) {
        let server = self.servers.entry(Arc::clone(target)).or_default();
        match connection {
            Connection::Http1(_) => server.protocol = Protocol::Http1,
            Connection::Http2(sender, users) => {
                server.protocol = Protocol::Http2;
                let (sender, users) = (sender.clone(), Arc::clone(users));
                let shared = Shared {
                    sender,
                    users,
                    until,
                };
                self.connections += usize::from(server.shared.replace(shared).is_none());
            }
        }
    }

    /// Shares a connection no longer on which a request had no answer: the next one would have none, either.
    pub(super) fn forget(&mut self, target: &Target, connection: &Connection) {
        let (Connection::Http2(_, users), Some(server)) =
            (connection, self.servers.get_mut(target))
        else {
            return;
        };
        let is_it = |shared: &mut Shared| Arc::ptr_eq(&shared.users, users);
        self.connections -= usize::from(server.shared.take_if(is_it).is_some());
    }

    /// Where to wait before connecting, unless each request has a connection of its own.
    pub(super) fn line(&mut self, target: &Arc<Target>) -> Option<Arc<tokio::sync::Mutex<()>>> {
        self.forget_some();
        let server = self.servers.entry(Arc::clone(target)).or_default();
        let alone = target.tls && server.protocol != Protocol::Http1;
        alone.then(|| Arc::clone(&server.line))
    }

    /// Closes those that were idle for the longest, down to this number.
    pub(super) fn shrink_to(&mut self, max: usize) {
        while self.connections > max {
            let oldest = self.servers.values_mut().filter_map(Server::oldest);
            let Some((_, server)) = oldest.min_by_key(|(until, _)| *until) else {
                return;
            };
            self.connections -= server.drop_oldest();
        }
    }

    /// Closes those whose time is over. Returns when the next one's is.
    pub(super) fn drop_expired(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut closed = 0;
        for server in self.servers.values_mut() {
            let before = server.idle.len();
            server
                .idle
                .retain(|(http1, until)| *until > now && !http1.sender.is_closed());
            closed += before - server.idle.len();
            let over = |shared: &mut Shared| {
                shared.sender.is_closed() || (shared.until <= now && shared.is_unused())
            };
            closed += usize::from(server.shared.take_if(over).is_some());
        }
        self.connections -= closed;
        let next = |server: &Server| {
            let shared = server
                .shared
                .iter()
                .map(|shared| shared.until.max(now + RECHECK));
            let idle = server.idle.iter().map(|(_, until)| *until);
            idle.chain(shared).min()
        };
        self.servers.values().filter_map(next).min()
    }

    fn forget_some(&mut self) {
        if self.servers.len() > REMEMBERED_MAX {
            self.servers.retain(|_, server| {
                // Somebody is in line.
                let known = Arc::strong_count(&server.line) > 1;
                known || server.shared.is_some() || !server.idle.is_empty()
            });
        }
    }
}

/// How soon one looks again at a shared connection that has requests under way beyond its time.
const RECHECK: Duration = Duration::from_secs(1);

impl Shared {
    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.users) == 1
    }
}

impl Server {
    /// When the time of the connection ends that was idle for the longest.
    fn oldest(&mut self) -> Option<(Instant, &mut Self)> {
        let shared = self.shared.as_ref().filter(|shared| shared.is_unused());
        let shared = shared.map(|shared| shared.until);
        let idle = self.idle.first().map(|(_, until)| *until);
        let oldest = idle.into_iter().chain(shared).min()?;
        Some((oldest, self))
    }

    /// Returns how many that were.
    fn drop_oldest(&mut self) -> usize {
        if self.idle.is_empty() {
            return usize::from(self.shared.take().is_some());
        }
        self.idle.remove(0);
        1
    }
}
