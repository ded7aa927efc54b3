//! A server that processors connect to, and that does as it is told, with TLS or without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server whose connections begin with a line that says what it is to do.
pub(super) struct Server {
    pub(super) port: u16,
    /// Connections that are open, and all that ever were.
    pub(super) open: Arc<AtomicUsize>,
    pub(super) all: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(super) async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::start_with(Some(acceptor)).await
    }

    async fn start_with(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, all) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Server {
            port,
            open: Arc::clone(&open),
            all: Arc::clone(&all),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                all.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (open, acceptor) = (Arc::clone(&open), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream).await,
                            Err(_) => Some(()),
                        },
                    };
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Serves until the client is gone.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let (command, rest) = line
            .trim_end()
            .split_once(' ')
            .unwrap_or((line.trim_end(), ""));
        match command {
            "echo" => stream.write_all(line.as_bytes()).await.ok()?,
            "flood" => {
                let bytes = vec![b'x'; rest.parse().unwrap()];
                stream.write_all(&bytes).await.ok()?;
                stream.shutdown().await.ok()?;
            }
            "drain" => {
                let count = tokio::io::copy(&mut stream, &mut tokio::io::sink())
                    .await
                    .ok()?;
                stream.write_all(count.to_string().as_bytes()).await.ok()?;
                stream.shutdown().await.ok()?;
            }
            // Answers nothing, and takes all.
            _ => {}
        }
        stream.flush().await.ok()?;
    }
}

/// Speaks TLS as this certificate says.
pub(super) fn acceptor(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
