//! A Redis server of our own: where none is configured and none is found, in the demo, and in tests.

use std::fs::{File, TryLockError};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};

use toril_queue::Redis;

/// The servers that will do, in order of preference.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];
/// One that reads much of what it kept, or runs on a busy machine, takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The server that would be started: the first of those that will do in the PATH.
pub fn program() -> Option<&'static str> {
    let dirs = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&dirs).collect();
    let is_there = |name: &&str| dirs.iter().any(|dir| dir.join(name).is_file());
    SERVERS.into_iter().find(is_there)
}

/// A running server. Stop it with [`PrivateRedis::stop`]; dropped, it is killed.
pub struct PrivateRedis {
    child: Child,
    port: u16,
    dir: PathBuf,
    append_only: bool,
    /// Keeps the port from others, also between two servers; none where the caller chose it.
    _reserved: Option<TcpSocket>,
}

impl PrivateRedis {
    /// Starts a server on 127.0.0.1 that keeps its data in `dir`, and waits until it answers.
    ///
    /// `append_only` writes each change to disk within a second.
    pub async fn start(dir: &Path, port: u16, append_only: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).map_err(|error| {
            anyhow!(
                "failed to create `{}`: {error}\nhint: Redis keeps its data there; run the command in a directory that you may \
                 write to, or name a running Redis with `--redis`",
                dir.display()
            )
        })?;
        let mut child = spawn(dir, port, append_only).await?;
        if let Err(error) = wait_until_ready(&mut child, port).await {
            let log = std::fs::read_to_string(dir.join("redis.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            let mut what = format!(
                "redis-server did not start; its log ends:\n{}",
                last.join("\n")
            );
            if what.contains("Address already in use") {
                what += &format!(
                    "\nhint: a program that is not Redis, or does not answer, listens at 127.0.0.1:{port}; name a running Redis \
                     with `--redis`, or another port with `--local-redis-port`"
                );
            }
            return Err(error.context(what));
        }
        Ok(PrivateRedis {
            child,
            port,
            dir: dir.to_owned(),
            append_only,
            _reserved: None,
        })
    }

    /// Starts a server on a port that is free, and is kept for it.
    pub async fn start_anywhere(dir: &Path, append_only: bool) -> anyhow::Result<Self> {
        let mut last_error = None;
        // One that asks for no port in particular is not given this one, but a server that names it may take it.
        for _ in 0..5 {
            let (reserved, port) = reserve_port()?;
            match Self::start(dir, port, append_only).await {
                Ok(server) => {
                    return Ok(PrivateRedis {
                        _reserved: Some(reserved),
                        ..server
                    });
                }
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(|| anyhow::anyhow!("no free port")))
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as a crash would, and waits for its end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again after [`PrivateRedis::kill`], with the data that it had on disk.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.dir, self.port, self.append_only).await?;
        wait_until_ready(&mut self.child, self.port).await
    }

    /// Asks it to save and stop, and waits for its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Ok(redis) = Redis::connect(&self.url()).await {
            let command = redis::cmd("SHUTDOWN");
            // It answers by closing the connection.
            let _ = command.exec_async(&mut redis.shared()).await;
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => drop(status?),
            Err(_) => self.child.kill().await?,
        }
        Ok(())
    }
}

/// The socket does not listen: a server that may use its address again can.
fn reserve_port() -> std::io::Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// The address of a Redis on this machine.
pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Locks the data for one server. The server inherits the lock and holds it while it runs, even if its parent was killed.
/// None: another one has it.
fn lock(dir: &Path) -> anyhow::Result<Option<File>> {
    let path = dir.join("server.lock");
    let locked = || -> anyhow::Result<Option<File>> {
        let file = File::create(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) => return Ok(None),
        }
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
        Ok(Some(file))
    };
    locked().with_context(|| failed_to_lock(dir))
}

fn failed_to_lock(dir: &Path) -> String {
    format!("failed to lock the data in `{}`", dir.display())
}

/// A server that was killed may have left a process that writes its data anew: that one ends soon.
async fn lock_soon(dir: &Path) -> anyhow::Result<File> {
    let patience = Instant::now() + LOCK_TIMEOUT;
    while Instant::now() < patience {
        if let Some(file) = lock(dir)? {
            return Ok(file);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    const HINT: &str = "another Redis uses it\nhint: stop that Redis; a `toril` that was killed since may have started it";
    Err(anyhow::Error::msg(HINT).context(failed_to_lock(dir)))
}

/// Stops a server that has its data in this directory, and that nobody waits for any more.
pub async fn stop_orphan(dir: &Path, port: u16) -> anyhow::Result<()> {
    let Ok(redis) = Redis::connect(&url(port)).await else {
        return Ok(());
    };
    let mut get = redis::cmd("CONFIG");
    let found: Vec<String> = get
        .arg("GET")
        .arg("dir")
        .query_async(&mut redis.shared())
        .await
        .unwrap_or_default();
    let is_ours = found.get(1).is_some_and(|of| {
        let of = Path::new(of).canonicalize().ok();
        of.is_some() && of == dir.canonicalize().ok()
    });
    if !is_ours {
        return Ok(());
    }
    // It answers by closing the connection.
    let _ = redis::cmd("SHUTDOWN").exec_async(&mut redis.shared()).await;
    let gone = async {
        while !matches!(lock(dir), Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(STOP_TIMEOUT, gone)
        .await
        .with_context(|| format!("the Redis at port {port} does not stop"))
}

async fn spawn(dir: &Path, port: u16, append_only: bool) -> anyhow::Result<Child> {
    let _inherited = lock_soon(dir).await?;
    for server in SERVERS {
        let mut command = Command::new(server);
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
            ])
            .args(["--appendonly", if append_only { "yes" } else { "no" }])
            .args(["--maxmemory-policy", "noeviction", "--logfile", "redis.log"])
            .arg("--dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the terminal is for us: jobs still end, and are settled, after it.
            .process_group(0)
            .kill_on_drop(true);
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to run `{server}`")),
        }
    }
    bail!(
        "neither `redis-server` nor `valkey-server` is installed\n\
         hint: install one (`apt-get install redis-server`, `dnf install valkey`, `brew install redis`), \
         or name a running Redis with `--redis redis://HOST:6379`"
    )
}

async fn wait_until_ready(child: &mut Child, port: u16) -> anyhow::Result<()> {
    let ready = async {
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("redis-server ended at once: {status}");
            }
            if answers(&url(port)).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(START_TIMEOUT, ready)
        .await
        .context("redis-server takes too long to start")?
}

/// True where a Redis answers at this address, whatever it says.
pub async fn answers(url: &str) -> bool {
    let Ok(client) = redis::Client::open(url) else {
        return false;
    };
    let ping = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING")
            .query_async::<String>(&mut connection)
            .await
    };
    // One that wants a password, or still loads, answers too.
    match tokio::time::timeout(Duration::from_secs(1), ping).await {
        Ok(Err(error)) => !error.is_io_error() && error.code() != Some("LOADING"),
        answer => answer.is_ok(),
    }
}
