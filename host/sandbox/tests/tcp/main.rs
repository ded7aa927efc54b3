//! `grants.tcp` without a host: what a guest can do with sockets, and what is left of it. In `http`, what is left of requests.
//! Needs `fixture-socket` and `fixture-http`, built for wasm32-wasip2 (see the Makefile).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http;
mod servers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::tempdir;
use toril_sandbox::attempt::{self, AttemptInput};
use toril_sandbox::{
    Engine, EngineOptions, Grants, Limits, LoneJob, Outcome, Policy, Processor, Reuse,
};

use self::servers::{Server, acceptor};

const LOOPBACK: &str = "private = [\"127.0.0.0/8\", \"::1\"]\n";

/// Waits until it is so; panics with `what` when it never is.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn fixture(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("../../target".into(), PathBuf::from);
    target.join(format!("wasm32-wasip2/processor/{name}.wasm"))
}

/// An engine without a host around it, with a fixture.
struct World {
    engine: Arc<Engine>,
    processor: Processor,
    policy: Arc<Policy>,
}

impl World {
    async fn new(tcp: &str, policy: Policy) -> Self {
        let mut grants: Grants = toml::from_str(&format!("[tcp]\n{tcp}")).unwrap();
        grants.tcp.as_mut().unwrap().resolve(Path::new("")).unwrap();
        Self::of("fixture_socket", grants, policy).await
    }

    async fn of(name: &str, grants: Grants, policy: Policy) -> Self {
        let policy = Arc::new(Policy {
            grants: Arc::new(grants),
            ..policy
        });
        let options = EngineOptions {
            executions_max: 10,
            ..EngineOptions::default()
        };
        let engine = Arc::new(Engine::new(&options).unwrap());
        let component = std::fs::read(fixture(name)).expect("guests are built");
        let processor = engine.load(component, &policy).await.unwrap();
        World {
            engine,
            processor,
            policy,
        }
    }

    async fn run(&self, name: &str, data: Value) -> Outcome {
        let input = AttemptInput::new(Box::new(LoneJob::new(name, &data.to_string())));
        attempt::run(&self.engine, &self.processor, &self.policy, input)
            .await
            .outcome
    }

    async fn value(&self, name: &str, data: Value) -> Value {
        match self.run(name, data).await {
            Outcome::Completed(value) => serde_json::from_str(&value).unwrap(),
            other => panic!("{name}: {other:?}"),
        }
    }

    async fn reason(&self, name: &str, data: Value) -> String {
        match self.run(name, data).await {
            Outcome::Failed { message, .. } => message,
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn private_addresses_of_a_granted_name_are_refused() {
    let server = Server::start().await;
    let hosts = format!("hosts = [\"localhost:{}\"]", server.port);
    let world = World::new(&hosts, Policy::default()).await;
    let reason = world
        .reason("connect", json!(format!("localhost:{}", server.port)))
        .await;
    assert!(reason.starts_with("no socket: "), "{reason}");
    let reason = world.reason("connect", json!(server.address())).await;
    assert!(reason.contains("Permission denied"), "{reason}");
    assert_eq!(server.all.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nothing_listens_and_nothing_sends_datagrams() {
    let server = Server::start().await;
    let address = server.address();
    let world = World::new(
        &format!("hosts = [\"{}\", \"127.0.0.1:1\"]", server.address()),
        Policy::default(),
    )
    .await;
    for (name, address) in [
        ("listen", "127.0.0.1:0"),
        ("listen", "0.0.0.0:8080"),
        ("listen", "[::]:0"),
        ("udp", "127.0.0.1:0"),
        ("udp", address.as_str()),
    ] {
        let reason = world.reason(name, json!(address)).await;
        assert!(
            reason.contains("Permission denied"),
            "{name} {address}: {reason}"
        );
    }
    assert_eq!(
        world.value("bind", json!(null)).await,
        json!([
            "access-denied",
            "not-in-progress",
            "access-denied",
            "not-in-progress",
            "invalid-state",
            "not-supported"
        ])
    );
    // Granted, and nobody is there.
    let reason = world.reason("connect", json!("127.0.0.1:1")).await;
    assert!(reason.contains("Connection refused"), "{reason}");
}

#[tokio::test]
async fn bytes_are_limited_each_way() {
    let server = Server::start().await;
    let tcp = format!("hosts = [\"{}\"]\nbytes_max = 1000000", server.address());
    let world = World::new(&tcp, Policy::default()).await;
    let moved = |number: u64| json!({ "address": server.address(), "number": number });
    // The line that says what to do counts, too.
    assert_eq!(world.value("send", moved(999_000)).await, "999000");
    assert_eq!(world.value("receive", moved(1_000_000)).await, 1_000_000);
    let limit = "processor exceeded its limit of 1000000 bytes over TCP (`grants.tcp.bytes_max`)";
    for (name, number) in [
        ("send", 1_000_000),
        ("receive", 1_000_001),
        ("send", 1 << 30),
    ] {
        assert_eq!(
            world.reason(name, moved(number)).await,
            limit,
            "{name} {number}"
        );
    }
    eventually("all connections are closed", || server.open() == 0).await;
}

#[tokio::test]
async fn connections_are_limited_at_once_and_in_all() {
    let server = Server::start().await;
    let tcp = format!(
        "hosts = [\"{}\"]\nconnections_max = 5\nconnections_total_max = 20",
        server.address()
    );
    let world = World::new(&tcp, Policy::default()).await;
    let hoard = json!({ "address": server.address(), "number": 1000 });
    let hoarded = world.value("hoard", hoard.clone()).await;
    assert_eq!(hoarded["open"], 5, "{hoarded}");
    eventually("they are closed", || server.open() == 0).await;

    let tcp = tcp.replace("connections_max = 5\n", "connections_max = 1000\n");
    let world = World::new(&tcp, Policy::default()).await;
    let hoarded = world.value("hoard", hoard).await;
    assert_eq!(hoarded["open"], 20, "{hoarded}");
}

#[tokio::test]
async fn deadline_ends_a_guest_that_waits_for_a_server() {
    let server = Server::start().await;
    let limits = Limits {
        deadline_ms: 300,
        ..Limits::default()
    };
    let policy = Policy {
        limits,
        ..Policy::default()
    };
    let world = World::new(&format!("hosts = [\"{}\"]", server.address()), policy).await;
    let silent = json!({ "address": server.address(), "line": "silent" });
    let reason = world.reason("ask", silent).await;
    assert_eq!(reason, "processor exceeded its time limit of 300 ms");
    eventually("it is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn no_descriptor_is_left_of_thousands_of_attempts() {
    let server = Server::start().await;
    let tcp = format!("hosts = [\"{}\"]\nconnections_max = 3", server.address());
    let world = World::new(&tcp, Policy::default()).await;
    let hoard = json!({ "address": server.address(), "number": 10 });
    for (name, data) in [("hoard", hoard.clone()), ("panic", json!(server.address()))] {
        world.run(name, data).await;
    }
    eventually("they are closed", || server.open() == 0).await;
    let before = descriptors();
    for number in 0..10_000 {
        match number % 3 {
            0 => world.value("leave-open", json!(server.address())).await,
            1 => world.value("hoard", hoard.clone()).await,
            _ => json!(world.reason("panic", json!(server.address())).await),
        };
    }
    eventually("they are closed", || server.open() == 0).await;
    // Other tests of this process open some meanwhile, and close them.
    eventually("no more are open than before", || {
        descriptors() <= before + 200
    })
    .await;
}

#[tokio::test]
async fn socket_of_one_job_is_never_that_of_the_next() {
    let server = Server::start().await;
    let reuse = Some(Reuse {
        jobs: 100,
        age_ms: 60_000,
    });
    let policy = Policy {
        reuse,
        ..Policy::default()
    };
    let world = World::new(&format!("hosts = [\"{}\"]", server.address()), policy).await;
    // Closed before the job ends: the instance goes on.
    for jobs in 1..4 {
        assert_eq!(world.value("close", json!(server.address())).await, jobs);
    }
    // Left open, in an instance that ran three jobs. It runs no other one.
    let kept = world.value("keep", json!(server.address())).await;
    assert_eq!(kept, json!({ "jobs": 4, "found": false }));
    eventually("it is closed", || server.open() == 0).await;
    for _ in 0..3 {
        let kept = world.value("keep", json!(server.address())).await;
        assert_eq!(kept, json!({ "jobs": 1, "found": false }));
    }
}

#[tokio::test]
async fn tls_is_spoken_with_granted_names_and_known_authorities() {
    let dir = tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = dir.path().join("authority.pem");
    std::fs::write(&authority, certificate.cert.pem()).unwrap();
    let server = Server::start_tls(acceptor(&certificate)).await;
    let at = |name: &str| json!({ "address": format!("localhost:{}", server.port), "name": name });
    let tcp = format!(
        "hosts = [\"localhost:{}\", \"other.example:1\"]\n{LOOPBACK}",
        server.port
    );
    let stranger = World::new(&tcp, Policy::default()).await;
    let reason = stranger.reason("tls", at("localhost")).await;
    assert!(reason.contains("invalid peer certificate"), "{reason}");

    let tcp = format!("{tcp}ca_file = {authority:?}\n");
    let reuse = Some(Reuse {
        jobs: 100,
        age_ms: 60_000,
    });
    let policy = Policy {
        reuse,
        ..Policy::default()
    };
    let world = World::new(&tcp, policy).await;
    for _ in 0..3 {
        assert_eq!(world.value("tls", at("localhost")).await, "echo secret");
    }
    let reason = world.reason("tls", at("other.example")).await;
    assert!(
        reason.contains("NotValidForName") || reason.contains("not valid for name"),
        "{reason}"
    );
    let reason = world.reason("tls", at("evil.example")).await;
    assert!(reason.contains("not in grants.tcp.hosts"), "{reason}");
    drop(world);
    eventually("all are closed", || server.open() == 0).await;
}
