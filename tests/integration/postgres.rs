//! `grants.postgres`: guests and a real Postgres. What sessions and pools do is tested in `host/postgres`.

#[path = "../../host/postgres/tests/integration/server.rs"]
pub(crate) mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::tempdir;
use toril::queue::{JobState, Queue};
use toril::sandbox::recording::Recording;
use toril::sandbox::{Engine, EngineOptions};

use crate::harness::{TestHost, TestRedis, add, eventually, new_job, processor, reaches};
use server::{PASSWORD, Server, shared};

/// A host whose queue `ring` has the database, with more settings of the grant.
struct Ring {
    _redis: TestRedis,
    queue: Queue,
    host: TestHost,
    database: String,
    _dir: tempfile::TempDir,
}

impl Ring {
    async fn start(server: &Server, more: &str, settings: &str) -> Self {
        Self::start_in(server, &server.database(), more, settings).await
    }

    async fn start_in(server: &Server, database: &str, more: &str, settings: &str) -> Self {
        let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
        let queue = redis.queue("ring").await;
        let file = dir.path().join("url");
        std::fs::write(&file, server.url(database) + "\n").unwrap();
        let section = format!(
            "{settings}\n[queues.ring.grants.postgres.main]\nurl = {{ file = {file:?} }}\n{more}\n"
        );
        let host = TestHost::serve_queue(&redis, "ring", "fixture-postgres", &section).await;
        let database = database.to_owned();
        Ring {
            _redis: redis,
            queue,
            host,
            database,
            _dir: dir,
        }
    }

    async fn completes(&self, name: &str, data: Value) -> Value {
        let id = add(&self.queue, name, data).await;
        let job = reaches(&self.queue, &id, JobState::Completed).await;
        serde_json::from_str(job["returnvalue"].as_str().unwrap()).unwrap()
    }

    async fn query(&self, statement: &str) -> Value {
        self.completes("query", json!(statement)).await
    }

    async fn fails(&self, name: &str, data: Value) -> String {
        let id = add(&self.queue, name, data).await;
        let job = reaches(&self.queue, &id, JobState::Failed).await;
        job["failedReason"].as_str().unwrap().to_owned()
    }

    async fn stop(self) {
        assert!(!self.host.log().contains("pass"), "{}", self.host.log());
        self.host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_a_guest_reach_the_database_and_no_further() {
    let server = shared();
    let ring = Ring::start(
        server,
        "rows_max = 100\nbytes_max = 100_000\nstatements_max = 50",
        "",
    )
    .await;
    let row = ring.completes("any", json!(null)).await;
    assert_eq!(
        row,
        json!([{ "id": 7, "name": "x", "price": 2.5, "tags": ["a", "b,c"], "extra": { "deep": [1, 2] }, "none": null }])
    );
    ring.query("create table t (a int primary key)").await;
    assert_eq!(
        ring.completes("commit", json!("insert into t values (1)"))
            .await,
        "committed"
    );
    let reason = ring.fails("trap-inside", json!("insert into t values (2)"));
    let reason = reason.await;
    assert!(reason.ends_with("inside a transaction"), "{reason}");
    assert_eq!(
        ring.completes("left-open", json!("insert into t values (3) returning a"))
            .await,
        json!([[3]])
    );
    assert_eq!(ring.query("select a from t").await, json!([[1]]));
    for (statement, said) in [
        (
            "select repeat('x', 200000000)",
            "limit: Postgres answered with a row of 2000000",
        ),
        (
            "select generate_series(1, 101)",
            "limit: answer has more than 100 rows",
        ),
        ("copy t to stdout", "refused: COPY"),
        ("copy t from stdin", "refused: COPY"),
        ("listen a", "refused: LISTEN"),
        (
            "begin",
            "refused: a statement must not begin or end a transaction",
        ),
        (
            "insert into t values (1)",
            "server: duplicate key value violates unique constraint \"t_pkey\" (SQLSTATE 23505)",
        ),
        (
            "select nonsense",
            "server: column \"nonsense\" does not exist (SQLSTATE 42703)",
        ),
    ] {
        let answer = ring.query(statement).await;
        assert!(
            answer.as_str().unwrap().starts_with(said),
            "{statement}: {answer}"
        );
    }
    assert_eq!(
        ring.completes("flood", json!(null)).await,
        "limit: processor exceeded its limit of 50 statements (`statements_max`)"
    );
    assert_eq!(
        ring.completes("hoard", json!(null)).await,
        json!([
            2,
            "limit: processor already holds 2 connections to this database, which is its limit (`attempt_connections_max`)"
        ])
    );
    ring.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_job_reaches_the_next_one() {
    let server = shared();
    // Also where both run in the same instance.
    for settings in ["concurrency = 1", "concurrency = 1\nreuse = { jobs = 100 }"] {
        let ring = Ring::start(server, "connections_max = 1", settings).await;
        ring.query("create table t (a int)").await;
        server.sql(
            "postgres",
            "do $$ begin create role other; exception when duplicate_object then null; end $$",
        );
        let backend = ring.query("select pg_backend_pid()").await;
        for (leaves, sees, kept) in [
            ("set role other", "select current_user::text", "other"),
            (
                "set search_path = pg_temp",
                "select current_setting('search_path')",
                "pg_temp",
            ),
            (
                "select set_config('app.a', 'x', false)",
                "select coalesce(current_setting('app.a', true), '')",
                "x",
            ),
            (
                "select pg_advisory_lock(7)",
                "select count(*)::text from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
                "1",
            ),
            (
                "create temp table own (a int)",
                "select coalesce(to_regclass('pg_temp.own')::text, '')",
                "own",
            ),
        ] {
            let clean = ring.query(sees).await;
            let seen = ring.completes("session", json!([leaves, sees])).await;
            assert!(seen[1].to_string().contains(kept), "{leaves}: {seen}");
            assert_eq!(ring.query(sees).await, clean, "{leaves}");
            ring.completes("left-open", json!(leaves)).await;
            assert_eq!(ring.query(sees).await, clean, "{leaves} in a transaction");
        }
        assert_eq!(ring.query("select pg_backend_pid()").await, backend);
        ring.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_only_stays_so() {
    let server = shared();
    let database = server.database();
    server.sql(&database, "create table t (a int)");
    let ring = Ring::start_in(server, &database, "read_only = true", "").await;
    for statement in [
        "insert into t values (1)",
        "set transaction read write",
        "select set_config('transaction_read_only', 'off', false)",
    ] {
        let answer = ring.query(statement).await;
        assert!(
            answer.as_str().unwrap().starts_with("server: "),
            "{statement}: {answer}"
        );
    }
    ring.fails("commit", json!("insert into t values (1)"))
        .await;
    let answers = [
        "set default_transaction_read_only = off",
        "insert into t values (1)",
    ];
    let answer = ring.completes("session", json!(answers)).await;
    assert!(answer[1].to_string().contains("25006"), "{answer}");
    assert_eq!(ring.query("select count(*) from t").await, json!([[0]]));
    ring.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_ends_with_its_attempt_or_its_own_time() {
    let server = shared();
    let ring = Ring::start(
        server,
        "statement_timeout_ms = 1000\nconnections_max = 1",
        "",
    )
    .await;
    let answer = ring.query("select pg_sleep(3600)").await;
    assert!(
        answer
            .as_str()
            .unwrap()
            .starts_with("timed out: statement took longer than"),
        "{answer}"
    );
    ring.stop().await;

    let ring = Ring::start(server, "connections_max = 1", "").await;
    // Of this job alone: the next one may have to wait for another connection.
    let options = json!({ "timeout": 400 });
    let job = new_job("query", json!("select pg_sleep(3600)"), options);
    let id = ring.queue.add(&job).await.unwrap();
    let job = reaches(&ring.queue, &id, JobState::Failed).await;
    let reason = job["failedReason"].as_str().unwrap();
    assert!(
        reason.contains("time limit of 400 ms") || reason.contains("timed out"),
        "{reason}"
    );
    // The only connection is there for the next job, and no statement goes on.
    assert_eq!(ring.query("select 1").await, json!([[1]]));
    let database = ring.database.clone();
    let sleeping = format!(
        "select count(*) from pg_stat_activity where datname = '{database}' and wait_event = 'PgSleep'"
    );
    tokio::task::spawn_blocking(move || {
        server::eventually("no statement goes on", || {
            server.sql("postgres", &sleeping) == "0"
        });
    })
    .await
    .unwrap();
    ring.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_connections_and_are_told_when_there_is_none() {
    let server = shared();
    let ring = Ring::start(server, "connections_max = 2", "concurrency = 20").await;
    let short: Vec<Value> = futures_of(20, |_| ring.query("select pg_sleep(0.05), 1")).await;
    assert!(short.iter().all(|answer| answer[0][1] == 1), "{short:?}");
    assert!(server.connections(&ring.database) <= 2);
    ring.stop().await;

    // Nobody waits longer than a statement may take.
    let ring = Ring::start(
        server,
        "connections_max = 2\nstatement_timeout_ms = 1000",
        "concurrency = 20",
    )
    .await;
    let long = futures_of(6, |_| ring.query("select pg_sleep(0.95), 1")).await;
    let exhausted = "exhausted: all 2 connections of the pool are in use (`connections_max`)";
    assert!(long.iter().any(|answer| answer == exhausted), "{long:?}");
    assert!(server.connections(&ring.database) <= 2);
    ring.stop().await;
}

async fn futures_of<F: Future<Output = Value>>(
    count: usize,
    of: impl Fn(usize) -> F,
) -> Vec<Value> {
    let mut futures: Vec<_> = (0..count).map(|number| Box::pin(of(number))).collect();
    let mut answers: Vec<Option<Value>> = vec![None; count];
    std::future::poll_fn(|context| {
        for (future, answer) in futures.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *answer = Some(value);
            }
        }
        match answers.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// Descriptors of the host.
fn files(host: &TestHost) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", host.pid()))
        .unwrap()
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn host_recovers_when_postgres_restarts_under_load_and_nothing_grows() {
    let mut server = Server::start();
    let ring = Ring::start_in(
        &server,
        "postgres",
        "connections_max = 4\nconnect_timeout_ms = 20_000",
        "concurrency = 20",
    )
    .await;
    ring.query("create table t (a int)").await;
    let before = files(&ring.host);
    let mut ids = Vec::new();
    for round in 0..300 {
        let (name, statement) = match round % 6 {
            0 => ("left-open", "insert into t values (0)"),
            1 => ("trap-inside", "insert into t values (0)"),
            2 => ("query", "set search_path = a"),
            3 => ("query", "select repeat('x', 20000000)"),
            _ => ("query", "insert into t values (1)"),
        };
        ids.push(add(&ring.queue, name, json!(statement)).await);
        match round {
            100 => {
                server.stop();
                server.resume();
            }
            200 => {
                server.sql("template1", "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = 'postgres'");
            }
            _ => {}
        }
    }
    let mut unclear = Vec::new();
    for (round, id) in ids.iter().enumerate() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let job = loop {
            let state = ring.queue.state(id).await.unwrap();
            if matches!(state, JobState::Completed | JobState::Failed) {
                break reaches(&ring.queue, id, state).await;
            }
            assert!(Instant::now() < deadline, "job {id} is {state:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let said = |field: &str| job.get(field).and_then(Value::as_str);
        let said = said("returnvalue").or(said("failedReason"));
        let said = said.unwrap_or_default();
        let is_clear = said == "[]"
            || said.contains("inside a transaction")
            || said.contains("limit: Postgres answered")
            || said.contains("lost")
            || said.contains("57P01")
            || said.contains("accepts no connections");
        if !is_clear {
            unclear.push((round, said.to_owned()));
        }
    }
    assert!(unclear.is_empty(), "{unclear:?}");
    assert_eq!(ring.query("select min(a) from t").await, json!([[1]]));
    tokio::task::block_in_place(|| {
        server::eventually("no more connections than before", || {
            server.connections("postgres") <= 5
        })
    });
    tokio::task::block_in_place(|| {
        server::eventually("not many more files than before", || {
            files(&ring.host) <= before + 12
        })
    });
    ring.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grant_is_shown_without_its_url_and_asked_for_by_name() {
    let server = shared();
    let ring = Ring::start(server, "read_only = true", "").await;
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(crate::harness::TORIL);
        let output = command
            .args(args)
            .current_dir(ring.host.dir.path())
            .output()
            .unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let file = processor("fixture-postgres").display().to_string();
    let shown = run(&["check", &file, "--queue", "ring"]);
    assert!(shown.contains("postgres: main (read-only)"), "{shown}");
    let config = run(&["config"]);
    assert!(
        config.contains("postgres = { main = {") && !config.contains("pass"),
        "{config}"
    );
    assert!(!shown.contains(PASSWORD));
    ring.stop().await;

    // Without the grant, the component is refused with the line to add; one that does not use it imports nothing of it.
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("toril.toml"), "[queues.ring]\n").unwrap();
    let check = |fixture: &str| {
        let mut command = std::process::Command::new(crate::harness::TORIL);
        let file = processor(fixture).display().to_string();
        let output = command
            .args(["check", &file, "--queue", "ring"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    };
    let (done, said) = check("fixture-postgres");
    assert!(
        !done && said.contains("postgres.main = { url = { env = \"DATABASE_URL\" } }"),
        "{said}"
    );
    let (done, said) = check("fixture-noop");
    assert!(done && !said.contains("toril:postgres"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_placed_once_however_often_its_job_runs() {
    let server = shared();
    let database = server.database();
    server.sql(&database, "create table stock (sku text primary key, quantity int); insert into stock values ('hat', 3);
        create table orders (id bigserial primary key, job text unique, sku text, quantity int)");
    let (redis, dir) = (TestRedis::start(false).await, tempdir().unwrap());
    let queue = redis.queue("orders").await;
    let file = dir.path().join("url");
    std::fs::write(&file, server.url(&database)).unwrap();
    let grant = format!("grants.postgres.shop.url = {{ file = {file:?} }}");
    let host = TestHost::serve_queue(&redis, "orders", "place-order", &grant).await;
    for (quantity, state) in [
        (2, JobState::Completed),
        (2, JobState::Failed),
        (1, JobState::Completed),
    ] {
        let id = add(
            &queue,
            "order",
            json!({ "sku": "hat", "quantity": quantity }),
        )
        .await;
        reaches(&queue, &id, state).await;
    }
    assert_eq!(
        server.sql(&database, "select sum(quantity) from orders"),
        "3"
    );
    assert_eq!(server.sql(&database, "select quantity from stock"), "0");
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_statements_are_answered_again_without_a_database() {
    let ring = Ring::start(shared(), "", "record = \"all\"").await;
    ring.completes("any", json!(null)).await;
    ring.query("create table r (a int primary key)").await;
    ring.completes("commit", json!("insert into r values (1)"))
        .await;
    ring.fails("trap-inside", json!("insert into r values (2)"))
        .await;
    ring.query("select a, now() from r").await;
    ring.completes("left-open", json!("insert into r values (3) returning a"))
        .await;
    let entries = eventually("all are recorded", async || {
        let entries = ring.queue.recordings(100).await.unwrap();
        (entries.len() == 6).then_some(entries)
    })
    .await;
    let mut recordings = Vec::new();
    for entry in &entries {
        let bytes = ring
            .queue
            .recording(&entry.id, entry.attempt)
            .await
            .unwrap();
        recordings.push(Recording::decode(&bytes.unwrap()).unwrap());
    }
    ring.stop().await;

    let engine = Arc::new(Engine::new(&EngineOptions::for_one_component()).unwrap());
    let component = std::fs::read(processor("fixture-postgres")).unwrap();
    let policy = recordings[0].policy(&BTreeMap::new());
    let loaded = engine.load(component, &policy).await.unwrap();
    for recording in recordings {
        assert!(!recording.learned.calls.is_empty());
        let rerun = recording.clone().rerun(&engine, &loaded, &policy).await;
        assert!(rerun.is_same(&recording), "{rerun:?}\n{recording:?}");
    }
}
