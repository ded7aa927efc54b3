//! A new connection to a server. The host resolves its name, judges each address, and connects to one that it judged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service as _;
use wasmtime_wasi_http::Error;

use super::http::Target;
use super::lookup::Lookups;
use super::socket::Socket;

/// Whether an address may be connected to.
pub(crate) type Admits<'a> = dyn Fn(IpAddr) -> bool + Send + Sync + 'a;

/// The operator's proxy. It is trusted: its own address is not judged.
#[derive(Clone)]
pub(crate) struct Proxy {
    uri: Uri,
    login: Option<HeaderValue>,
}

impl Proxy {
    /// None where it is no URL of a proxy.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_http = uri.scheme() == Some(&Scheme::HTTP) && uri.authority().is_some();
        let login = login_of(&uri);
        is_http.then_some(Proxy { uri, login })
    }

    pub(super) fn login(&self) -> Option<&HeaderValue> {
        self.login.as_ref()
    }

    /// A connection to the target through the proxy, or to the proxy, which is then asked with whole addresses.
    pub(super) async fn connect(&self, target: &Target) -> Result<TcpStream, Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let failed = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "the proxy of `grants.http` gives no connection");
            Error::DestinationUnavailable
        };
        let stream = match target.tls {
            false => {
                let stream = connector.call(self.uri.clone()).await;
                stream.map_err(|error| failed(&error))?
            }
            true => {
                let mut tunnel = Tunnel::new(self.uri.clone(), connector);
                if let Some(login) = &self.login {
                    tunnel = tunnel.with_auth(login.clone());
                }
                let uri = target.uri().ok_or(Error::HttpRequestUriInvalid)?;
                tunnel.call(uri).await.map_err(|error| failed(&error))?
            }
        };
        Ok(stream.into_inner())
    }
}

/// What a proxy is told of who asks, where its URL has a name and a password.
fn login_of(proxy: &Uri) -> Option<HeaderValue> {
    let (login, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let login: Vec<u8> = percent_decode_str(login).collect();
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(login))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Connects to an address that the name has now and that may be connected to.
pub(super) async fn connect(
    lookups: Lookups,
    target: &Target,
    end: Instant,
    admits: &Admits<'_>,
) -> Result<TcpStream, Error> {
    let found = match target.host.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => lookups.addresses(target.host.as_str().into(), end).await,
    };
    let mut found = found.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Error::DnsTimeout,
        _ => Error::DnsError {
            rcode: Some(error.to_string()),
            info_code: None,
        },
    })?;
    if found.is_empty() {
        return Err(Error::DestinationNotFound);
    }
    found.retain(|address| admits(*address));
    if found.is_empty() {
        return Err(Error::DestinationIpProhibited);
    }
    let addresses = found
        .into_iter()
        .map(|address| (address, target.port).into());
    let addresses: Vec<SocketAddr> = addresses.collect();
    let stream = TcpStream::connect(&*addresses)
        .await
        .map_err(Error::Connect)?;
    // Requests are written whole.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The connection, with TLS where the target wants it.
pub(super) async fn encrypted(
    stream: TcpStream,
    target: &Target,
    tls: impl FnOnce() -> Result<Arc<ClientConfig>, Error>,
) -> Result<Stream, Error> {
    let socket = Socket::new(stream);
    if !target.tls {
        return Ok(Stream::Plain(socket));
    }
    let name =
        ServerName::try_from(target.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let connector = TlsConnector::from(tls()?);
    let stream = connector.connect(name, socket).await.map_err(Error::Tls)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// See [`Socket::watch`].
    pub(super) fn watch(&mut self) -> Arc<AtomicU32> {
        match self {
            Stream::Plain(socket) => socket.watch(),
            Stream::Tls(stream) => stream.get_mut().0.watch(),
        }
    }

    /// What the server chose when it was asked for its protocols.
    pub(super) fn speaks_http2(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
