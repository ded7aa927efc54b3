//! `toril health`: asks a host whether it is well, for images and supervisors that have no other program to ask with.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Asks the host on this machine whether it is alive: exit code 0 if it is, 1 if not.
///
/// The host needs its admin API (`[admin]` in `toril.toml`, or `toril serve --admin`). No token is needed.
#[derive(Args)]
#[command(after_help = "Examples:\n  toril health\n  toril health --ready --admin 127.0.0.1:7718")]
pub(super) struct Health {
    /// Asks in addition whether the host takes jobs and its Redis answers.
    #[arg(long)]
    ready: bool,
    /// Where the admin API of the host listens.
    #[arg(
        long,
        env = "TORIL_ADMIN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7717"
    )]
    admin: SocketAddr,
    /// How long to wait for the answer.
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout_ms: u64,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let answer = timeout(
            Duration::from_millis(self.timeout_ms),
            status(self.admin, path),
        );
        let answer = answer.await.with_context(|| {
            format!(
                "the host at `{}` did not answer in {} ms",
                self.admin, self.timeout_ms
            )
        })??;
        ensure!(
            answer.is_success(),
            "the host at `{}` answered {answer}",
            self.admin
        );
        super::print_line("ok");
        Ok(ExitCode::SUCCESS)
    }
}

async fn status(admin: SocketAddr, path: &str) -> anyhow::Result<StatusCode> {
    let connected = TcpStream::connect(admin).await;
    let stream = connected.with_context(|| {
        format!("no host listens at `{admin}`\nhint: its admin API is off unless `[admin]` in `toril.toml` or `--admin` says otherwise")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, admin.to_string())
        .body(String::new())?;
    // The connection moves the request and the answer while it is polled. It ends with this function.
    let strange = || format!("what listens at `{admin}` gave no answer of an admin API");
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer.with_context(strange)?.status()),
        closed = connection => match closed {
            Ok(()) => anyhow::bail!(strange()),
            Err(error) => Err(error).with_context(strange),
        },
    }
}
