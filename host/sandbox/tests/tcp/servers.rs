//! Servers that processors connect to: one that does as it is told, and one that takes mail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader,
};
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

/// A mail server that keeps what it takes. It takes nothing before the connection is TLS.
pub(super) struct MailServer {
    pub(super) port: u16,
    pub(super) mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub(super) async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    let mut plain = BufReader::new(stream);
                    plain.write_all(b"220 mail.test\r\n").await.ok()?;
                    if !take_mail(&mut plain, true, &kept).await? {
                        return None;
                    }
                    let stream = acceptor.accept(plain.into_inner()).await.ok()?;
                    take_mail(&mut BufReader::new(stream), false, &kept).await
                });
            }
        });
        MailServer { port, mails }
    }
}

/// True where TLS is to begin.
async fn take_mail(
    stream: &mut (impl AsyncBufRead + AsyncWrite + Unpin),
    is_plain: bool,
    kept: &Mutex<Vec<String>>,
) -> Option<bool> {
    let mut envelope = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer = match line.split([' ', '\r']).next()? {
            "EHLO" => "250-mail.test\r\n250 STARTTLS\r\n",
            "STARTTLS" if is_plain => "220 go on\r\n",
            "MAIL" | "RCPT" | "DATA" if is_plain => "530 TLS comes first\r\n",
            "MAIL" | "RCPT" => {
                envelope.push_str(&line);
                "250 ok\r\n"
            }
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "500 what\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        match line.trim_end() {
            "STARTTLS" if is_plain => return Some(true),
            "QUIT" => return Some(false),
            "DATA" if !is_plain => {
                let mut mail = std::mem::take(&mut envelope);
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).await.ok()? == 0 {
                        return None;
                    }
                }
                kept.lock().unwrap().push(mail);
                stream.write_all(b"250 taken as 1\r\n").await.ok()?;
                stream.flush().await.ok()?;
            }
            _ => {}
        }
    }
}
