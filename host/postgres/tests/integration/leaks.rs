//! Nothing of a session reaches its next user.

use toril_postgres::{Error, Isolation, Transaction, Value};

use super::server::eventually;
use super::*;

const SET_TENANT: &str = "create function set_tenant(name text) returns text language sql as $$ select set_config('app.tenant', name, false) $$";

async fn backend(lease: &mut Lease) -> Value {
    one(lease, "select pg_backend_pid()").await
}

/// What a user can see of what others left in the session.
const STATE: &str = "select current_user, current_setting('search_path') as path, coalesce(current_setting('app.tenant', true), '') as tenant,
    current_setting('statement_timeout') as timeout, current_setting('TimeZone') = current_setting('app.zone', true) as zone,
    (select count(*) from pg_prepared_statements where name = 'mine') as prepared, (select count(*) from pg_cursors where name = 'c') as cursors,
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
    to_regclass('pg_temp.own') is null as own, current_setting('standard_conforming_strings') as strings, current_setting('bytea_output') as output,
    current_setting('row_security') as security, current_setting('transaction_read_only') as access";

#[tokio::test]
async fn nothing_of_a_session_reaches_its_next_user() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(
        &mut lease,
        "do $$ begin create role other; exception when duplicate_object then null; end $$",
    )
    .await
    .unwrap();
    run(&mut lease, SET_TENANT).await.unwrap();
    // As a view it is read without a reset before it.
    run(&mut lease, &format!("create view state as {STATE}"))
        .await
        .unwrap();
    drop(lease);
    let mut lease = pool.take(soon()).await.unwrap();
    let first = backend(&mut lease).await;
    let clean = run(&mut lease, "select * from public.state")
        .await
        .unwrap()
        .rows;
    drop(lease);
    for text in [
        "set role other",
        "set session authorization other",
        "set search_path = pg_temp",
        "set statement_timeout = 99999",
        "set standard_conforming_strings = off",
        "set bytea_output = 'escape'",
        "set client_encoding = 'LATIN1'",
        "set row_security = off",
        "set session characteristics as transaction read only",
        "select set_config('app.tenant', 'a', false)",
        "select set_tenant('a')",
        "select \"set_tenant\"/**/('a')",
        "update pg_settings set setting = 'pg_temp' where name = 'search_path'",
        "do $$ begin perform set_config('app.tenant', 'a', false); end $$",
        "select pg_advisory_lock(7)",
        "select pg_try_advisory_lock_shared(7)",
        "create temp table own (a int)",
        "select 1 as a into temp own",
        "prepare mine as select 1",
        "declare c cursor with hold for select 1",
        "deallocate all",
        "discard all",
    ] {
        let mut lease = pool.take(soon()).await.unwrap();
        run(&mut lease, text).await.unwrap();
        drop(lease);
        let mut lease = pool.take(soon()).await.unwrap();
        let found = run(&mut lease, "select * from public.state")
            .await
            .unwrap()
            .rows;
        assert_eq!(found, clean, "{text}");
        assert_eq!(
            backend(&mut lease).await,
            first,
            "{text}: the connection was closed"
        );
    }
}

#[tokio::test]
async fn what_a_user_prepares_under_our_names_is_not_run_for_the_next_one() {
    let (pool, database) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
    // As a view it is read without a reset before it.
    server::shared().sql(
        &database,
        "create view names as select name from pg_prepared_statements",
    );
    let names = run(&mut lease, "select name from names").await.unwrap();
    for row in &names.rows {
        let Value::Text(name) = &row[0] else { panic!() };
        // The first one resets the session, so that there is none of that name.
        let _ = run(&mut lease, &format!("deallocate {name}")).await;
        run(&mut lease, &format!("prepare {name} as select 666"))
            .await
            .unwrap();
    }
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
    drop(lease);
    let mut lease = pool.take(soon()).await.unwrap();
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
}

#[tokio::test]
async fn plain_statements_cost_no_reset() {
    let (pool, database) = pool();
    let server = server::shared();
    server.sql(&database, "create table t (id serial primary key, a text)");
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "insert into t (a) values ('x') returning id")
        .await
        .unwrap();
    assert!(!lease.is_touched());
    drop(lease);
    // It is there at once: nobody resets it.
    assert_eq!(pool.idle(), 1);
}

#[tokio::test]
async fn transaction_that_is_left_open_is_rolled_back() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "create table t (a int)").await.unwrap();
    for _ in 0..20 {
        let begin = Transaction::Begins {
            isolation: Isolation::default(),
            read_only: false,
        };
        run_with(&mut lease, "insert into t values (1)", &[], begin)
            .await
            .unwrap();
        drop(lease);
        lease = pool.take(soon()).await.unwrap();
        assert!(!lease.in_transaction());
    }
    assert_eq!(
        one(&mut lease, "select count(*) from t").await,
        Value::Int64(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_left_locked_is_free_before_anybody_comes() {
    let (pool, database) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    run(&mut lease, "select pg_advisory_lock(42)")
        .await
        .unwrap();
    drop(lease);
    let server = server::shared();
    eventually("the lock is free", || {
        server.sql(&database, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())") == "0"
    });
}

#[tokio::test]
async fn statement_whose_user_is_gone_is_cancelled_at_the_server() {
    let (pool, database) = pool();
    let server = server::shared();
    for _ in 0..5 {
        let mut lease = pool.take(soon()).await.unwrap();
        let sleeping = tokio::time::timeout(
            Duration::from_millis(50),
            run(&mut lease, "select pg_sleep(3600)"),
        );
        assert!(sleeping.await.is_err());
        assert!(lease.is_broken());
        drop(lease);
    }
    // Once the last one is gone, its place is free.
    let mut lease = pool.take(soon()).await.unwrap();
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
    tokio::task::spawn_blocking(move || {
        eventually("no statement goes on", || {
            server.connections(&database) == 1
        });
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn statement_that_takes_too_long_is_cancelled_and_the_session_goes_on() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    let first = backend(&mut lease).await;
    let bounds = Bounds {
        until: Instant::now() + Duration::from_millis(500),
        ..bounds()
    };
    let late = lease
        .run(Statement::new("select pg_sleep(3600)"), &[], ALONE, &bounds)
        .await;
    // It began some time later.
    assert!(matches!(late, Err(Error::TimedOut(250..=500))), "{late:?}");
    assert_eq!(backend(&mut lease).await, first);
}

#[tokio::test]
async fn nothing_grows_however_sessions_are_left() {
    let server = server::shared();
    let database = server.database();
    let options = PoolOptions {
        connections_max: 4,
        ..options()
    };
    let pool = pool_of(server.url(&database).parse().unwrap(), options);
    let mut users = Vec::new();
    for user in 0..8_u64 {
        let pool = pool.clone();
        users.push(tokio::spawn(async move {
            for round in 0..100_u64 {
                let mut lease = pool.take(soon()).await.unwrap();
                let begin = Transaction::Begins {
                    isolation: Isolation::default(),
                    read_only: false,
                };
                match (user + round) % 5 {
                    0 => drop(run(&mut lease, "select 1").await.unwrap()),
                    1 => drop(run(&mut lease, "set search_path = a").await.unwrap()),
                    2 => drop(run_with(&mut lease, "select 1", &[], begin).await.unwrap()),
                    3 => drop(run(&mut lease, "select nonsense").await.unwrap_err()),
                    _ => {
                        let cut = run(&mut lease, "select pg_sleep(3600)");
                        assert!(
                            tokio::time::timeout(Duration::from_millis(1), cut)
                                .await
                                .is_err()
                        );
                    }
                }
            }
        }));
    }
    for user in users {
        user.await.unwrap();
    }
    let mut lease = pool.take(soon()).await.unwrap();
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
    drop((lease, pool));
    tokio::task::spawn_blocking(move || {
        eventually("all connections are closed", || {
            server.connections(&database) == 0
        });
    })
    .await
    .unwrap();
}
