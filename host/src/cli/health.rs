//! `toril health`: asks a host whether it is well, for images and supervisors that have no other program to ask with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use toril::config::{Overrides, Source};

/// Asks the host on this machine whether it is alive: exit code 0 if it is, 1 if not.
///
/// The host needs its admin API (`[admin]` in `toril.toml`, or `toril serve --admin`). No token is needed.
#[derive(Args)]
#[command(after_help = "Examples:\n  toril health\n  toril health --ready --admin 127.0.0.1:7718")]
pub(super) struct Health {
    /// Also asks whether the host takes jobs and whether its Redis answers.
    #[arg(long)]
    ready: bool,
    /// The address of the host's admin API [default: the config's, or 127.0.0.1:7717].
    #[arg(long, env = "TORIL_ADMIN", value_name = "ADDRESS", value_parser = super::serve::parse_address)]
    admin: Option<SocketAddr>,
    /// The config file [default: toril.toml, if it is there].
    #[arg(long, env = "TORIL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout_ms: u64,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let source = Source {
            file: self.config,
            overrides: Overrides {
                admin: self.admin,
                ..Overrides::default()
            },
        };
        let (admin, timeout_ms) = (source.running_host()?, self.timeout_ms);
        let answer = timeout(Duration::from_millis(timeout_ms), status(admin, path));
        let answer = answer.await.with_context(|| {
            format!("the host at `{admin}` did not answer in {timeout_ms} ms")
        })??;
        ensure!(
            answer.is_success(),
            "the host at `{admin}` answered {answer}"
        );
        super::print_line("ok");
        Ok(ExitCode::SUCCESS)
    }
}

async fn status(admin: SocketAddr, path: &str) -> anyhow::Result<StatusCode> {
    let connected = TcpStream::connect(admin).await;
    let stream = connected.with_context(|| {
        format!("no host listens at `{admin}`\nhint: a host has an admin API only with `[admin]` in `toril.toml` or with `toril serve --admin`")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, admin.to_string())
        .body(String::new())?;
    // The connection moves the request and the answer while it is polled. It ends with this function.
    let strange = || format!("the program at `{admin}` did not answer as an admin API does");
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer.with_context(strange)?.status()),
        closed = connection => match closed {
            Ok(()) => anyhow::bail!(strange()),
            Err(error) => Err(error).with_context(strange),
        },
    }
}
