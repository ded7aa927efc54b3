//! What a server sends is bounded before it is held.

use toril_postgres::{Error, Value};

use super::*;

/// The most memory that this process has had, in bytes.
pub(crate) fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[tokio::test]
async fn answer_beyond_the_limits_is_refused_without_being_held() {
    let (pool, _) = pool();
    let before = peak();
    for (text, reason) in [
        ("select repeat('x', 200000000)", "with a row of 2000000"),
        (
            "select repeat('x', 2000), generate_series(1, 100000000)",
            "more than 1048576 bytes",
        ),
        (
            "select generate_series(1, 100000000)",
            "more than 1000 rows",
        ),
        (
            "select 1 from generate_series(1, 1001)",
            "more than 1000 rows",
        ),
        (
            "do $$ begin raise notice '%', repeat('x', 100000000); end $$",
            "that is not a row, more than the limit of 1048576 for such a message",
        ),
        (
            "do $$ begin raise '%', repeat('x', 100000000); end $$",
            "that is not a row, more than the limit of 1048576 for such a message",
        ),
        (
            "select array_fill(1, array[300000])",
            "more than 1048576 bytes",
        ),
        (
            &format!(
                "select {}1 from generate_series(1, 900)",
                "null, ".repeat(1600)
            ),
            "more than 1048576 bytes",
        ),
        (
            &format!("select '{}'", "x".repeat(1 << 20)),
            "statement and parameters have",
        ),
    ] {
        let mut lease = pool.take(soon()).await.unwrap();
        let error = run(&mut lease, text).await.unwrap_err();
        let shown = &text[..text.len().min(60)];
        assert!(
            matches!(&error, Error::Limit(said) if said.contains(reason)),
            "{shown}: {error}"
        );
    }
    let grown = peak() - before;
    assert!(grown < 64 << 20, "{grown} bytes");
    let mut lease = pool.take(soon()).await.unwrap();
    let rows = run(
        &mut lease,
        "select repeat('x', 500) from generate_series(1, 1000)",
    )
    .await;
    assert_eq!(rows.unwrap().rows.len(), 1000);
}

#[tokio::test]
async fn more_parameters_than_postgres_takes_are_refused() {
    let (pool, _) = pool();
    let mut lease = pool.take(soon()).await.unwrap();
    let many = vec![Value::Int32(1); 40_000];
    let error = run_with(&mut lease, "select 1", &many, ALONE)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused(said) if said.contains("unnest")),
        "{error}"
    );
    assert_eq!(one(&mut lease, "select 1").await, Value::Int32(1));
}

#[tokio::test]
async fn exhausted_pool_makes_users_wait_in_line_and_then_says_so() {
    let (pool, _) = pool();
    let lease = pool.take(soon()).await.unwrap();
    let error = pool
        .take(Instant::now() + Duration::from_millis(20))
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "all 1 connections of the pool are in use (`connections_max`)"
    );
    assert!(error.is_transient());
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { one(&mut pool.take(soon()).await.unwrap(), "select 1").await }
    });
    drop(lease);
    assert_eq!(waiting.await.unwrap(), Value::Int32(1));
}
