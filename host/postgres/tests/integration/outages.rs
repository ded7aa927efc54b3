//! Servers that restart, and connections that are cut.

use toril_postgres::{Error, Value};

use super::server::{Server, eventually};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_recovers_by_itself_when_its_connections_are_cut() {
    let server = server::shared();
    let database = server.database();
    let options = PoolOptions {
        connections_max: 4,
        ..options()
    };
    let pool = pool_of(server.url(&database).parse().unwrap(), options);
    let cut = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{database}'"
    );
    // Those that nobody uses are replaced without an error.
    for _ in 0..5 {
        let mut leases = Vec::new();
        for _ in 0..4 {
            leases.push(pool.take(soon()).await.unwrap());
        }
        for lease in &mut leases {
            assert_eq!(one(lease, "select 1").await, Value::Int32(1));
        }
        drop(leases);
        server.sql("postgres", &cut);
        eventually("all are gone", || server.connections(&database) == 0);
    }
    // One whose statement is under way says so.
    let mut lease = pool.take(soon()).await.unwrap();
    let sleeping = tokio::spawn(async move { run(&mut lease, "select pg_sleep(3600)").await });
    eventually("it sleeps", || {
        server.sql("postgres", &format!("select count(*) from pg_stat_activity where datname = '{database}' and wait_event = 'PgSleep'")) == "1"
    });
    server.sql("postgres", &cut);
    let error = sleeping.await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
    let mut lease = pool.take(soon()).await.unwrap();
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_wait_while_the_server_restarts() {
    let mut server = Server::start();
    let options = PoolOptions {
        connections_max: 3,
        connect_timeout: Duration::from_secs(20),
        ..options()
    };
    let pool = pool_of(server.url("postgres").parse().unwrap(), options.clone());
    for _ in 0..2 {
        assert_eq!(
            one(&mut pool.take(soon()).await.unwrap(), "select 1").await,
            Value::Int32(1)
        );
        server.stop();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(
                    async move { one(&mut pool.take(soon()).await.unwrap(), "select 1").await },
                )
            })
            .collect();
        server.resume();
        for user in waiting {
            assert_eq!(user.await.unwrap(), Value::Int32(1));
        }
        assert!(server.connections("postgres") <= 4, "{}", server.log());
    }
    server.stop();
    let brief = PoolOptions {
        connect_timeout: Duration::from_millis(100),
        ..options
    };
    let pool = pool_of(server.url("postgres").parse().unwrap(), brief);
    let error = pool.take(soon()).await.err().unwrap();
    assert!(
        matches!(&error, Error::Unavailable(said) if said.contains("unreachable")),
        "{error}"
    );
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let server = server::shared();
    let database = server.database();
    let options = PoolOptions {
        idle: Duration::from_millis(50),
        ..options()
    };
    let pool = pool_of(server.url(&database).parse().unwrap(), options);
    for _ in 0..2 {
        run(&mut pool.take(soon()).await.unwrap(), "select 1")
            .await
            .unwrap();
        let database = database.clone();
        tokio::task::spawn_blocking(move || {
            eventually("it is closed", || server.connections(&database) == 0);
        })
        .await
        .unwrap();
        assert_eq!(pool.idle(), 0);
    }
}
