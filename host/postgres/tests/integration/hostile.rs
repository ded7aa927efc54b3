//! Statements that seem to be others than they are, and servers that are none.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use toril_postgres::{Error, Isolation, Kind, Transaction, Value};

use super::*;

const BEGIN: Transaction = Transaction::Begins {
    isolation: Isolation::ReadCommitted,
    read_only: false,
};

/// Shows what the session has, in words that the host does not know.
const SEEN: &str =
    "create view seen as select (select count(*) from pg_prepared_statements) as prepared,
    coalesce(current_setting('my.a', true), '') as setting, pg_backend_pid() as backend";

#[tokio::test]
async fn transactions_are_not_ended_by_statements_however_they_are_written() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, "create table t (a int)");
    for text in [
        ";commit and chain",
        "--\rcommit and chain\n",
        ";rollback and chain",
        " ; ;rollback",
        "rollback /**/ ; -- to",
        ";begin",
        "--\rbegin\n",
        "--\rstart transaction read write\n",
        "--\rlisten x\n",
        "--\rcopy t to stdout\n",
        "--\rprepare transaction 'x'\n",
    ] {
        for (read_only, begins) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut lease = pool.take(soon()).await.unwrap();
            let transaction = match begins {
                true => Transaction::Begins {
                    isolation: Isolation::ReadCommitted,
                    read_only,
                },
                false => Transaction::Alone { read_only },
            };
            let result = run_with(&mut lease, text, &[], transaction).await;
            assert!(
                matches!(result, Err(Error::Refused(_) | Error::Server(_))),
                "{text}: {result:?}"
            );
            if begins && lease.in_transaction() && !lease.is_broken() {
                let set = "set transaction read write";
                let _ = run_with(&mut lease, set, &[], Transaction::GoesOn).await;
                let add = "insert into t values (1)";
                let added = run_with(&mut lease, add, &[], Transaction::GoesOn).await;
                assert!(added.is_err(), "{text}");
            }
        }
    }
    assert_eq!(server.sql(&database, "select count(*) from t"), "0");
    // Savepoints are answered alike.
    let mut lease = pool.take(soon()).await.unwrap();
    run_with(&mut lease, "savepoint a", &[], BEGIN)
        .await
        .unwrap();
    for text in ["rollback to a", ";rollback work to savepoint a"] {
        run_with(&mut lease, text, &[], Transaction::GoesOn)
            .await
            .unwrap();
    }
    lease.commit(soon()).await.unwrap();
}

#[tokio::test]
async fn statements_that_fail_leave_no_more_at_the_server_than_others() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, "create table t (a int unique)");
    server.sql(&database, SEEN);
    let mut lease = pool.take(soon()).await.unwrap();
    let add = "insert into t values ($1) returning a";
    for round in 0..300 {
        let value = [Value::Int32(round / 150)];
        let result = run_with(&mut lease, add, &value, ALONE).await;
        match round % 150 {
            0 => assert_eq!(result.unwrap().rows, [value]),
            _ => assert_eq!(code(result), "23505"),
        }
    }
    // Prepared by one that fails before its columns are known.
    let text = "select a, $1::int from t where a = 0";
    let none = run_with(&mut lease, text, &[Value::Text("x".into())], ALONE).await;
    assert_eq!(code(none), "22P02");
    for _ in 0..3 {
        let rows = run_with(&mut lease, text, &[Value::Int32(5)], ALONE).await;
        let rows = rows.unwrap();
        assert_eq!(rows.columns[0].name, "a");
        assert_eq!(rows.rows, [[Value::Int32(0), Value::Int32(5)]]);
    }
    let prepared = one(&mut lease, "select prepared from seen").await;
    assert!(matches!(prepared, Value::Int64(2..=3)), "{prepared:?}");
    for number in 0..300 {
        let text = format!("insert into t select {number} from t");
        assert!(run(&mut lease, &text).await.is_err());
    }
    let prepared = one(&mut lease, "select prepared from seen").await;
    assert!(matches!(prepared, Value::Int64(..=101)), "{prepared:?}");
}

#[tokio::test]
async fn text_that_hides_a_call_hides_no_state() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, SEEN);
    server.sql(
        "postgres",
        "create role relaxed login superuser password 'pass/word#1'",
    );
    server.sql(
        "postgres",
        "alter role relaxed set standard_conforming_strings = off",
    );
    let url = server.url_of("relaxed", &database);
    let relaxed = pool_of(url.parse().unwrap(), options());
    for (pool, text) in [
        (&pool, "select 1 --\r, set_config('my.a','x',false)\n"),
        (
            &pool,
            "select E'a'\n'\\'', set_config('my.a','x',false), ''",
        ),
        (
            &pool,
            "select 1 as \u{a0}$a$, set_config('my.a','x',false) -- $a$",
        ),
        (&relaxed, "select 'a\\'', set_config('my.a','x',false), 'b'"),
    ] {
        let mut lease = pool.take(soon()).await.unwrap();
        let _ = run(&mut lease, text).await;
        drop(lease);
        let mut lease = pool.take(soon()).await.unwrap();
        let left = one(&mut lease, "select setting from seen").await;
        assert_eq!(left, Value::Text(String::new()), "{text}");
    }
}

#[tokio::test]
async fn what_others_did_is_not_seen() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, "create table t (id serial, a text)");
    let others = async || {
        let mut lease = pool.take(soon()).await.unwrap();
        run(&mut lease, "insert into t (a) values ('secret')")
            .await
            .unwrap();
    };
    for text in ["select lastval()", "select currval('t_id_seq')"] {
        others().await;
        let mut lease = pool.take(soon()).await.unwrap();
        assert_eq!(code(run(&mut lease, text).await), "55000", "{text}");
        drop(lease);
        // Nor within a transaction, which sees its own.
        others().await;
        let mut lease = pool.take(soon()).await.unwrap();
        run_with(&mut lease, "select 1", &[], BEGIN).await.unwrap();
        let none = run_with(&mut lease, text, &[], Transaction::GoesOn).await;
        assert_eq!(code(none), "55000", "{text}");
        drop(lease);
        let mut lease = pool.take(soon()).await.unwrap();
        run_with(&mut lease, "insert into t default values", &[], BEGIN)
            .await
            .unwrap();
        let own = run_with(&mut lease, text, &[], Transaction::GoesOn).await;
        assert_eq!(own.unwrap().rows.len(), 1, "{text}");
    }
    let prepared = "select statement from pg_prepared_statements";
    for transaction in [ALONE, BEGIN] {
        others().await;
        let mut lease = pool.take(soon()).await.unwrap();
        let seen = run_with(&mut lease, prepared, &[], transaction).await;
        assert!(seen.unwrap().rows.is_empty());
    }
    others().await;
    let mut lease = pool.take(soon()).await.unwrap();
    run_with(&mut lease, "select 1", &[], BEGIN).await.unwrap();
    let seen = run_with(&mut lease, prepared, &[], Transaction::GoesOn).await;
    assert!(seen.unwrap().rows.is_empty());
}

#[tokio::test]
async fn what_no_reset_removes_is_not_left() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, SEEN);
    server.sql(
        &database,
        "create view drawn as select random() as a, random() as b",
    );
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let mut lease = pool.take(soon()).await.unwrap();
        run(&mut lease, "select setseed(0.5)").await.unwrap();
        drop(lease);
        let mut lease = pool.take(soon()).await.unwrap();
        drawn.push(run(&mut lease, "select * from drawn").await.unwrap().rows);
    }
    assert_ne!(drawn[0], drawn[1]);
    // Named as it is, whatever it does.
    server.sql(
        &database,
        "create function dblink_connect(text) returns text language sql as 'select $1'",
    );
    let mut lease = pool.take(soon()).await.unwrap();
    let backend = one(&mut lease, "select backend from seen").await;
    run(&mut lease, "select dblink_connect('a')").await.unwrap();
    drop(lease);
    let mut lease = pool.take(soon()).await.unwrap();
    assert_ne!(one(&mut lease, "select backend from seen").await, backend);
}

#[tokio::test]
async fn statement_that_fails_of_its_own_will_is_run_once() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, "create sequence runs");
    server.sql(
        &database,
        "create function fail() returns int language plpgsql as $$ begin
            perform nextval('runs'); raise 'no' using errcode = '26000'; end $$",
    );
    server.sql(&database, "create view failing as select fail()");
    let mut lease = pool.take(soon()).await.unwrap();
    for runs in 1..=3 {
        for text in ["select * from failing", "select fail()"] {
            assert_eq!(code(run(&mut lease, text).await), "26000");
        }
        let count = server.sql(&database, "select last_value from runs");
        assert_eq!(count, (runs * 2).to_string());
        drop(lease);
        lease = pool.take(soon()).await.unwrap();
    }
    let text = "do $$ begin raise 'no' using errcode = '08P01'; end $$";
    assert!(!run(&mut lease, text).await.unwrap_err().is_transient());
}

/// Something that asks for a password as Postgres does, and then for the work of a lifetime.
async fn slow_server(iterations: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let message = |kind: u32, text: &str| {
            let mut said = vec![b'R'];
            said.extend((8 + text.len() as u32).to_be_bytes());
            said.extend(kind.to_be_bytes());
            said.extend(text.as_bytes());
            said
        };
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4096];
        assert!(peer.read(&mut asked).await.unwrap() > 0);
        peer.write_all(&message(10, "SCRAM-SHA-256\0\0"))
            .await
            .unwrap();
        let length = peer.read(&mut asked).await.unwrap();
        let text = String::from_utf8_lossy(&asked[..length]).into_owned();
        let nonce = text.rsplit("r=").next().unwrap();
        let challenge = format!("r={nonce}abc,s=c2FsdA==,i={iterations}");
        peer.write_all(&message(11, &challenge)).await.unwrap();
        let _ = peer.read(&mut asked).await;
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_cannot_make_us_compute_for_ever() {
    for (iterations, reason) in [
        (4_000_000_000, "1000000"),
        (1_000_001, "1000000"),
        (4_096, "lost"),
    ] {
        let port = slow_server(iterations).await;
        let url = format!("postgres://a:b@127.0.0.1:{port}/c?sslmode=disable");
        let brief = PoolOptions {
            connect_timeout: Duration::from_secs(2),
            ..options()
        };
        let pool = pool_of(url.parse().unwrap(), brief);
        let error = pool.take(soon()).await.err().unwrap();
        let is_refused = matches!(&error, Error::Refused(said) if said.contains(reason));
        assert_eq!(is_refused, reason != "lost", "{iterations}: {error}");
    }
}

#[tokio::test]
async fn what_the_server_says_it_did_counts_whatever_the_text_seemed_to_be() {
    let (pool, _) = pool();
    for text in [
        "begin",
        "start transaction",
        "commit",
        "commit and chain",
        "rollback",
        "rollback and chain",
        "listen x",
    ] {
        for transaction in [ALONE, Transaction::Alone { read_only: true }, BEGIN] {
            let mut lease = pool.take(soon()).await.unwrap();
            let statement = Statement {
                text,
                kind: Kind::Touching,
            };
            let result = lease.run(statement, &[], transaction, &bounds()).await;
            match result {
                Err(Error::Refused(_)) => assert!(lease.is_broken(), "{text}"),
                // There is no transaction to chain to.
                Err(Error::Server(error)) => assert_eq!(error.code, "25P01", "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
    let mut lease = pool.take(soon()).await.unwrap();
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
}
