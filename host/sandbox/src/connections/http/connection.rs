//! One connection, by whichever protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use wasmtime_wasi_http::Error;

use super::RequestBody;
use super::frames::{Frames, OnlyInterim};
use crate::connections::connect::Stream;

/// How long a connection of HTTP/2 may be silent under requests before it is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const PING_TIME: Duration = Duration::from_secs(10);
/// Bytes of one response that may be on their way or unread.
const STREAM_WINDOW: u32 = 256 << 10;
/// The largest that HTTP/2 knows.
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What a connection of HTTP/1.1 holds of a response at once: all of its headers, or a piece of its body.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Answers of status 1xx that a server may send before the one that counts. Servers send one or two; a row without an end would
/// hold the attempt until its deadline.
pub(super) const INTERIM_MAX: u32 = 100;

/// How long a connection may take to come to its end once nobody uses it. A server that reads nothing would keep it for good,
/// because what was written last is never sent.
const END_TIME: Duration = Duration::from_secs(2);

/// Why there is no response.
pub(super) enum NoResponse {
    /// With the request, if nothing of it was sent.
    Failed(Box<TrySendError<Request<RequestBody>>>),
    /// The server answers with 1xx again and again. By HTTP/2 all requests that were sent on the connection end with
    /// it.
    OnlyInterim,
}

impl From<NoResponse> for Error {
    fn from(reason: NoResponse) -> Self {
        match reason {
            NoResponse::Failed(error) => error.into_error().into(),
            NoResponse::OnlyInterim => Error::InternalError(Some(format!(
                "server sent more than {INTERIM_MAX} interim answers (status 1xx) to one request"
            ))),
        }
    }
}

pub(super) enum Connection {
    Http1(Http1),
    /// With what its requests share.
    Http2(http2::SendRequest<RequestBody>, Arc<Shared>),
}

/// What the requests of a connection of HTTP/2 share. As many references are counted as there are requests under way, and one
/// more.
pub(super) struct Shared {
    only_interim: OnlyInterim,
    _used: Used,
}

/// A connection of HTTP/1.1.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// See [`Stream::watch`].
    rests: Arc<AtomicU32>,
    _used: Used,
}

/// A connection is in use until this is dropped.
type Used = watch::Sender<()>;

/// Runs what moves a connection until that has come to its end, or until nobody has used the connection for a while.
#[derive(Clone)]
struct Movers(watch::Receiver<()>);

impl<F> Executor<F> for Movers
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, mover: F) {
        let mut used = self.0.clone();
        tokio::spawn(async move {
            let is_left = async {
                while used.changed().await.is_ok() {}
                sleep(END_TIME).await;
            };
            tokio::select! {
                _ = mover => {}
                () = is_left => {}
            }
        });
    }
}

impl Http1 {
    /// No request is under way: whatever arrives from here on is no answer.
    pub(super) fn rest(&self) {
        self.rests.fetch_add(1, Ordering::Release);
    }

    /// Where the row of interim answers is too long, the connection must not be used again: it has no end.
    async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, NoResponse> {
        let row = Arc::new((AtomicU32::new(0), Notify::new()));
        let counted = Arc::clone(&row);
        hyper::ext::on_informational(&mut request, move |_| {
            if counted.0.fetch_add(1, Ordering::Relaxed) == INTERIM_MAX {
                counted.1.notify_one();
            }
        });
        tokio::select! {
            biased;
            sent = self.sender.try_send_request(request) => {
                sent.map_err(|error| NoResponse::Failed(Box::new(error)))
            }
            () = row.1.notified() => Err(NoResponse::OnlyInterim),
        }
    }
}

impl Connection {
    pub(super) async fn over(mut stream: Stream, streams_max: u32) -> Result<Self, Error> {
        let (used, movers) = watch::channel(());
        let movers = Movers(movers);
        if stream.speaks_http2() {
            let mut builder = http2::Builder::new(movers.clone());
            let window = STREAM_WINDOW.saturating_mul(streams_max).min(WINDOW_MAX);
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_AFTER)
                .keep_alive_timeout(PING_TIME)
                .initial_stream_window_size(STREAM_WINDOW)
                // A response that nobody reads takes no other one's room.
                .initial_connection_window_size(window);
            let only_interim = OnlyInterim::default();
            let frames = Frames::new(stream, only_interim.clone());
            let (sender, connection) = builder.handshake(TokioIo::new(frames)).await?;
            movers.execute(connection);
            let shared = Shared {
                only_interim,
                _used: used,
            };
            return Ok(Connection::Http2(sender, Arc::new(shared)));
        }
        // HTTP/1.1 has only the order to tell answers apart. hyper reads before it sends a request and gives up a connection
        // on which it finds something; the request then goes to another one.
        let rests = stream.watch();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        movers.execute(connection);
        Ok(Connection::Http1(Http1 {
            sender,
            rests,
            _used: used,
        }))
    }

    /// True for errors of a connection that had come to its end before the request. What goes wrong on a connection of
    /// HTTP/2 concerns all requests that share it.
    pub(super) fn is_stale(&self, error: &hyper::Error) -> bool {
        let io = std::error::Error::source(error).and_then(|source| source.downcast_ref());
        let is_cut = |error: &std::io::Error| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        };
        matches!(self, Connection::Http2(..))
            || error.is_incomplete_message()
            || error.is_canceled()
            || error.is_closed()
            || io.is_some_and(is_cut)
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, NoResponse> {
        match self {
            Connection::Http1(http1) => http1.send(request).await,
            Connection::Http2(sender, shared) => {
                let sent = sender.try_send_request(request).await;
                sent.map_err(|error| {
                    // A request of which nothing was sent comes back with the error, and goes to another connection: it is
                    // not the one that got such answers.
                    match shared.only_interim.is_so() && error.message().is_none() {
                        true => NoResponse::OnlyInterim,
                        false => NoResponse::Failed(Box::new(error)),
                    }
                })
            }
        }
    }
}

/// For how long a server says that it keeps an idle connection, less a second for the way. One that states the length of its
/// answer in two ways keeps none: what lies in between may have read it the other way (RFC 9112, 6.3).
pub(super) fn promised(headers: &HeaderMap) -> Option<Duration> {
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return Some(Duration::ZERO);
    }
    let said = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = said
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    let seconds: u32 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1).into()))
}

/// The same request, where it may be sent twice: RFC 9110 lets a client do so by itself where the method says that nothing
/// changes by it, or nothing more.
pub(super) fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    const REPEATABLE: [Method; 5] = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ];
    if !request.body().is_end_stream() || !REPEATABLE.contains(request.method()) {
        return None;
    }
    let nothing = Empty::<Bytes>::new().map_err(|never| match never {});
    let mut copy = Request::new(request.body().like(nothing.boxed_unsync()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
