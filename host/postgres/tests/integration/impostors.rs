//! Servers that speak as Postgres does, and say what it never would.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::limits::peak;
use super::*;

/// Longer than anything takes.
const MAX: Duration = Duration::from_secs(30);

fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).unwrap().to_be_bytes();
    [&[tag], &length[..], payload].concat()
}

/// `AuthenticationOk` and `ReadyForQuery`.
fn welcome() -> Vec<u8> {
    [message(b'R', &[0; 4]), message(b'Z', b"I")].concat()
}

/// A server that says the first thing to each startup, and the other to each statement: once, or again and again.
async fn impostor(first: Vec<u8>, then: Vec<u8>, is_endless: bool) -> Pool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let (first, then) = (first.clone(), then.clone());
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = peer.read(&mut asked).await;
                let mut sent = peer.write_all(&first).await;
                if !then.is_empty() {
                    let _ = peer.read(&mut asked).await;
                    sent = sent.and(peer.write_all(&then).await);
                }
                while is_endless && sent.is_ok() {
                    sent = peer
                        .write_all(if then.is_empty() { &first } else { &then })
                        .await;
                }
                let _ = peer.read(&mut asked).await;
            });
        }
    });
    let url = format!("postgres://a:b@127.0.0.1:{port}/c?sslmode=disable");
    let brief = PoolOptions {
        connect_timeout: Duration::from_secs(1),
        ..options()
    };
    pool_of(url.parse().unwrap(), brief)
}

fn columns(count: u16) -> Vec<u8> {
    let one = [&b"\0"[..], &[0; 18]].concat().repeat(count.into());
    message(b'T', &[&count.to_be_bytes()[..], &one].concat())
}

/// Values that are null.
fn row(count: u16) -> Vec<u8> {
    let nulls = [0xff; 4].repeat(count.into());
    message(b'D', &[&count.to_be_bytes()[..], &nulls].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_width_than_their_columns_are_refused_without_being_held() {
    let begins = [message(b'1', b""), message(b'2', b"")].concat();
    let ends = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let before = peak();
    for (what, answer, reason) in [
        (
            "fewer values",
            [columns(2), row(1), ends.clone()].concat(),
            "a value for each column",
        ),
        (
            "more values",
            [columns(1), row(2), ends.clone()].concat(),
            "a value for each column",
        ),
        (
            "no columns",
            [row(1), ends.clone()].concat(),
            "a value for each column",
        ),
        // Room for each column would be 1.7 MB a row.
        (
            "empty rows of very many columns",
            [columns(55_000), row(0).repeat(900)].concat(),
            "`bytes_max`",
        ),
        (
            "rows that say that they have more",
            [columns(2), message(b'D', &[0, 2, 0xff, 0xff, 0xff, 0xff])].concat(),
            "lost",
        ),
        (
            "rows of a negative size",
            [columns(1), vec![b'D', 0xff, 0xff, 0xff, 0xff]].concat(),
            "lost",
        ),
    ] {
        let pool = impostor(welcome(), [begins.clone(), answer].concat(), false).await;
        let mut lease = pool.take(soon()).await.unwrap();
        let error = run(&mut lease, "select 1").await.unwrap_err().to_string();
        assert!(error.contains(reason), "{what}: {error}");
        assert!(lease.is_broken(), "{what}");
    }
    assert!(peak() < before + (64 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_an_end_are_given_up_in_time() {
    let notice = message(b'N', b"Mwhatever\0\0");
    let setting = message(b'S', b"a\0b\0");
    let error = message(b'E', b"C42000\0Mno\0\0");
    for (what, more) in [
        ("notices", notice.clone()),
        ("settings", setting.clone()),
        ("errors", error),
        ("descriptions", columns(10)),
        ("notifications", message(b'A', b"\0\0\0\x01a\0b\0")),
        ("endings of nothing", message(b'C', b"SELECT 1\0")),
    ] {
        let pool = impostor(welcome(), more.repeat(100), true).await;
        let mut lease = pool.take(soon()).await.unwrap();
        let brief = Bounds {
            until: Instant::now() + Duration::from_millis(300),
            ..bounds()
        };
        let statement = Statement::new("select 1");
        let result = timeout(MAX, lease.run(statement, &[], ALONE, &brief))
            .await
            .expect(what);
        assert!(
            matches!(result, Err(Error::TimedOut(_) | Error::Limit(_))),
            "{what}: {result:?}"
        );
        drop(lease);
        // Its place is given back.
        timeout(MAX, pool.take(soon())).await.expect(what).unwrap();
    }
    // Before there is a session.
    for (what, more) in [("notices", notice), ("settings", setting)] {
        let first = [message(b'R', &[0; 4]), more.repeat(100)].concat();
        let pool = impostor(first, more.repeat(100), true).await;
        let error = timeout(MAX, pool.take(soon()))
            .await
            .expect(what)
            .err()
            .unwrap();
        assert!(matches!(error, Error::Unavailable(_)), "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_none_of_postgres_are_told_apart_at_once() {
    for first in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example ESMTP\r\n",
        b"-ERR unknown command\r\n",
        &message(b'v', b"\0\0\0\0\0\0\0\0"),
        &message(b'R', &[0, 0, 0, 99]),
        &message(b'R', &[0]),
        &message(b'S', b"no end"),
        &[b'R', 0xff, 0xff, 0xff, 0xff],
        &[b'R', 0, 0, 0, 3],
    ] {
        let pool = impostor(first.to_vec(), Vec::new(), false).await;
        let error = timeout(MAX, pool.take(soon()))
            .await
            .unwrap()
            .err()
            .unwrap();
        let said = error.to_string();
        assert!(
            said.contains("is not Postgres"),
            "{}: {said}",
            String::from_utf8_lossy(first)
        );
        assert!(!error.is_transient());
    }
}
