//! Accepts the connections of the admin API, and bounds what their peers can hold: how many connections there are, and
//! how long each may keep the host waiting. Knows nothing of the routes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

/// How long a peer may take to send the headers of a request, also of its first one and of each further one. So it is
/// also how long a connection may be idle.
const HEADERS_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take no byte of what is sent to it.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);
/// The largest headers, and the most that one read brings.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Connections beyond the limit, for probes. A new one takes the place of the oldest: each is answered at once, so the
/// oldest one is waited for.
const RESERVE: usize = 32;
/// The pause after an accept that failed: most often, there is no file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who answers.
pub(super) struct Routes {
    /// On each connection up to the limit.
    pub(super) api: Router,
    /// On the others: answers every request at once.
    pub(super) probes: Router,
}

/// Serves until it is dropped, and ends all connections then.
pub(super) async fn serve(listener: TcpListener, routes: Routes, connections_max: usize) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    let mut reserve: VecDeque<AbortHandle> = VecDeque::with_capacity(RESERVE + 1);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            Some(_) = connections.join_next() => continue,
        };
        if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
            let served = serve_connection(stream, routes.api.clone(), true);
            connections.spawn(async move {
                served.await;
                drop(place);
            });
            continue;
        }
        reserve.push_back(connections.spawn(serve_connection(
            stream,
            routes.probes.clone(),
            false,
        )));
        if reserve.len() > RESERVE
            && let Some(oldest) = reserve.pop_front()
        {
            oldest.abort();
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "the admin API could not accept a connection; it tries again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, keep_alive: bool) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_PATIENCE)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(keep_alive)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router),
        );
    if let Err(error) = served.await {
        debug!(%error, "a connection of the admin API ended early");
    }
}
