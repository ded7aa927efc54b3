//! `toril dev`.

mod editor;
mod jobs;
mod keys;
mod lines;
mod redis;
mod session;
mod source_line;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::{Notify, mpsc};
use toril::cases::ExampleJob;
use toril::config::{Config, DEFAULT_PREFIX, Overrides, Source};
use toril::daemon::{self, Attendant};
use toril::language::project::{self, Found};

use self::redis::DevRedis;
use self::session::Session;
use super::output::quoted;

/// What is logged unless it is asked for more: jobs and refusals are shown already.
pub(super) const LOG: &str = "warn,guest=off,toril::worker=error,toril::served_queue=error";

/// Builds and serves a project; when a file is saved, builds again and swaps the processor.
///
/// The command serves the queues of the directory's `toril.toml`. If there is no such file, or if it names no processor, the
/// command serves the only processor in the directory, on a queue that is named after its file or directory. If no Redis is
/// configured, the command starts its own, with its data in `.toril/redis`.
///
/// The command shows each job with its calls and its outcome, and for a failed job the source line. If a build fails, the
/// command shows the errors, and the previous version keeps running. On a terminal, keys add the last job again (`a`), edit its data
/// and add it (`e`), retry the last job that failed (`r`), and quit (`q`).
#[derive(Args)]
#[command(
    mut_arg("redis", |redis| super::redis_args::with_default(redis, "one of the command's own")),
    mut_arg("config", |config| config.help("The config file [default: toril.toml in the directory, if it is there]")),
    after_help = "Examples:\n  toril dev\n  toril dev painter --redis redis://127.0.0.1:6379"
)]
pub(super) struct Dev {
    /// The directory of the project.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The port on 127.0.0.1 at which the command starts a Redis, if none is configured [default: a free one].
    #[arg(long, value_name = "PORT")]
    local_redis_port: Option<u16>,
    #[command(flatten)]
    redis: super::RedisArgs,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut source = self.source()?;
        let config = source.load()?;
        let config = with_processor(&mut source, config)?;
        let redis = DevRedis::start(&config).await?;
        source.overrides.redis_url = Some(redis.url.clone());
        introduce(&config, &redis);

        let (on_queue, queues) = mpsc::unbounded_channel();
        let quit = Arc::new(Notify::new());
        let attendant = Attendant {
            on_queue: Box::new(move |name, events| {
                // The session ends after the host.
                let _ = on_queue.send((name.to_string(), events));
            }),
            quit: Arc::clone(&quit),
        };
        let host = tokio::spawn(daemon::serve_attended(source, attendant));
        let session = Session::new(config, &redis.url, quit);
        let ended = session.run(queues, host).await;
        redis.stop().await?;
        ended?;
        Ok(ExitCode::SUCCESS)
    }

    /// What to serve, read from the project's directory, which becomes the working directory: all files are shown as seen from
    /// there.
    fn source(&self) -> anyhow::Result<Source> {
        let authority = self.redis.redis_ca_file.as_deref();
        let authority = authority.map(std::path::absolute).transpose()?;
        let config = self.redis.config.as_deref();
        let config = config.map(std::path::absolute).transpose()?;
        std::env::set_current_dir(&self.dir)
            .with_context(|| format!("failed to enter `{}`", self.dir.display()))?;
        let overrides = Overrides {
            redis_ca_file: authority,
            local_redis_port: self.local_redis_port,
            watch: true,
            admin_token: std::env::var("TORIL_ADMIN_TOKEN").ok(),
            ..self.redis.overrides()
        };
        Ok(Source {
            file: config,
            overrides,
        })
    }
}

/// The config, with the processor that is there where none is named.
fn with_processor(source: &mut Source, config: Config) -> anyhow::Result<Config> {
    let names_one = config
        .queues
        .values()
        .any(|queue| queue.processor.is_some());
    if names_one || config.processors_dir.is_some() {
        return Ok(config);
    }
    let Found { name, file } = project::find(".".as_ref())?;
    let file = file.strip_prefix(".").unwrap_or(&file).to_owned();
    source.overrides.queues.push((name, Some(file)));
    source.load()
}

/// Says which Redis and which queues, and how to add a first job.
fn introduce(config: &Config, redis: &DevRedis) {
    super::print_line(format_args!("redis  {}", redis.describe()));
    for (name, queue) in &config.queues {
        let processor = queue.processor.as_ref();
        let processor =
            processor.map_or("no processor yet".into(), |file| file.display().to_string());
        super::print_line(format_args!("queue  {name}: {processor}"));
    }
    let Some((name, queue)) = config.queues.first_key_value() else {
        return;
    };
    // The one that is known to complete, if the project has cases.
    let job = ExampleJob::of_project(".".as_ref(), name, config.queues.len() == 1);
    let job = job.unwrap_or_else(|| ExampleJob {
        name: "first".to_owned(),
        data: "{}".to_owned(),
    });
    let mut command = format!(
        "toril add {} {} --data {}{}",
        quoted(name),
        quoted(&job.name),
        quoted(&job.data),
        redis.as_argument()
    );
    let prefix = queue.prefix.as_ref().unwrap_or(&config.redis.prefix);
    if prefix != DEFAULT_PREFIX {
        command += &format!(" --prefix {}", quoted(prefix));
    }
    super::print_line(format_args!(
        "add a first job from another terminal: {command}"
    ));
}
