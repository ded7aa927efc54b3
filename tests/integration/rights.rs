//! Grants: nothing without one, and no more than it says.

mod steps;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use toril::queue::JobState;

use crate::harness::{
    TestHost, TestRedis, add, completes, fails, processor, queue_section, reaches, toril,
};

#[tokio::test]
async fn values_and_secrets_are_seen_by_the_processor_alone() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let file = dir.path().join("secret");
    std::fs::write(&file, "hunter22-from-a-file\n").unwrap();
    // Another secret is the beginning of this one.
    let beginning = dir.path().join("beginning");
    std::fs::write(&beginning, "hunter22").unwrap();
    let grants = format!(
        "grants = {{ env = {{ MODE = \"fast\" }}, secrets = {{ BEGINNING = {{ file = {beginning:?} }}, SECRET = {{ file = {file:?} }} }}, config = {{ region = \"eu\" }} }}"
    );
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-rights", &grants).await;
    let env = completes(&queue, "env", json!(null)).await;
    assert_eq!(
        env,
        json!([
            ["TORIL_MEMORY_BYTES_MAX", "134217728"],
            ["MODE", "fast"],
            ["BEGINNING", "hunter22"],
            ["SECRET", "hunter22-from-a-file"]
        ])
    );
    assert_eq!(completes(&queue, "config", json!("region")).await, "eu");
    assert_eq!(
        completes(&queue, "config", json!("other")).await,
        Value::Null
    );

    let id = add(&queue, "leak-secret", json!(null)).await;
    let job = reaches(&queue, &id, JobState::Failed).await;
    assert_eq!(job["failedReason"], "the secret is ***");
    assert!(!job["stacktrace"].as_str().unwrap().contains("hunter22"));
    assert_eq!(queue.logs(&id, 10).await.unwrap(), ["the secret is ***"]);
    host.logs("the secret is ***").await;
    assert!(!host.log().contains("hunter22"), "{}", host.log());
    let status = toril(&redis, &["status"]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(
        status.contains("granted env: MODE; secrets: BEGINNING, SECRET; config: region"),
        "{status}"
    );
    assert!(!status.contains("hunter22") && !status.contains("fast"));
    let check = [
        "check",
        &processor("fixture-rights").display().to_string(),
        "--queue",
        "ring",
    ];
    let mut command = std::process::Command::new(crate::harness::TORIL);
    let output = command.args(check).current_dir(host.dir.path()).output();
    let shown = String::from_utf8(output.unwrap().stdout).unwrap();
    for part in [
        "env: MODE",
        "secrets: BEGINNING, SECRET",
        "config: region",
        "deadline_ms 300000",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("hunter22") && !shown.contains("fast"));
    host.stop().await;
}

#[tokio::test]
async fn directories_have_no_way_out() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let at = |name: &str| dir.path().join(name);
    for name in ["in", "out", "outside"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("in/given"), "hello").unwrap();
    std::fs::write(at("outside/secret"), "secret").unwrap();
    let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, at(name)).unwrap();
    link(&at("outside/secret"), "out/absolute");
    link(Path::new("../outside/secret"), "out/relative");
    link(&at("outside"), "out/dir");
    link(Path::new("../outside/new"), "out/dangling");
    let grants = format!(
        "grants = {{ dirs = [{{ host = {:?}, guest = \"/in\" }}, {{ host = {:?}, guest = \"/out\", writable = true }}] }}",
        at("in"),
        at("out")
    );
    let grants = format!(
        "{}\n",
        grants.replace("] }", "], stub = [\"wasi:config\"] }")
    );
    let host = TestHost::serve_queue(&redis, "ring", "fixture-rights", &grants).await;
    assert_eq!(completes(&queue, "read", json!("/in/given")).await, "hello");
    completes(&queue, "write", json!("/out/new")).await;
    assert_eq!(std::fs::read_to_string(at("out/new")).unwrap(), "written");
    for (name, path) in [
        ("write", "/in/new"),
        ("write", "/in/given"),
        ("remove", "/in/given"),
        ("read", "/in/../outside/secret"),
        ("read", "/out/../../../../../../etc/passwd"),
        ("read", "/etc/passwd"),
        ("read", "/out/absolute"),
        ("read", "/out/relative"),
        ("read", "/out/dir/secret"),
        ("write", "/out/absolute"),
        ("write", "/out/relative"),
        ("write", "/out/dangling"),
        ("write", "/out/dir/new"),
        ("write", "/out/../outside/new"),
        ("list", "/out/dir"),
        ("list", "/out/.."),
        ("list", "/"),
    ] {
        let reason = fails(&queue, name, json!(path)).await;
        assert!(!reason.contains("secret"), "{name} {path}: {reason}");
    }
    assert_eq!(
        std::fs::read_to_string(at("outside/secret")).unwrap(),
        "secret"
    );
    assert_eq!(std::fs::read_to_string(at("in/given")).unwrap(), "hello");
    assert_eq!(std::fs::read_dir(at("outside")).unwrap().count(), 1);
    host.stop().await;
}

#[tokio::test]
async fn only_files_and_directories_are_opened() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let at = |name: &str| dir.path().join(name);
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe"))
        .status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("pipe", at("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::fs::write(at("file"), "hello").unwrap();
    let grants = format!(
        "concurrency = 4\ngrants = {{ dirs = [{{ host = {:?}, guest = \"/d\", writable = true }}], stub = [\"wasi:config\"] }}",
        dir.path()
    );
    let host = TestHost::serve_queue(&redis, "ring", "fixture-rights", &grants).await;
    for name in ["read", "write"] {
        for path in ["/d/pipe", "/d/link", "/d/socket"] {
            let reason = fails(&queue, name, json!(path)).await;
            assert_eq!(reason, "PermissionDenied", "{name} {path}");
        }
    }
    assert_eq!(completes(&queue, "read", json!("/d/file")).await, "hello");
    // No thread is left that waits for the other end of a pipe.
    host.stop().await;
}

#[tokio::test]
async fn attempt_opens_no_more_files_than_its_limit() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    std::fs::write(dir.path().join("file"), "hello").unwrap();
    let options = format!(
        "grants = {{ stub = [\"wasi:config\"], dirs = [{{ host = {:?}, guest = \"/d\" }}] }}\nlimits = {{ open_files_max = 10 }}",
        dir.path()
    );
    let mut host = TestHost::serve_queue(&redis, "ring", "fixture-rights", &options).await;
    for path in ["/d/file", "/d"] {
        let opened = completes(&queue, "open", json!([path, 10])).await;
        assert_eq!(opened, json!([10, null]), "{path}");
        let opened = completes(&queue, "open", json!([path, 20])).await;
        assert_eq!(opened[0], 10, "{path}");
        assert!(opened[1].as_str().unwrap().contains("uota"), "{opened}");
    }
    host.logs("the attempt has 10 open files, which is its limit (`limits.open_files_max`)")
        .await;
    host.stop().await;
}

#[tokio::test]
async fn imports_without_a_grant_are_refused_at_load_with_the_grant_to_add() {
    let redis = TestRedis::start(false).await;
    for (crate_name, import, hint) in [
        (
            "fixture-http",
            "wasi:http/",
            "http = { hosts = [\"api.example.com\"] }",
        ),
        (
            "tcp-echo",
            "wasi:sockets/",
            "tcp = { hosts = [\"smtp.example.com:587\"] }",
        ),
        (
            "fixture-rights",
            "wasi:config/",
            "config = { key = \"value\" }",
        ),
    ] {
        let section = queue_section("ring", crate_name, "");
        let config = format!("redis = \"{}\"\n{section}", redis.server.url());
        let mut host = TestHost::spawn(&config, &[]);
        assert!(!host.ended().await.success());
        let says = async || {
            let log = host.log();
            (log.contains(import) && log.contains(hint)).then_some(())
        };
        crate::harness::eventually("it names the grant", says).await;
        // `check` says the same before anything is served.
        let config_file = host.dir.path().join("toril.toml").display().to_string();
        let component = processor(crate_name).display().to_string();
        let check = [
            "check",
            &component,
            "--queue",
            "ring",
            "--config",
            &config_file,
        ];
        let mut command = std::process::Command::new(crate::harness::TORIL);
        let output = command.args(check).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains(hint));
    }
}

#[tokio::test]
async fn stubbed_sockets_open_nothing() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stub = "grants = { stub = [\"wasi:sockets\", \"wasi:tls\"] }";
    let host = TestHost::serve_queue(&redis, "ring", "fixture-socket", stub).await;
    for address in [address, "localhost:80".to_owned()] {
        let reason = fails(&queue, "any", json!(address)).await;
        assert!(reason.starts_with("no socket: "), "{reason}");
    }
    host.stop().await;
}

/// The answer to the next request of a connection.
async fn answer_to(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    // The guest says of no body how long it is.
    let is_whole = |request: &[u8]| {
        let is_chunked = String::from_utf8_lossy(request).contains("transfer-encoding: chunked");
        let end: &[u8] = if is_chunked {
            b"\r\n0\r\n\r\n"
        } else {
            b"\r\n\r\n"
        };
        request.ends_with(end)
    };
    while !is_whole(&request) {
        let read = stream.read_buf(&mut request).await;
        read.ok().filter(|read| *read > 0)?;
    }
    let answer = |status: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
    };
    let request = String::from_utf8_lossy(&request);
    Some(match request.split(' ').nth(1).unwrap_or("/") {
        "/never" => return std::future::pending().await,
        "/large" => answer("200 OK", "", &"x".repeat(200_000)),
        path => match path.strip_prefix("/to/") {
            Some(url) => answer("302 Found", &format!("location: http://{url}\r\n"), ""),
            None => answer("200 OK", "", "hello"),
        },
    })
}

/// A server that answers each request in the way that its path says; returns its port.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Some(answer) = answer_to(&mut stream).await {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn requests_go_where_they_may_and_nowhere_else() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let (port, other) = (server().await, server().await);
    // The first is named by its address; the second has a name that leads to a private one.
    let grants = format!(
        "[queues.ring.grants.http]\nhosts = [\"127.0.0.1:{port}\", \"localhost:{other}\"]\n\
         response_bytes_max = 100000\nrequest_bytes_max = 50000\ntimeout_ms = 3000\nrequests_max = 3\n"
    );
    let section = queue_section("ring", "fixture-http", "") + &grants;
    let host = TestHost::serve(&redis, &section).await;
    let at = |path: &str| json!(format!("http://127.0.0.1:{port}/{path}"));
    let got = completes(&queue, "get", at("")).await;
    assert_eq!(got, json!({ "status": 200, "length": 5, "begin": "hello" }));
    let got = completes(&queue, "get", at(&format!("to/127.0.0.1:{port}/"))).await;
    assert_eq!(got["begin"], "hello", "a redirect to where it may go");

    let denied = "not in grants.http.hosts of queue ring";
    let private = "its address is private and not in grants.http.private of queue ring";
    for (url, reason) in [
        (json!(format!("http://127.0.0.1:{other}/")), denied),
        (json!("http://169.254.169.254/latest/meta-data"), denied),
        (json!(format!("http://[::ffff:127.0.0.1]:{port}/")), denied),
        (json!(format!("http://127.1:{port}/")), denied),
        (json!(format!("http://localhost:{other}/")), private),
        (at(&format!("to/localhost:{other}/")), private),
        (at("to/169.254.169.254/"), denied),
        (at(&format!("to/127.0.0.1:{other}/")), denied),
        (at("large"), "response body size exceeds limit: 100000"),
        (at("never"), "HttpResponseTimeout"),
        (
            at(&format!(
                "to/127.0.0.1:{port}/to/127.0.0.1:{port}/to/127.0.0.1:{port}/"
            )),
            "the attempt has sent 3, the limit in grants.http.requests_max of queue ring",
        ),
    ] {
        let failed = fails(&queue, "get", url.clone()).await;
        assert!(failed.contains(reason), "{url}: {failed}");
    }
    let failed = fails(&queue, "post", at("")).await;
    assert!(failed.contains("HttpRequestBodySize"), "{failed}");
    host.stop().await;

    // Named, the private address may be reached.
    let grants = grants.replace("= 50000", "= 200000").replace(
        "timeout_ms",
        "private = [\"127.0.0.0/8\", \"::1\"]\ntimeout_ms",
    );
    let section = queue_section("ring", "fixture-http", "") + &grants;
    let host = TestHost::serve(&redis, &section).await;
    let got = completes(&queue, "get", json!(format!("http://localhost:{other}/"))).await;
    assert_eq!(got["begin"], "hello");
    let got = completes(&queue, "post", json!(format!("http://localhost:{other}/"))).await;
    assert_eq!(got["begin"], "hello", "a body of a size that is granted");
    host.stop().await;
}

/// A server that speaks TLS as `localhost`; returns its port.
async fn tls_server(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us leaves in the middle of this.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn servers_are_trusted_by_their_certificates() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("ring").await;
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = dir.path().join("authority.pem");
    std::fs::write(&authority, certificate.cert.pem()).unwrap();
    let authority = authority.display().to_string();
    let port = tls_server(&certificate).await;
    let section = queue_section("ring", "fixture-http", "");
    let config = format!(
        "redis = \"{}\"\n{section}[queues.ring.grants.http]\nhosts = [\"localhost:{port}\", \"127.0.0.1:{port}\"]\n\
         private = [\"127.0.0.0/8\", \"::1\"]\n",
        redis.server.url()
    );
    let mut stranger = TestHost::spawn(&config, &[]);
    stranger.logs("serving").await;
    let url = json!(format!("https://localhost:{port}/"));
    let reason = fails(&queue, "get", url.clone()).await;
    assert!(reason.contains("TlsProtocolError"), "{reason}");
    stranger.stop().await;

    let mut host = TestHost::spawn_with(&config, &[], &[("SSL_CERT_FILE", &authority)]);
    host.logs("serving").await;
    assert_eq!(completes(&queue, "get", url).await["begin"], "secure");
    // The certificate is for the name, not for the address.
    let reason = fails(&queue, "get", json!(format!("https://127.0.0.1:{port}/"))).await;
    assert!(reason.contains("TlsProtocolError"), "{reason}");
    host.stop().await;
}

/// At the level of traces, libraries say what they send.
#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let user = ["ACL", "SETUSER", "worker", "on", ">hunter33", "~*", "&*"];
    let _: String = redis.command(&[&user[..], &["+@all"]].concat()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "hunter22-from-a-file").unwrap();
    let grants =
        format!("grants = {{ config.region = \"eu\", secrets.SECRET = {{ file = {file:?} }} }}");
    let url = redis
        .server
        .url()
        .replace("redis://", "redis://worker:hunter33@");
    let section = queue_section("ring", "fixture-rights", &grants);
    let config = format!("redis = \"{url}\"\n{section}");
    let mut host = TestHost::spawn(&config, &["--log", "trace"]);
    host.logs("serving").await;
    let id = add(&queue, "leak-secret", json!(null)).await;
    reaches(&queue, &id, JobState::Failed).await;
    host.signal("TERM");
    assert!(host.ended().await.success());
    let log = host.log();
    assert!(log.contains(" TRACE "), "{log}");
    for secret in ["hunter22", "hunter33"] {
        let shown = log.lines().find(|line| line.contains(secret));
        assert_eq!(shown, None);
    }
}
