//! A Postgres of the tests' own, in a temporary directory: as Debian installs it, or from `PATH`.
#![allow(
    dead_code,
    reason = "the tests of the host use another part than those of this crate"
)]

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// Postgres does not run as root; then it runs as `nobody`.
const NOBODY: u32 = 65534;
pub(crate) const PASSWORD: &str = "pass/word#1";

/// Stops the server when the test process ends, however it does: then its end of the pipe is closed.
const KEEPER: &str = r#""$@" </dev/null & pid=$!
read -r word
kill -INT $pid; wait $pid
[ "$word" = keep ] || rm -rf "$KEPT_DIR""#;

pub(crate) struct Server {
    dir: PathBuf,
    port: u16,
    _reserved: TcpSocket,
    keeper: Option<Child>,
}

fn program(name: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = installed
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    // What `PATH` has is found when it is run.
    found.pop().unwrap_or_else(|| name.into())
}

fn command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

fn give_to_server(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// A port that nobody else is given while the socket is there. It does not listen, so that Postgres can, also again.
fn reserved_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// The server of all tests that do not stop it.
pub(crate) fn shared() -> &'static Server {
    static SHARED: LazyLock<Server> = LazyLock::new(Server::start);
    &SHARED
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("toril-postgres-").tempdir();
        let dir = dir.unwrap().keep();
        give_to_server(&dir);
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            give_to_server(&path);
            path
        };
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        file("server.crt", &own.cert.pem());
        file("server.key", &own.signing_key.serialize_pem());
        let password = file("password", PASSWORD);
        let made = command("initdb")
            .args([
                "-U",
                "toril",
                "--auth=scram-sha-256",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
                "--pwfile",
            ])
            .arg(password)
            .arg("-D")
            .arg(dir.join("data"))
            .output();
        let made = made.expect("initdb runs: scripts/setup.sh postgres installs it");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let (reserved, port) = reserved_port();
        let mut server = Server {
            dir,
            port,
            _reserved: reserved,
            keeper: None,
        };
        server.resume();
        server
    }

    /// Starts it again after `stop`.
    pub(crate) fn resume(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let mut keeper = command("sh");
        let keeper = keeper
            .args(["-c", KEEPER, "sh"])
            .arg(program("postgres"))
            .arg("-D")
            .arg(self.dir.join("data"))
            .arg("-k")
            .arg(&self.dir)
            .args(["-h", "127.0.0.1,::1", "-p", &self.port.to_string()])
            .args([
                "-c",
                "fsync=off",
                "-c",
                "max_connections=60",
                "-c",
                "ssl=on",
            ])
            .args([
                "-c",
                &format!("ssl_cert_file={}/server.crt", self.dir.display()),
            ])
            .args([
                "-c",
                &format!("ssl_key_file={}/server.key", self.dir.display()),
            ])
            .env("KEPT_DIR", &self.dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.keeper = Some(keeper.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.try_sql("postgres", "select 1").0 {
            assert!(
                Instant::now() < deadline,
                "Postgres did not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.stdin.take().unwrap().write_all(b"keep\n").unwrap();
            keeper.wait().unwrap();
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.join("server.crt")
    }

    /// The URL of a database, with its password.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_of("toril", database)
    }

    pub(crate) fn url_of(&self, user: &str, database: &str) -> String {
        let port = self.port;
        format!("postgres://{user}:pass%2Fword%231@localhost:{port}/{database}?sslmode=disable")
    }

    fn try_sql(&self, database: &str, text: &str) -> (bool, String) {
        let output = command("psql")
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                "toril",
                "-d",
                database,
                "-c",
                text,
            ])
            .args(["-p", &self.port.to_string()])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim_end().to_owned();
        (output.status.success(), said)
    }

    /// What psql says to a statement.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        let (done, said) = self.try_sql(database, text);
        assert!(done, "{text}: {said}");
        said
    }

    /// A new database.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name}"));
        name
    }

    /// Connections of others with a database.
    pub(crate) fn connections(&self, database: &str) -> usize {
        let count = self.sql(
            "postgres",
            &format!("select count(*) from pg_stat_activity where datname = '{database}'"),
        );
        count.parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
