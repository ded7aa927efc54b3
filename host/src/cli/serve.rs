//! `toril serve`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use toril::config::{ADDRESS_AND_PORT, Overrides, Source};
use toril::daemon;

use super::output::quoted;

/// Serves queues: fetches their jobs and runs each in its processor.
///
/// If no Redis is configured, the host uses the one at 127.0.0.1:6379. If none answers there, the host starts its own, with
/// its data in `.toril/redis`, and stops it when it stops.
///
/// On SIGHUP the host reads the config again and swaps the processors that changed. On SIGTERM or SIGINT it stops fetching
/// and waits for running jobs; on a second signal it cancels them and returns them to the queue.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril serve --queue paint=paint.ts\n  toril serve --config toril.toml"
)]
pub(super) struct Serve {
    /// Serves a queue with this processor, a component or a file that `toril build` takes; without a file, with the deployed one.
    /// May be given several times.
    #[arg(long = "queue", value_name = "NAME[=FILE]", value_parser = parse_queue)]
    queues: Vec<(String, Option<PathBuf>)>,
    /// A file without its queue, which is refused with what to write instead.
    #[arg(hide = true)]
    file: Option<PathBuf>,
    /// Swaps processors as soon as their files change.
    #[arg(long)]
    watch: bool,
    /// Listens for admin requests [default without an address: 127.0.0.1:7717].
    ///
    /// Any address but this machine's own needs a token, in TORIL_ADMIN_TOKEN or `admin.token_file`.
    #[arg(long, env = "TORIL_ADMIN", value_name = "ADDRESS", num_args = 0..=1,
        default_missing_value = "127.0.0.1:7717", value_parser = parse_address)]
    admin: Option<SocketAddr>,
    /// Jobs that run at once, per queue [default: the config's, or 50].
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// The port on 127.0.0.1 at which the host looks for a Redis, or starts one, if none is configured [default: the
    /// config's, or 6379].
    #[arg(long, value_name = "PORT")]
    local_redis_port: Option<u16>,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(file) = &self.file {
            let file = file.display().to_string();
            let mut without_file = self.queues.iter().filter(|(_, file)| file.is_none());
            let name = match (without_file.next(), without_file.next()) {
                (Some((name, _)), None) => quoted(name),
                _ => "NAME".into(),
            };
            let quoted_file = quoted(&file);
            bail!(
                "no queue is named for `{file}`\nhint: `toril serve --queue {name}={quoted_file}`"
            );
        }
        let mut names = BTreeSet::new();
        if let Some((name, _)) = self.queues.iter().find(|(name, _)| !names.insert(name)) {
            bail!("`--queue {name}` is given twice: a queue has one processor");
        }
        let overrides = Overrides {
            local_redis_port: self.local_redis_port,
            concurrency: self.concurrency,
            queues: self.queues,
            watch: self.watch,
            admin: self.admin,
            admin_token: std::env::var("TORIL_ADMIN_TOKEN").ok(),
            ..self.redis.overrides()
        };
        let source = Source {
            file: self.redis.config,
            overrides,
        };
        toril_sandbox::raise_open_files_limit();
        daemon::serve(source).await?;
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn parse_address(argument: &str) -> Result<SocketAddr, String> {
    let address = argument.parse();
    address.map_err(|_| format!("expected {ADDRESS_AND_PORT}"))
}

fn parse_queue(argument: &str) -> Result<(String, Option<PathBuf>), String> {
    match argument.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.into(), Some(file.into())))
        }
        None if !argument.is_empty() => Ok((argument.into(), None)),
        _ => Err("expected NAME=FILE or NAME, such as `paint=paint.wasm`".into()),
    }
}
