//! `grants.tcp` in a host: what its log says, and the examples. What sockets can do is tested in `host/sandbox/tests/tcp`.

mod mail;
#[path = "../../host/sandbox/tests/tcp/servers.rs"]
#[allow(dead_code, reason = "more of it is used beside the sandbox")]
mod servers;

use std::sync::atomic::Ordering;

use serde_json::json;
use tempfile::tempdir;
use toril::queue::JobState;

use self::mail::MailServer;
use self::servers::{Server, acceptor};
use crate::harness::{
    TestHost, TestRedis, add, completes, eventually, fails, queue_section, reaches,
};

const LOOPBACK: &str = "private = [\"127.0.0.0/8\", \"::1\"]\n";

#[tokio::test]
async fn connections_go_where_they_may_and_nowhere_else() {
    let redis = TestRedis::start(false).await;
    let queue = redis.queue("ring").await;
    let (granted, other, named) = (
        Server::start().await,
        Server::start().await,
        Server::start().await,
    );
    let grants = format!(
        "[queues.ring.grants.tcp]\nhosts = [\"{}\", \"localhost:{}\", \"no-such-host.invalid:1\"]\n{LOOPBACK}",
        granted.address(),
        named.port
    );
    let section = queue_section("ring", "fixture-socket", "") + &grants;
    let host = TestHost::serve(&redis, &section).await;
    let asked = |server: &str| json!({ "address": server, "line": "echo hello" });
    assert_eq!(
        completes(&queue, "ask", asked(&granted.address())).await,
        "echo hello"
    );
    let by_name = format!("localhost:{}", named.port);
    assert_eq!(
        completes(&queue, "ask", asked(&by_name)).await,
        "echo hello"
    );
    let found = completes(&queue, "look-up", json!("LOCALHOST")).await;
    assert!(
        found.as_array().unwrap().contains(&json!("127.0.0.1")),
        "{found}"
    );

    for address in [
        // The port next to it, the address of a name that this attempt did not look up, and another name for it.
        other.address(),
        named.address(),
        format!("localhost:{}", other.port),
        format!("[::1]:{}", granted.port),
        format!("127.0.0.2:{}", granted.port),
        "169.254.169.254:80".to_owned(),
    ] {
        let reason = fails(&queue, "connect", json!(address)).await;
        assert!(reason.contains("Permission denied"), "{address}: {reason}");
    }
    let mapped = format!("[::ffff:127.0.0.1]:{}", granted.port);
    fails(&queue, "connect", json!(mapped)).await;
    for name in [
        "example.com",
        "localhost.example.com",
        "no-such-host.invalid",
    ] {
        fails(&queue, "look-up", json!(name)).await;
    }
    assert_eq!(
        (
            other.all.load(Ordering::SeqCst),
            granted.all.load(Ordering::SeqCst)
        ),
        (0, 1)
    );
    let id = add(
        &queue,
        "connect",
        json!(format!("localhost:{}", other.port)),
    )
    .await;
    let said = format!(
        "connection to localhost:{} was refused: not in grants.tcp.hosts of queue ring",
        other.port
    );
    reaches(&queue, &id, JobState::Failed).await;
    // The hint is a line of its own, before the fields.
    let names_the_job = |hint: &str| {
        let id = [format!("job_id=\"{id}\""), format!("job_id={id}")];
        hint.contains("[queues.ring.grants.tcp]") && id.iter().any(|id| hint.contains(id))
    };
    let is_logged = async || {
        let log = host.log();
        let mut hints = log
            .split(&said)
            .skip(1)
            .filter_map(|rest| rest.lines().nth(1));
        hints.any(names_the_job).then_some(log)
    };
    let log = eventually("the refusal is in the log with its job", is_logged).await;
    assert!(
        log.contains("look-up of example.com was refused: not in grants.tcp.hosts of queue ring")
    );
    host.stop().await;
}

#[tokio::test]
async fn examples_ask_a_server_a_redis_and_a_mail_server() {
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let echo = Server::start().await;
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = dir.path().join("authority.pem");
    std::fs::write(&authority, certificate.cert.pem()).unwrap();
    let mail = MailServer::start(acceptor(&certificate)).await;
    let mut config = String::new();
    for (name, port, more) in [
        ("tcp-echo", echo.port, String::new()),
        ("redis-client", redis.server.port(), String::new()),
        ("send-mail", mail.port, format!("ca_file = {authority:?}\n")),
    ] {
        config += &queue_section(name, name, "");
        config += &format!(
            "[queues.{name}.grants.tcp]\nhosts = [\"localhost:{port}\"]\n{LOOPBACK}{more}"
        );
    }
    let host = TestHost::serve(&redis, &config).await;

    let asked = json!({ "server": format!("localhost:{}", echo.port), "text": "echo hello\n" });
    let answered = completes(&redis.queue("tcp-echo").await, "ask", asked).await;
    assert_eq!(answered, json!({ "answer": "echo hello\n" }));

    let visit =
        json!({ "redis": format!("redis://localhost:{}", redis.server.port()), "page": "home" });
    let visits = redis.queue("redis-client").await;
    for count in 1..4 {
        assert_eq!(
            completes(&visits, "visit", visit.clone()).await,
            json!({ "visits": count })
        );
    }

    let letters = redis.queue("send-mail").await;
    let letter = json!({
        "server": "localhost", "port": mail.port, "from": "ring@example.com", "to": "ada@example.com",
        "subject": "Your order", "text": "It is on its way.\n.\nYours"
    });
    let sent = completes(&letters, "send", letter.clone()).await;
    assert_eq!(sent, json!({ "receipt": "250 taken as 1" }));
    let mut forged = letter;
    forged["subject"] = json!("Hello\r\nBcc: eve@example.com");
    let reason = fails(&letters, "send", forged).await;
    assert_eq!(reason, "a field of the mail has more than one line");
    let mails = mail.mails.lock().unwrap().clone();
    assert_eq!(mails.len(), 1);
    let expected =
        "MAIL FROM:<ring@example.com>\r\nRCPT TO:<ada@example.com>\r\nFrom: ring@example.com\r\n";
    assert!(mails[0].starts_with(expected), "{}", mails[0]);
    assert!(
        mails[0].ends_with("\r\n\r\nIt is on its way.\r\n..\r\nYours\r\n.\r\n"),
        "{}",
        mails[0]
    );
    host.stop().await;
}
