//! A private Redis, a running host, and the processors, for the tests.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use toril::private_redis::PrivateRedis;
use toril::queue::{JobState, NewJob, Queue, QueueName, Redis};

/// The binary under test.
pub(crate) const TORIL: &str = env!("CARGO_BIN_EXE_toril");
/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// A process that a host has started may have the other end of its log, and go on.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(5);

/// Asks until the answer is `Some`; panics with `what` when it never is.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A port for a server that a test starts later. Nobody else is given it while the socket is there: it does not listen,
/// so a server that may use its address again can.
pub(crate) fn reserved_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// A client for the admin API.
pub(crate) fn http_client() -> reqwest::Client {
    // The client wants a provider of TLS, even where it has no use for it. Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Writes a program that stands for a tool. Another process writes it: a process that is started meanwhile for another test has
/// a copy of each open file for a moment, and nobody can run a program that is open for writing.
pub(crate) fn write_tool(file: &Path, script: &str) {
    const WRITE: &str = r#"printf %s "$1" > "$0" && chmod 755 "$0""#;
    let mut shell = std::process::Command::new("sh");
    let status = shell.args(["-c", WRITE]).arg(file).arg(script).status();
    assert!(status.unwrap().success());
}

/// The component of a guest crate. Builds all guests on first use.
pub(crate) fn processor(crate_name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(build_guests);
    dir.join(format!("{}.wasm", crate_name.replace('-', "_")))
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    // Cargo runs a test in its package. It may have been built in another clone with the same target directory.
    ROOT.get_or_init(|| {
        std::env::current_dir()
            .unwrap()
            .parent()
            .unwrap()
            .to_owned()
    })
}

fn build_guests() -> PathBuf {
    let root = root();
    let target = Path::new(TORIL).ancestors().nth(2).unwrap();
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(root).args([
        "build",
        "--quiet",
        "--profile",
        "processor",
        "--target",
        "wasm32-wasip2",
    ]);
    cargo.arg("--target-dir").arg(target);
    for (dir, prefix) in [("examples/rust", ""), ("tests/fixtures", "fixture-")] {
        for guest in std::fs::read_dir(root.join(dir)).unwrap() {
            let guest = guest.unwrap();
            if !guest.path().join("Cargo.toml").is_file() {
                continue;
            }
            let name = guest.file_name().into_string().unwrap();
            cargo.args(["-p", &format!("{prefix}{name}")]);
        }
    }
    assert!(cargo.status().unwrap().success(), "guests did not build");
    target.join("wasm32-wasip2/processor")
}

/// A version of `fixture-version`; its jobs return the name, which is `good-` or `bad--` and five digits.
pub(crate) fn version(name: &str) -> Vec<u8> {
    const MARKER: &[u8] = b"good-00000";
    assert_eq!(name.len(), MARKER.len());
    let mut component = std::fs::read(processor("fixture-version")).unwrap();
    let at = component
        .windows(MARKER.len())
        .position(|window| window == MARKER);
    let at = at.expect("the fixture has its marker");
    component[at..at + MARKER.len()].copy_from_slice(name.as_bytes());
    component
}

/// A processor whose core module is written by hand, for what no compiler writes. It must export `process`
/// (i32) -> i32, `realloc`, and the memory `memory`; it may call `$drop` with the job's handle.
pub(crate) fn handwritten(core: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (import "toril:processor/jobs@1.0.0" (instance $jobs
            (export "job" (type (sub resource)))
            (type $detail' (record (field "message" string) (field "stack" (option string))))
            (export "failure-detail" (type $detail (eq $detail')))
            (type $failure' (variant (case "failed" $detail) (case "unrecoverable" $detail) (case "delayed")
              (case "waiting-children") (case "waiting") (case "rate-limited" u64)))
            (export "failure" (type (eq $failure')))))
          (alias export $jobs "job" (type $job))
          (alias export $jobs "failure" (type $failure))
          (core module $core (import "host" "drop" (func $drop (param i32))) {core})
          (core func $drop (canon resource.drop $job))
          (core instance $host (export "drop" (func $drop)))
          (core instance $core (instantiate $core (with "host" (instance $host))))
          (func (export "process") (param "job" (borrow $job)) (result (result string (error $failure)))
            (canon lift (core func $core "process") (memory (core memory $core "memory"))
              (realloc (core func $core "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// Some where one worker waits for a marker.
pub(crate) async fn waits_for_a_marker(redis: &TestRedis) -> Option<()> {
    let clients: String = redis.command(&["INFO", "clients"]).await;
    clients.contains("blocked_clients:1").then_some(())
}

/// Runs a command of `toril` against this Redis.
pub(crate) async fn toril(redis: &TestRedis, arguments: &[&str]) -> std::process::Output {
    toril_at(&redis.server.url(), arguments).await
}

/// Runs a command of `toril` against any Redis.
pub(crate) async fn toril_at(url: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(TORIL);
    command.args(arguments).args(["--redis", url, "--quiet"]);
    command.env_remove("TORIL_REDIS").stdin(Stdio::null());
    command.output().await.unwrap()
}

/// Adds a job; returns what it returns.
pub(crate) async fn completes(queue: &Queue, name: &str, data: Value) -> Value {
    let id = add(queue, name, data).await;
    let job = reaches(queue, &id, JobState::Completed).await;
    serde_json::from_str(job["returnvalue"].as_str().unwrap()).unwrap()
}

/// Adds a job; returns why it fails.
pub(crate) async fn fails(queue: &Queue, name: &str, data: Value) -> String {
    let id = add(queue, name, data).await;
    let job = reaches(queue, &id, JobState::Failed).await;
    job["failedReason"].as_str().unwrap().to_owned()
}

/// A Redis of the test's own, in a temporary directory.
pub(crate) struct TestRedis {
    pub(crate) server: PrivateRedis,
    _dir: TempDir,
}

impl TestRedis {
    pub(crate) async fn start(append_only: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = PrivateRedis::start_anywhere(dir.path(), append_only)
            .await
            .unwrap();
        TestRedis { server, _dir: dir }
    }

    pub(crate) async fn queue(&self, name: &str) -> Queue {
        Queue::new(self.connect().await, "bull", &QueueName::new(name).unwrap())
    }

    pub(crate) async fn connect(&self) -> Redis {
        Redis::connect(&self.server.url()).await.unwrap()
    }

    /// One command, for what no getter shows.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, parts: &[&str]) -> T {
        let mut command = redis::cmd(parts[0]);
        command.arg(&parts[1..]);
        command
            .query_async(&mut self.connect().await.shared())
            .await
            .unwrap()
    }
}

/// A job to add.
pub(crate) fn new_job(name: &str, data: Value, options: Value) -> NewJob {
    let Value::Object(options) = options else {
        panic!("options are an object")
    };
    NewJob::new(name, &data.to_string(), options).unwrap()
}

pub(crate) async fn add(queue: &Queue, name: &str, data: Value) -> String {
    queue.add(&new_job(name, data, json!({}))).await.unwrap()
}

/// Waits until the job is in a state, and returns its fields.
pub(crate) async fn reaches(queue: &Queue, id: &str, state: JobState) -> Map<String, Value> {
    let what = format!("job {id} becomes {state}");
    eventually(&what, async || {
        (queue.state(id).await.ok()? == state).then_some(())
    })
    .await;
    let record = queue.job(id).await.unwrap().unwrap();
    record
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect()
}

/// How many jobs a queue has in a state that is a sorted set.
pub(crate) async fn count(redis: &TestRedis, queue: &str, state: &str) -> u64 {
    redis
        .command(&["ZCARD", &format!("bull:{queue}:{state}")])
        .await
}

/// A running `toril serve`. Killed when dropped.
pub(crate) struct TestHost {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Reads the log to its end.
    reader: JoinHandle<()>,
    pub(crate) dir: TempDir,
}

impl TestHost {
    /// Starts a host with a config, and waits until it serves.
    pub(crate) async fn serve(redis: &TestRedis, config: &str) -> Self {
        let config = format!("redis = \"{}\"\n{config}", redis.server.url());
        let mut host = Self::spawn(&config, &[]);
        host.logs("serving").await;
        host
    }

    /// Serves one queue; `options` are lines of its section.
    pub(crate) async fn serve_queue(
        redis: &TestRedis,
        queue: &str,
        crate_name: &str,
        options: &str,
    ) -> Self {
        Self::serve(redis, &queue_section(queue, crate_name, options)).await
    }

    pub(crate) fn spawn(config: &str, arguments: &[&str]) -> Self {
        Self::spawn_with(config, arguments, &[])
    }

    /// Starts a host that sees more environment variables.
    pub(crate) fn spawn_with(config: &str, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn_command(Command::new(TORIL), config, arguments, env)
    }

    /// Starts a host with an address space of so many KiB.
    pub(crate) fn spawn_within(address_space_kib: u64, config: &str) -> Self {
        let mut shell = Command::new("sh");
        let kib = address_space_kib.to_string();
        shell.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &kib, TORIL]);
        Self::spawn_command(shell, config, &[], &[])
    }

    fn spawn_command(
        mut command: Command,
        config: &str,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("toril.toml"), config).unwrap();
        let mut child = command
            .arg("serve")
            .args(arguments)
            .current_dir(dir.path())
            .env_remove("TORIL_REDIS")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        TestHost {
            child,
            log,
            reader,
            dir,
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log contains a text.
    pub(crate) async fn logs(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.has_read_all().await;
                let said = self.log().contains(text);
                assert!(said, "host ended with {status}:\n{}", self.log());
                return;
            }
            assert!(
                Instant::now() < end,
                "never logged `{text}`:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let status = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end. All that it wrote is in the log then.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("host ends")
            .unwrap();
        self.has_read_all().await;
        status
    }

    /// Its last lines may still be in the pipe when it is gone.
    async fn has_read_all(&mut self) {
        if !self.reader.is_finished() {
            let _ = tokio::time::timeout(LAST_LINES_PATIENCE, &mut self.reader).await;
        }
    }

    /// Asks it to stop, and expects it to end well.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert!(
            status.success(),
            "host ended with {status}:\n{}",
            self.log()
        );
    }
}

/// A queue's section of `toril.toml`.
pub(crate) fn queue_section(queue: &str, crate_name: &str, options: &str) -> String {
    format!(
        "[queues.{queue}]\nprocessor = {:?}\n{options}\n",
        processor(crate_name)
    )
}
