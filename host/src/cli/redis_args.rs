//! Which Redis a command talks to: flags, the environment, `toril.toml`, or the one of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::StyledStr;
use clap::{Arg, Args};
use toril::config::{DEFAULT_FILE, Overrides, RedisSource, Source, read_authority};
use toril::private_redis;
use toril::queue::{Queue, QueueError, QueueName, Redis, redacted};
use toril::served_queue::deployment::Deployments;

use super::output::note;
use super::progress::during;

/// How long the first answer may take: a person waits for it, and a server may take the connection and say nothing.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Where `--help` lists these, apart from the command's own options.
const REDIS: &str = "Redis and config";

/// Which Redis and which prefix.
#[derive(Args, Clone)]
pub(super) struct RedisArgs {
    /// The Redis to use, such as `redis://user:password@host:6379/0` [default: the config's, or 127.0.0.1:6379].
    ///
    /// `rediss://` uses TLS, `redis+cluster://host:port,host:port` is a cluster, and
    /// `redis+sentinel://host:port,host:port/SERVICE` the master that sentinels name.
    #[arg(long, env = "TORIL_REDIS", value_name = "URL", hide_env_values = true, help_heading = REDIS)]
    pub(super) redis: Option<String>,
    /// The certificate authority to trust for `rediss://`, PEM [default: those of the system].
    #[arg(long, env = "TORIL_REDIS_CA_FILE", value_name = "FILE", help_heading = REDIS)]
    pub(super) redis_ca_file: Option<PathBuf>,
    /// The prefix of the keys of queues for which the config has none of their own [default: the config's, or `bull`].
    #[arg(long, env = "TORIL_PREFIX", value_name = "PREFIX", help_heading = REDIS)]
    pub(super) prefix: Option<String>,
    /// The config file [default: toril.toml, if it is there].
    #[arg(long, env = "TORIL_CONFIG", value_name = "FILE", help_heading = REDIS)]
    pub(super) config: Option<PathBuf>,
}

/// The default Redis of the commands that start none, as their help says it.
const DEFAULT_REDIS: &str = "127.0.0.1:6379";

/// The help of `--redis` for a command that uses another Redis where none is configured.
pub(super) fn with_default(redis: Arg, default: &str) -> Arg {
    let of = |text: Option<&StyledStr>| {
        let text = text.map(ToString::to_string).unwrap_or_default();
        text.replace(DEFAULT_REDIS, default)
    };
    let (short, long) = (of(redis.get_help()), of(redis.get_long_help()));
    redis.help(short).long_help(long)
}

impl RedisArgs {
    /// What these say over the config.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            redis_url: self.redis.clone(),
            redis_ca_file: self.redis_ca_file.clone(),
            prefix: self.prefix.clone(),
            ..Overrides::default()
        }
    }

    pub(super) fn source(&self) -> anyhow::Result<RedisSource> {
        let source = Source {
            file: self.config.clone(),
            overrides: self.overrides(),
        };
        source.redis()
    }

    /// Connects, and returns the prefix of queues that have none of their own, too.
    pub(super) async fn connected(&self) -> anyhow::Result<(Redis, String)> {
        let source = self.source()?;
        let prefix = source.redis.prefix.clone();
        let redis = self.connect(&source, Some(&prefix)).await?;
        redis.check_prefix(&prefix)?;
        Ok((redis, prefix))
    }

    /// Connects once: a command that a person waits for does not wait for Redis.
    pub(super) async fn queue(&self, name: &str) -> anyhow::Result<Queue> {
        let name = QueueName::new(name)?;
        let source = self.source()?;
        if let Some(near) = source.queue_like(&name) {
            let file = source.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
            note(format_args!(
                "queue `{}` is not in `{}`; did you mean `{near}`?",
                &*name,
                file.display()
            ));
        }
        let prefix = source.prefix_of(&name);
        let redis = self.connect(&source, Some(prefix)).await?;
        redis.check_prefix(prefix)?;
        Ok(Queue::new(redis, prefix, &name))
    }

    pub(super) async fn deployments(&self, queue: &str) -> anyhow::Result<Deployments> {
        Ok(Deployments::of(&self.queue(queue).await?))
    }

    /// Connects, for a command that looks at the queues of all prefixes.
    pub(super) async fn connected_to_all(&self) -> anyhow::Result<Redis> {
        let source = self.source()?;
        self.connect(&source, self.prefix.as_deref()).await
    }

    /// The deployments of all queues, by `prefix:queue`; those aside that nobody has worked for a day.
    pub(super) async fn all_deployments(
        &self,
        redis: &Redis,
    ) -> anyhow::Result<Vec<(String, Deployments)>> {
        let mut all = Vec::new();
        for name in Deployments::queues(redis).await? {
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

    async fn connect(&self, source: &RedisSource, prefix: Option<&str>) -> anyhow::Result<Redis> {
        let configured = source.redis.url.clone();
        let url = configured.unwrap_or_else(|| private_redis::url(source.redis.local_port));
        note(format_args!(
            "redis {} ({}), {}",
            redacted(&url),
            self.origin_of_url(source),
            prefix.map_or_else(
                || "all prefixes".to_owned(),
                |prefix| format!("prefix {prefix}")
            )
        ));
        let authority = read_authority(source.redis.ca_file.as_deref())?;
        let connecting = Redis::connect_trusting(&url, authority.as_deref());
        let connecting = tokio::time::timeout(ANSWER_TIME_MAX, connecting);
        let connected = match during("connecting to Redis", connecting).await {
            Ok(connected) => connected.map_err(anyhow::Error::from),
            Err(_) => Err(anyhow::anyhow!(
                "no answer within {} s",
                ANSWER_TIME_MAX.as_secs()
            )),
        };
        connected.map_err(|error| {
            let mut what = format!("failed to connect to redis at `{}`", redacted(&url));
            // An address or a password that is wrong comes with a hint of its own.
            let is_away = error
                .downcast_ref()
                .is_none_or(QueueError::is_transient);
            if is_away {
                what += &format!("\nhint: start it, or name another one with `--redis` or as `redis` in {DEFAULT_FILE}");
            }
            error.context(what)
        })
    }

    fn origin_of_url(&self, source: &RedisSource) -> String {
        match (&source.file, &source.redis.url) {
            _ if self.redis.is_some() => "from the command line or TORIL_REDIS".to_owned(),
            (Some(file), Some(_)) => format!("from {}", file.display()),
            _ => "none is configured".to_owned(),
        }
    }
}
