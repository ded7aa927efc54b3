//! The bytes to and from one server, counted: a link that makes progress is alive, however slow it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use redis::{ConnectionAddr, ErrorKind, RedisError, RedisResult};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// A link of 50 kB/s empties it before it counts as dead; the kernel doubles it.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// What carries bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How many bytes went either way. Written by the stream, read by those that wait for a reply.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A stream whose bytes are counted.
pub(super) struct Counted {
    stream: Box<dyn Duplex>,
    progress: Progress,
}

impl Counted {
    pub(super) fn new(stream: Box<dyn Duplex>) -> (Self, Progress) {
        let progress = Progress::default();
        let counted = Counted {
            stream,
            progress: progress.clone(),
        };
        (counted, progress)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.progress.add(buffer.filled().len() - before);
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = poll {
            self.progress.add(written);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Opens a stream to a server. TCP sends each call at once: it would hold the second one back until the first is
/// answered.
pub(super) async fn open(
    address: &ConnectionAddr,
    authority: Option<&[u8]>,
) -> RedisResult<Box<dyn Duplex>> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            ..
        } => {
            let name = ServerName::try_from(host.clone()).map_err(refused)?;
            let connector = TlsConnector::from(Arc::new(tls_config(authority)?));
            Ok(Box::new(
                connector.connect(name, tcp(host, *port).await?).await?,
            ))
        }
        ConnectionAddr::TcpTls { .. } => Err(RedisError::from((
            ErrorKind::InvalidClientConfig,
            "TLS without checking the server's certificate is not supported",
        ))),
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        // The enum may grow.
        _ => Err(RedisError::from((
            ErrorKind::InvalidClientConfig,
            "an address of this kind is not supported",
        ))),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // The kernel may not grow it: otherwise all of a large call is there at once, and on a slow link nothing is seen to
    // move until it is sent.
    rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES)?;
    Ok(stream)
}

/// Trusts one authority (PEM), or those that the system trusts.
fn tls_config(authority: Option<&[u8]>) -> RedisResult<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(refused)?).map_err(refused)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(RedisError::from((
            ErrorKind::InvalidClientConfig,
            "no certificate of an authority was found",
        )));
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(config.with_no_client_auth())
}

fn refused(error: impl std::fmt::Display) -> RedisError {
    let kind = ErrorKind::InvalidClientConfig;
    RedisError::from((kind, "TLS cannot be set up", error.to_string()))
}
