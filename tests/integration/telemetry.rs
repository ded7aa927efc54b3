//! Traces and metrics that leave over TLS. What they say is read by Node's collectors in `tests/interop`.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use toril::queue::JobState;

use crate::harness::{TestHost, TestRedis, new_job, queue_section, reaches};

/// Path and body of each request.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A collector with a certificate of its own, which it writes to `certificate`.
async fn collector(certificate: &Path) -> (String, Seen) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(certificate, own.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One that does not trust the certificate hangs up.
            tokio::spawn(answer(acceptor.clone(), stream, Arc::clone(&kept)));
        }
    });
    (endpoint, seen)
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, seen: Seen) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(target) = line.strip_prefix("post ") {
                path = target.split(' ').next().unwrap().to_owned();
            } else if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        seen.lock().push((path, body));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).await?;
    }
}

#[tokio::test]
async fn collector_that_never_answers_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let section = queue_section("ring", "fixture-noop", "");
    let mut host = TestHost::serve(
        &redis,
        &format!("otlp_endpoint = \"{endpoint}\"\n{section}"),
    )
    .await;
    let id = crate::harness::add(&queue, "any", json!(null)).await;
    reaches(&queue, &id, JobState::Completed).await;
    host.signal("TERM");
    assert!(host.ended().await.success());
    assert!(
        host.log().contains("the collector does not answer"),
        "{}",
        host.log()
    );
}

#[tokio::test]
async fn traces_and_metrics_leave_over_tls_to_whom_the_system_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = dir.path().join("cert.pem");
    let (endpoint, seen) = collector(&certificate).await;
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let section = queue_section("ring", "fixture-noop", "");
    let config = format!(
        "redis = \"{}\"\notlp_endpoint = \"{endpoint}\"\n{section}",
        redis.server.url()
    );
    let trusted = certificate.display().to_string();
    let run = async |env: &[(&str, &str)]| {
        let mut host = TestHost::spawn_with(&config, &[], env);
        host.logs("serving").await;
        let id = queue
            .add(&new_job("painted", json!(null), json!({})))
            .await
            .unwrap();
        reaches(&queue, &id, JobState::Completed).await;
        host.signal("TERM");
        assert!(host.ended().await.success(), "{}", host.log());
        host.log()
    };

    let log = run(&[]).await;
    assert!(
        log.contains("could not be sent") && log.contains("ring"),
        "{log}"
    );
    assert_eq!(seen.lock().len(), 0, "nothing leaves without trust");

    let log = run(&[("SSL_CERT_FILE", &trusted)]).await;
    assert!(!log.contains("could not be sent"), "{log}");
    let seen = seen.lock();
    let holds = |path: &str, text: &str| {
        let bodies = seen.iter().filter(|(at, _)| at == path);
        let mut texts = bodies.map(|(_, body)| String::from_utf8_lossy(body));
        texts.any(|body| body.contains(text))
    };
    assert!(holds("/v1/traces", "process ring"));
    for text in ["bullmq.jobs.completed", "bullmq.job.duration", "painted"] {
        assert!(holds("/v1/metrics", text), "{text}");
    }
}
