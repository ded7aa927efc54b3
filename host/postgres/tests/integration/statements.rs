//! Statements, values, transactions.

use toril_postgres::{Error, Isolation, Transaction, Value};

use super::*;

#[tokio::test]
async fn values_of_all_types_come_back_as_they_went() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    let text = |text: &str| text.to_owned();
    for (name, value) in [
        ("boolean", Value::Boolean(true)),
        ("smallint", Value::Int16(i16::MIN)),
        ("integer", Value::Int32(i32::MAX)),
        ("bigint", Value::Int64(i64::MIN)),
        ("real", Value::Float32(0.1)),
        ("double precision", Value::Float64(f64::INFINITY)),
        ("double precision", Value::Float64(-1.0e-300)),
        ("text", Value::Text(text("a 'b' \\ \u{1F402}"))),
        ("bytea", Value::Bytes(vec![0, 1, 255])),
        (
            "numeric",
            Value::Numeric(text("12345678901234567890.000100")),
        ),
        (
            "timestamp",
            Value::Timestamp(text("2026-11-29 14:40:00.25")),
        ),
        (
            "timestamptz",
            Value::Timestamptz(text("2026-11-29 14:40:00.25+00")),
        ),
        ("date", Value::Date(text("0044-03-15 BC"))),
        ("time", Value::Time(text("14:40:00"))),
        (
            "uuid",
            Value::Uuid(text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ),
        ("jsonb", Value::Json(text(r#"{"a": [1, null]}"#))),
        ("json", Value::Json(text(r#"{"a":1}"#))),
        ("interval", Value::Other(text("1 day 02:00:00"))),
        ("inet", Value::Other(text("10.0.0.0/8"))),
        ("boolean[]", Value::Booleans(vec![Some(true), None])),
        ("smallint[]", Value::Integers(vec![Some(1), None])),
        ("bigint[]", Value::Integers(vec![])),
        ("double precision[]", Value::Floats(vec![Some(0.5)])),
        (
            "text[]",
            Value::Texts(vec![Some(text("a,\"b\" NULL")), None]),
        ),
        (
            "uuid[]",
            Value::Texts(vec![Some(text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"))]),
        ),
        ("text", Value::Null),
    ] {
        let statement = format!("select $1::{name}");
        let rows = run_with(&mut lease, &statement, std::slice::from_ref(&value), ALONE).await;
        let rows = rows.unwrap();
        assert_eq!(rows.rows, [vec![value]], "{name}");
        assert_eq!(rows.columns[0].type_name, name);
        assert_eq!(rows.affected, 1);
    }
}

#[tokio::test]
async fn types_of_parameters_are_inferred_from_the_statement() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "create type mood as enum ('sad', 'happy')")
        .await
        .unwrap();
    run(
        &mut lease,
        "create table t (id serial primary key, n int, m mood, d jsonb, p numeric unique, b bytea)",
    )
    .await
    .unwrap();
    let parameters = [
        Value::Int64(7),
        Value::Text("happy".into()),
        Value::Text(r#"{"a":1}"#.into()),
        Value::Float64(1.5),
        Value::Bytes(vec![1]),
    ];
    let insert =
        "insert into t (n, m, d, p, b) values ($1, $2, $3, $4, $5) returning id, n, m, d, p";
    let rows = run_with(&mut lease, insert, &parameters, ALONE)
        .await
        .unwrap();
    assert_eq!(
        rows.rows[0],
        [
            Value::Int32(1),
            Value::Int32(7),
            Value::Other("happy".into()),
            Value::Json(r#"{"a": 1}"#.into()),
            Value::Numeric("1.5".into()),
        ]
    );
    let Err(Error::Server(error)) = run_with(&mut lease, insert, &parameters, ALONE).await else {
        panic!("a second one was added");
    };
    assert_eq!(
        (error.code.as_str(), error.constraint.as_deref()),
        ("23505", Some("t_p_key"))
    );
    assert!(!error.is_transient());
    let none = run(&mut lease, "delete from t where n > 100")
        .await
        .unwrap();
    assert_eq!((none.affected, none.columns.len()), (0, 0));
    assert_eq!(run(&mut lease, "").await.unwrap().rows.len(), 0);
}

#[tokio::test]
async fn statement_is_prepared_once_and_anew_when_its_table_changes() {
    let (pool, database) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "create table t (a int)").await.unwrap();
    drop(lease);
    let mut lease = pool.take(soon()).await.unwrap();
    // As a view it is read without a reset before it.
    server::shared().sql(
        &database,
        "create view prepared as select statement from pg_prepared_statements",
    );
    let count = "select count(*) from prepared where statement = 'select * from t'";
    for _ in 0..3 {
        run(&mut lease, "select * from t").await.unwrap();
        drop(lease);
        lease = pool.take(soon()).await.unwrap();
    }
    assert_eq!(one(&mut lease, count).await, Value::Int64(1));
    drop(lease);
    // Another session, so that this one keeps what it prepared.
    server::shared().sql(&database, "alter table t add b int");
    let mut lease = pool.take(soon()).await.unwrap();
    let rows = run(&mut lease, "select * from t").await.unwrap();
    assert_eq!(rows.columns.len(), 2);
    // Within a transaction the statement fails, and the next transaction prepares it anew.
    drop(lease);
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "select * from t").await.unwrap();
    server::shared().sql(&database, "alter table t add c int");
    let begin = Transaction::Begins {
        isolation: Isolation::default(),
        read_only: false,
    };
    run_with(&mut lease, "select 1", &[], begin).await.unwrap();
    assert_eq!(
        code(run_with(&mut lease, "select * from t", &[], Transaction::GoesOn).await),
        "0A000"
    );
    lease.roll_back(soon()).await.unwrap();
    run_with(&mut lease, "select 1", &[], begin).await.unwrap();
    let rows = run_with(&mut lease, "select * from t", &[], Transaction::GoesOn)
        .await
        .unwrap();
    assert_eq!(rows.columns.len(), 3);
}

#[tokio::test]
async fn session_keeps_a_bounded_number_of_statements() {
    let (pool, database) = pool();
    server::shared().sql(
        &database,
        "create view prepared as select statement from pg_prepared_statements",
    );
    let mut lease = pool.take(soon()).await.unwrap();
    for number in 0..300 {
        run(&mut lease, &format!("select {number}")).await.unwrap();
    }
    let kept = one(&mut lease, "select count(*) from prepared").await;
    // The one that asks is not counted yet.
    assert!(matches!(kept, Value::Int64(99..=100)), "{kept:?}");
}

#[tokio::test]
async fn transaction_is_carried_out_whole_or_not_at_all() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "create table t (a int primary key)")
        .await
        .unwrap();
    let begin = Transaction::Begins {
        isolation: Isolation::Serializable,
        read_only: false,
    };
    let level = run_with(&mut lease, "show transaction_isolation", &[], begin)
        .await
        .unwrap();
    assert_eq!(level.rows[0][0], Value::Text("serializable".into()));
    run_with(
        &mut lease,
        "insert into t values (1)",
        &[],
        Transaction::GoesOn,
    )
    .await
    .unwrap();
    lease.commit(soon()).await.unwrap();
    run_with(&mut lease, "insert into t values (2)", &[], begin)
        .await
        .unwrap();
    let twice = run_with(
        &mut lease,
        "insert into t values (2)",
        &[],
        Transaction::GoesOn,
    )
    .await;
    assert_eq!(code(twice), "23505");
    let after = run_with(&mut lease, "select 1", &[], Transaction::GoesOn).await;
    assert_eq!(code(after), "25P02");
    let error = lease.commit(soon()).await.unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    assert_eq!(
        one(&mut lease, "select count(*) from t").await,
        Value::Int64(1)
    );
    let outside = run_with(&mut lease, "select 1", &[], Transaction::GoesOn).await;
    assert!(matches!(outside, Err(Error::Refused(_))));
}

#[tokio::test]
async fn read_only_cannot_be_undone() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "create table t (a int)").await.unwrap();
    run(&mut lease, "create procedure p() language plpgsql as $$ begin commit; insert into t values (1); end $$").await.unwrap();
    run(&mut lease, "create function f() returns int language plpgsql as $$ begin
        perform set_config('transaction_read_only', 'off', false); insert into t values (1); return 1; end $$").await.unwrap();
    let alone = Transaction::Alone { read_only: true };
    for text in [
        "insert into t values (1)",
        "set transaction read write",
        "set local transaction_read_only = off",
        "select set_config('transaction_read_only', 'off', false)",
        "select set_config('transaction_read_only', 'off', true)",
        "select f()",
        "call p()",
        "do $$ begin execute 'set transaction read write'; insert into t values (1); end $$",
        "create table u (a int)",
        "with x as (insert into t values (1) returning a) select * from x",
    ] {
        let result = run_with(&mut lease, text, &[], alone).await;
        assert!(
            matches!(result, Err(Error::Server(_))),
            "{text}: {result:?}"
        );
        let begin = Transaction::Begins {
            isolation: Isolation::ReadCommitted,
            read_only: true,
        };
        let result = run_with(&mut lease, text, &[], begin).await;
        assert!(
            matches!(result, Err(Error::Server(_))),
            "{text}: {result:?}"
        );
        lease.roll_back(soon()).await.unwrap();
    }
    // What can be set is for transactions that do not begin with `BEGIN READ ONLY`.
    run_with(
        &mut lease,
        "set default_transaction_read_only = off",
        &[],
        alone,
    )
    .await
    .unwrap();
    run_with(
        &mut lease,
        "set session characteristics as transaction read write",
        &[],
        alone,
    )
    .await
    .unwrap();
    let result = run_with(&mut lease, "insert into t values (1)", &[], alone).await;
    assert_eq!(code(result), "25006");
    assert_eq!(
        one(&mut lease, "select count(*) from t").await,
        Value::Int64(0)
    );
    let read = run_with(&mut lease, "select count(*) from t", &[], alone)
        .await
        .unwrap();
    assert_eq!(
        (read.rows[0][0].clone(), lease.in_transaction()),
        (Value::Int64(0), false)
    );
}

#[tokio::test]
async fn what_has_no_place_here_is_refused_and_the_session_goes_on() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    for (text, reason) in [
        ("copy pg_class to stdout", "COPY"),
        ("/* */ Copy t from stdin", "COPY"),
        ("listen a", "LISTEN"),
        ("begin", "`begin`"),
        ("commit", "`begin`"),
        ("rollback and chain", "`begin`"),
        ("select '\0'", "NUL"),
    ] {
        let error = run(&mut lease, text).await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(said) if said.contains(reason)),
            "{text}: {error}"
        );
    }
    // One statement for each call.
    assert_eq!(
        code(run(&mut lease, "select 1; drop table t").await),
        "42601"
    );
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
}

#[tokio::test]
async fn tls_is_verified() {
    let server = server::shared();
    let verified = server.url("postgres").replace("disable", "require");
    let authority = std::fs::read(server.ca_file()).unwrap();
    let pool = pool_trusting(verified.parse().unwrap(), options(), &authority);
    let mut lease = pool.take(soon()).await.unwrap();
    let encrypted = one(
        &mut lease,
        "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
    )
    .await;
    assert_eq!(encrypted, Value::Boolean(true));
    // The certificate must be for this name, and of an authority that is trusted.
    let other_name = verified.replace("@localhost", "@127.0.0.1");
    for (url, authorities) in [(other_name, &*authority), (verified, &[])] {
        let pool = pool_trusting(url.parse().unwrap(), options(), authorities);
        let error = pool.take(soon()).await.err().unwrap();
        assert!(
            matches!(&error, Error::Refused(said) if said.contains("certificate")),
            "{error}"
        );
        // Where it is, is the operator's.
        let said = error.to_string();
        assert!(
            !said.contains("localhost") && !said.contains("127.0.0.1"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn refused_connection_names_neither_user_nor_password() {
    let server = server::shared();
    for url in [
        server.url_of("stranger", "postgres"),
        server.url("nowhere"),
        server.url("postgres").replace("pass%2F", "wrong"),
        server.url("postgres").replace(":pass%2Fword%231", ""),
    ] {
        let pool = pool_of(url.parse().unwrap(), options());
        let error = pool.take(soon()).await.err().unwrap();
        let said = error.to_string();
        assert!(matches!(error, Error::Refused(_)), "{said}");
        for secret in ["stranger", "nowhere", "word", "toril:"] {
            assert!(
                secret == "word" && said.contains("password,") || !said.contains(secret),
                "{said}"
            );
        }
    }
}
