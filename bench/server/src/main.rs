//! The server that jobs of `make bench` ask: HTTP/1.1 on one port, HTTPS with a private authority on another. It answers each
//! request after two milliseconds, except `/stats`, and takes as little processor time as it can: it is not what is
//! measured.
//!
//! `bench-server DIR` writes the authority to `DIR/authority.pem` and prints both ports.

mod waits;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::waits::Waits;

const ANSWER: &str = r#"{"currency":"EUR","rate":1.0842}"#;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Since the start.
#[derive(Default)]
struct Stats {
    requests: AtomicU64,
    connections: AtomicU64,
    handshakes: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: bench-server DIR")?;
    let acceptor = tls(Path::new(&dir))?;
    let plain = TcpListener::bind("127.0.0.1:0").await?;
    let secure = TcpListener::bind("127.0.0.1:0").await?;
    let (http, https) = (plain.local_addr()?.port(), secure.local_addr()?.port());
    println!("{http} {https}");
    let (stats, waits) = (Arc::new(Stats::default()), Arc::new(Waits::default()));
    let ended = waits.clone();
    tokio::spawn(async move { ended.end_all().await.expect("timers can be set") });
    loop {
        let (stream, acceptor) = tokio::select! {
            accepted = plain.accept() => (accepted?.0, None),
            accepted = secure.accept() => (accepted?.0, Some(acceptor.clone())),
        };
        // Connections that break off are no matter of the others.
        let (stats, waits) = (stats.clone(), waits.clone());
        tokio::spawn(async move { connection(stream, acceptor, &stats, &waits).await });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    stats: &Stats,
    waits: &Waits,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stats.connections.fetch_add(1, Relaxed);
    match acceptor {
        None => serve(stream, stats, waits).await,
        Some(acceptor) => {
            let stream = acceptor.accept(stream).await?;
            stats.handshakes.fetch_add(1, Relaxed);
            serve(stream, stats, waits).await
        }
    }
}

/// Answers requests without a body, one after the other.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    stats: &Stats,
    waits: &Waits,
) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let end = loop {
            if let Some(at) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        };
        let answer = match head.starts_with(b"GET /stats ") {
            true => stats.json(),
            false => {
                stats.requests.fetch_add(1, Relaxed);
                waits.wait().await;
                ANSWER.to_owned()
            }
        };
        head.drain(..end);
        let length = answer.len();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        stream.write_all(response.as_bytes()).await?;
        stream.flush().await?;
    }
}

impl Stats {
    fn json(&self) -> String {
        let [requests, connections, handshakes] =
            [&self.requests, &self.connections, &self.handshakes].map(|count| count.load(Relaxed));
        format!(
            r#"{{"requests":{requests},"connections":{connections},"handshakes":{handshakes}}}"#
        )
    }
}

/// A certificate for this machine, signed by an authority that is made here.
fn tls(dir: &Path) -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than the server's: OpenSSL takes a certificate for self-signed by its names.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of the benchmark");
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    std::fs::write(dir.join("authority.pem"), authority.pem())?;
    let own_key = KeyPair::generate()?;
    let own = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?
        .signed_by(&own_key, &Issuer::new(params, key))?;
    let own_key = PrivateKeyDer::try_from(own_key.serialize_der())?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(vec![own.der().clone()], own_key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
