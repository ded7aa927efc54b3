//! The command line: one type per verb; its doc comments are the help text.

mod add;
mod build;
mod check;
mod deploy;
mod dev;
mod events;
mod flow;
mod forget;
mod job;
mod new;
mod output;
mod run;
mod serve;
mod status;
mod test;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use output::{print_json, print_line};
use toril::config::{DEFAULT_PREFIX, DEFAULT_REDIS_PORT};
use toril::private_redis;
use toril::queue::{Queue, QueueName, Redis, redacted};
use toril::served_queue::deployment::Deployments;

const DEFAULT_LOG: &str = "info";

/// Runs BullMQ jobs in WebAssembly processors.
///
/// Producers, dashboards and other workers keep using the same Redis and notice nothing. A processor is
/// a file in TypeScript, JavaScript, Python, Go or C, or a component: what `toril build` makes of such a file, what the
/// crate `toril-sdk` makes in Rust, or anything of a world in `wit/`.
#[derive(Parser)]
#[command(name = "toril", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to log: a level, or `tracing` directives such as `info,toril::worker=debug`.
    #[arg(
        long,
        global = true,
        env = "TORIL_LOG",
        default_value = DEFAULT_LOG,
        value_name = "FILTER"
    )]
    log: String,
    /// Writes the log as JSON, one object per line.
    #[arg(long, global = true, env = "TORIL_LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    New(new::New),
    Build(build::Build),
    Dev(dev::Dev),
    Serve(serve::Serve),
    Check(check::Check),
    Run(run::Run),
    Test(test::Test),
    Add(add::Add),
    Job(job::Job),
    Flow(flow::Flow),
    Events(events::Events),
    Deploy(deploy::Deploy),
    Rollback(deploy::Rollback),
    Promote(deploy::Promote),
    Abort(deploy::Abort),
    Undeploy(deploy::Undeploy),
    Versions(status::Versions),
    Status(status::Status),
    Forget(forget::Forget),
}

impl Cli {
    /// Logs go to stderr; stdout carries data.
    pub(crate) fn init_log(&self) {
        use tracing_subscriber::EnvFilter;
        let log = match &self.verb {
            Verb::Dev(_) if self.log == DEFAULT_LOG => dev::LOG,
            _ => &self.log,
        };
        let filter = EnvFilter::try_new(log).unwrap_or_else(|error| {
            output::say(format_args!("warning: log filter is ignored: {error}"));
            EnvFilter::new("info")
        });
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(|| output::Log);
        if self.log_json {
            log.json().init();
        } else {
            log.with_ansi(std::io::stderr().is_terminal())
                .fmt_fields(output::log_fields())
                .init();
        }
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::New(new) => new.run().await,
            Verb::Build(build) => build.run().await,
            Verb::Dev(dev) => dev.run().await,
            Verb::Serve(serve) => serve.run().await,
            Verb::Check(check) => check.run().await,
            Verb::Run(run) => run.run().await,
            Verb::Test(test) => test.run().await,
            Verb::Add(add) => add.run().await,
            Verb::Job(job) => job.run().await,
            Verb::Flow(flow) => flow.run().await,
            Verb::Events(events) => events.run().await,
            Verb::Deploy(deploy) => deploy.run().await,
            Verb::Rollback(rollback) => rollback.run().await,
            Verb::Promote(promote) => promote.run().await,
            Verb::Abort(abort) => abort.run().await,
            Verb::Undeploy(undeploy) => undeploy.run().await,
            Verb::Versions(versions) => versions.run().await,
            Verb::Status(status) => status.run().await,
            Verb::Forget(forget) => forget.run().await,
        }
    }
}

/// Prints an error with its causes, once, and says so to the caller of the process.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    output::say(format_args!("error: {error}"));
    for cause in error.chain().skip(1) {
        output::say(format_args!("  caused by: {cause}"));
    }
    ExitCode::FAILURE
}

/// Which Redis and which prefix.
#[derive(Args)]
struct RedisArgs {
    /// The Redis to use, such as `redis://user:password@host:6379/0`.
    ///
    /// `rediss://` uses TLS, `redis+cluster://host:port,host:port` is a cluster, and
    /// `redis+sentinel://host:port,host:port/SERVICE` the master that sentinels name.
    #[arg(long, env = "TORIL_REDIS", value_name = "URL", hide_env_values = true)]
    redis: Option<String>,
    /// The certificate authority to trust for `rediss://`, PEM [default: those of the system].
    #[arg(long, env = "TORIL_REDIS_CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<PathBuf>,
    /// The prefix of the queue's keys.
    #[arg(long, env = "TORIL_PREFIX", value_name = "PREFIX")]
    prefix: Option<String>,
}

impl RedisArgs {
    /// Connects once: a command that a person waits for does not wait for Redis.
    async fn queue(&self, name: &str) -> anyhow::Result<Queue> {
        let redis = self.connect().await?;
        let prefix = self.prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
        redis.check_prefix(prefix)?;
        Ok(Queue::new(redis, prefix, &QueueName::new(name)?))
    }

    async fn deployments(&self, queue: &str) -> anyhow::Result<Deployments> {
        anyhow::ensure!(
            !queue.is_empty() && !queue.contains(':'),
            "queue name `{queue}` is empty or contains `:`"
        );
        Ok(Deployments::of(&self.queue(queue).await?))
    }

    /// The deployments of all queues, by `prefix:queue`; those aside that nobody has worked for a day.
    async fn all_deployments(&self) -> anyhow::Result<Vec<(String, Deployments)>> {
        let redis = self.connect().await?;
        let mut all = Vec::new();
        for name in Deployments::queues(&redis).await? {
            let Some((prefix, queue)) = name.rsplit_once(':') else {
                continue;
            };
            if self.prefix.as_deref().is_none_or(|wanted| wanted == prefix) {
                let Ok(queue) = QueueName::new(queue) else {
                    continue;
                };
                let deployments = Deployments::of(&Queue::new(redis.clone(), prefix, &queue));
                if !deployments.is_abandoned().await? {
                    all.push((name, deployments));
                }
            }
        }
        Ok(all)
    }

    async fn connect(&self) -> anyhow::Result<Redis> {
        let url = self
            .redis
            .clone()
            .unwrap_or_else(|| private_redis::url(DEFAULT_REDIS_PORT));
        let authority = toril::config::read_authority(self.redis_ca_file.as_deref())?;
        Redis::connect_trusting(&url, authority.as_deref()).await.with_context(|| {
            format!(
                "failed to connect to redis at `{}`\nhint: start it, or name another one with `--redis`",
                redacted(&url)
            )
        })
    }
}
