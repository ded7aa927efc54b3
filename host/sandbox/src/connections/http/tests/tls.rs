//! HTTP over TLS, by whichever protocol the server chooses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi_http::Error;

use super::super::HttpSettings;
use super::{PATIENCE, Times, get, patient, pool, request, send, settings, target};
use crate::connections::TlsFiles;

/// What a server saw.
#[derive(Default)]
pub(super) struct Seen {
    handshakes: AtomicUsize,
    resumed: AtomicUsize,
    pub(super) closings: AtomicUsize,
    pub(super) changed: tokio::sync::Notify,
    /// No request has a use for the connection of a deaf server any more.
    pub(super) of_no_use: tokio::sync::Notify,
}

pub(super) struct TlsServer {
    port: u16,
    pub(super) seen: Arc<Seen>,
    dir: TempDir,
}

pub(super) struct Choice {
    pub(super) protocols: Vec<Vec<u8>>,
    /// Requests after which the server says that it takes no more on a connection.
    pub(super) requests_max: usize,
    pub(super) asks_for_certificate: bool,
    pub(super) manner: Manner,
}

/// What a server does with an encrypted connection.
#[derive(Clone)]
pub(super) enum Manner {
    /// It answers each request.
    Serves,
    /// By HTTP/2, it answers the first request with the first bytes, and then with the others for as long as it can.
    Floods(Vec<u8>, Vec<u8>),
    /// It answers the first bytes that it reads with these, and reads nothing more. By HTTP/2 these are frames.
    Deaf(Vec<u8>),
}

pub(super) const HTTP2: Choice = Choice {
    protocols: Vec::new(),
    requests_max: usize::MAX,
    asks_for_certificate: false,
    manner: Manner::Serves,
};

fn identity() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn server_config(identity: &CertifiedKey<KeyPair>, choice: &Choice) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let builder = match choice.asks_for_certificate {
        true => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        false => builder.with_no_client_auth(),
    };
    let chain = vec![identity.cert.der().clone()];
    let mut config = builder.with_single_cert(chain, key.into()).unwrap();
    config.alpn_protocols = choice.protocols.clone();
    config
}

impl TlsServer {
    pub(super) async fn start(choice: Choice) -> Self {
        let (identity, dir) = (identity(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("cert.pem"), identity.cert.pem()).unwrap();
        let key = identity.signing_key.serialize_pem();
        std::fs::write(dir.path().join("key.pem"), key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&identity, &choice)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&counted));
                let manner = choice.manner.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        seen.handshakes.fetch_add(1, Ordering::SeqCst);
                        let kind = stream.get_ref().1.handshake_kind();
                        let resumed = usize::from(kind == Some(HandshakeKind::Resumed));
                        seen.resumed.fetch_add(resumed, Ordering::SeqCst);
                        match manner {
                            Manner::Serves => serve(stream, choice.requests_max).await,
                            Manner::Floods(first, more) => flood(stream, &first, &more).await,
                            Manner::Deaf(answer) => answer_deaf(stream, &answer, &seen).await,
                        }
                        seen.closings.fetch_add(1, Ordering::SeqCst);
                        seen.changed.notify_one();
                    }
                });
            }
        });
        TlsServer { port, seen, dir }
    }

    pub(super) fn uri(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    pub(super) fn handshakes(&self) -> usize {
        self.seen.handshakes.load(Ordering::SeqCst)
    }

    pub(super) fn trusted(&self, with_certificate: bool) -> TlsFiles {
        let named = |name: &str, is_named: bool| is_named.then(|| PathBuf::from(name));
        let authority = &mut named("cert.pem", true);
        let own = ["cert.pem", "key.pem"].map(|name| named(name, with_certificate));
        let [mut cert, mut key] = own;
        TlsFiles::read(self.dir.path(), [authority, &mut cert, &mut key]).unwrap()
    }
}

type Encrypted = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn flood(mut stream: Encrypted, first: &[u8], more: &[u8]) {
    if stream.write_all(&SETTINGS).await.is_err() {
        return;
    }
    let mut read = Vec::new();
    // A head of a request.
    while !has_head(&read) {
        match stream.read_buf(&mut read).await {
            Ok(more) if more > 0 => {}
            _ => return,
        }
    }
    let mut sent = stream.write_all(first).await;
    while sent.is_ok() {
        sent = stream.write_all(more).await;
    }
}

async fn answer_deaf(mut stream: Encrypted, answer: &[u8], seen: &Seen) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if is_http2 && stream.write_all(&SETTINGS).await.is_err() {
        return;
    }
    let mut read = Vec::new();
    while read.is_empty() || is_http2 && !has_head(&read) {
        if stream.read_buf(&mut read).await.is_ok_and(|more| more == 0) {
            return;
        }
    }
    let mut sent = stream.write_all(answer).await;
    // From the moment at which nobody has any use for the connection, it is seen to be closed by writes that fail.
    seen.of_no_use.notified().await;
    while sent.is_ok() {
        sent = stream.write_all(b"x").await;
        tokio::task::yield_now().await;
    }
}

/// True once the head of the first request of HTTP/2 was read.
fn has_head(read: &[u8]) -> bool {
    let is_head = |part: &[u8]| matches!(part, [1, 4 | 5, 0, 0, 0, 1]);
    read.windows(6).any(is_head)
}

async fn serve(stream: Encrypted, requests_max: usize) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (asked, last) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(tokio::sync::Notify::new()),
    );
    let ended = Arc::clone(&last);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (asked, last) = (Arc::clone(&asked), Arc::clone(&last));
        async move {
            match request.uri().path() {
                "/silent" => std::future::pending().await,
                // Resets the stream.
                "/broken" => return Err(std::io::Error::other("broken")),
                _ => {}
            }
            let host = request.headers().contains_key("host");
            let version = format!("{:?} {host}", request.version());
            if asked.fetch_add(1, Ordering::SeqCst) + 1 == requests_max {
                last.notify_one();
            }
            Ok(Response::new(Full::new(Bytes::from(version))))
        }
    });
    let io = TokioIo::new(stream);
    if !is_http2 {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await;
        return;
    }
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        _ = &mut connection => {}
        () = ended.notified() => {
            // GOAWAY.
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn trusting(tls: TlsFiles) -> Arc<super::super::HttpPool> {
    pool(HttpSettings { tls, ..settings() })
}

#[tokio::test]
async fn requests_share_one_connection_of_http2_also_when_they_come_together() {
    let choice = Choice {
        protocols: vec![b"h2".to_vec()],
        ..HTTP2
    };
    let server = TlsServer::start(choice).await;
    let pool = trusting(server.trusted(false));
    let uri = server.uri();
    // More than there are connections.
    let all = join_all((0..50).map(|_| get(&pool, &uri))).await;
    for body in all {
        assert_eq!(body.unwrap(), "HTTP/2.0 false");
    }
    assert_eq!(server.handshakes(), 1);
}

#[tokio::test]
async fn server_that_takes_no_more_requests_on_a_connection_gets_another() {
    let choice = Choice {
        protocols: vec![b"h2".to_vec()],
        requests_max: 3,
        ..HTTP2
    };
    let server = TlsServer::start(choice).await;
    let pool = trusting(server.trusted(false));
    for _ in 0..30 {
        assert_eq!(get(&pool, &server.uri()).await.unwrap(), "HTTP/2.0 false");
    }
    // The goodbye may arrive after the next request was sent.
    assert!(
        (5..=11).contains(&server.handshakes()),
        "{}",
        server.handshakes()
    );
}

#[tokio::test]
async fn connection_of_http2_without_an_answer_is_not_shared_on() {
    let choice = Choice {
        protocols: vec![b"h2".to_vec()],
        ..HTTP2
    };
    let server = TlsServer::start(choice).await;
    let pool = trusting(server.trusted(false));
    get(&pool, &server.uri()).await.unwrap();
    let uri = server.uri() + "silent";
    let times = Times {
        answered: Instant::now() + Duration::from_millis(20),
        ..patient()
    };
    let silent = request(Method::GET, &uri, None);
    let silent = pool.send(&target(&uri), silent, times, &|_| true).await;
    assert!(matches!(silent, Err(Error::HttpResponseTimeout)));
    get(&pool, &server.uri()).await.unwrap();
    assert_eq!(server.handshakes(), 2);
    // Tried once more on a connection of its own, since it may have been the connection.
    assert!(get(&pool, &(server.uri() + "broken")).await.is_err());
    get(&pool, &server.uri()).await.unwrap();
    assert_eq!(server.handshakes(), 4);
}

#[tokio::test]
async fn row_of_interim_answers_over_http2_ends_with_a_reason_of_its_own() {
    // `:status` is 103, and the headers end there.
    const EARLY_HINTS: &[u8] = b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03103";
    let server = TlsServer::start(Choice {
        protocols: vec![b"h2".to_vec()],
        manner: Manner::Floods(Vec::new(), EARLY_HINTS.to_vec()),
        ..HTTP2
    })
    .await;
    let pool = trusting(server.trusted(false));
    for requests in 1..=3 {
        let error = get(&pool, &server.uri()).await.unwrap_err().to_string();
        assert!(error.contains("more than 100 interim answers"), "{error}");
        assert_eq!(server.handshakes(), requests);
    }
}

#[tokio::test]
async fn idle_connection_of_http2_is_closed_when_its_time_is_over() {
    let choice = Choice {
        protocols: vec![b"h2".to_vec()],
        ..HTTP2
    };
    let server = TlsServer::start(choice).await;
    let brief = HttpSettings {
        idle: Duration::from_millis(20),
        tls: server.trusted(false),
        ..settings()
    };
    let pool = pool(brief);
    get(&pool, &server.uri()).await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, server.seen.changed.notified());
    closed.await.expect("the client closes it");
    assert_eq!(server.seen.closings.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn sessions_of_tls_are_resumed() {
    let server = TlsServer::start(HTTP2).await;
    let one = HttpSettings {
        idle: Duration::ZERO,
        tls: server.trusted(false),
        ..settings()
    };
    let pool = pool(one);
    for _ in 0..5 {
        assert_eq!(get(&pool, &server.uri()).await.unwrap(), "HTTP/1.1 true");
    }
    assert_eq!(server.handshakes(), 5);
    assert_eq!(server.seen.resumed.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn servers_are_trusted_by_the_file_of_the_grant_and_clients_by_theirs() {
    let server = TlsServer::start(Choice {
        asks_for_certificate: true,
        ..HTTP2
    })
    .await;
    let uri = server.uri();
    let stranger = trusting(TlsFiles::default());
    assert!(matches!(get(&stranger, &uri).await, Err(Error::Tls(_))));
    let nameless = trusting(server.trusted(false));
    assert!(get(&nameless, &uri).await.is_err());
    let known = trusting(server.trusted(true));
    assert_eq!(get(&known, &uri).await.unwrap(), "HTTP/1.1 true");
    let by_address = uri.replace("localhost", "127.0.0.1");
    assert!(matches!(get(&known, &by_address).await, Err(Error::Tls(_))));
}

#[tokio::test]
async fn posts_go_over_http2_with_their_bodies() {
    let choice = Choice {
        protocols: vec![b"h2".to_vec()],
        ..HTTP2
    };
    let server = TlsServer::start(choice).await;
    let pool = trusting(server.trusted(false));
    let response = send(&pool, request(Method::POST, &server.uri(), Some("body")))
        .await
        .unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "HTTP/2.0 false"
    );
}

#[test]
fn files_that_are_of_no_use_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let (one, other) = (identity(), identity());
    let cert = write("cert.pem", &one.cert.pem());
    let key = write("key.pem", &other.signing_key.serialize_pem());
    let empty = write("empty.pem", "");
    for (files, said) in [
        ([Some(&empty), None, None], "holds no certificate"),
        ([None, Some(&cert), None], "are set together"),
        ([None, Some(&cert), Some(&key)], "do not fit"),
        ([None, Some(&cert), Some(&empty)], "holds no key"),
    ] {
        let mut files = files.map(|file| file.cloned());
        let error = TlsFiles::read(dir.path(), files.each_mut()).unwrap_err();
        assert!(format!("{error:#}").contains(said), "{error:#}");
    }
}
