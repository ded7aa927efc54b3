//! `toril deploy`, `rollback`, `promote`, `abort` and `undeploy`: what all hosts of a queue run.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Args};
use tokio::time::Instant;
use toril::sandbox::{Engine, Policy};
use toril::served_queue::QueueStatus;
use toril::served_queue::deployment::{Deployment, Deployments, Note, Upload};
use toril::versions::CanaryRule;

use super::RedisArgs;
use super::progress::during;
use super::queue_config;

/// How often the hosts' reports are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Deploys a processor on all hosts of a queue.
///
/// The component is checked here, stored in Redis by its digest, and made active in one step. Every host
/// notices within a second, checks it again and swaps; running jobs finish on the version they started on. The
/// exit code is 0 if all hosts accepted it. If no host accepted it, the deployment before is restored.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril deploy paint paint.wasm\n  toril deploy paint paint.wasm --canary 10%\n  toril deploy paint paint.wasm --rehearse 200\n  \
                  toril promote paint",
    group(ArgGroup::new("candidate").args(["canary", "jobs"]).multiple(true))
)]
pub(super) struct Deploy {
    /// The queue.
    queue: String,
    /// The component, or a file that `toril build` takes.
    file: PathBuf,
    /// Makes it a canary: it gets this share of the jobs until `toril promote` or `toril abort`.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    canary: Option<f64>,
    /// Makes it a canary that gets only the jobs with these names.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    jobs: Vec<String>,
    /// Aborts the canary if the share of its jobs that fail at their first attempt exceeds the active version's share by more
    /// than this, and by more than chance explains.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "5%", requires = "candidate")]
    abort_margin: f64,
    /// Considers aborting only after each version has finished the first attempts of this many jobs.
    #[arg(long, value_name = "N", default_value_t = CanaryRule::default().minimum, requires = "candidate")]
    abort_after: u64,
    /// First runs the newest N recorded attempts on it, and deploys nothing if more of them differ than `--allow` admits.
    #[arg(long, value_name = "N")]
    rehearse: Option<NonZeroUsize>,
    /// The share of the rehearsed attempts that may differ.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "0%", requires = "rehearse")]
    allow: f64,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Makes the version that was active before, or another stored one, active again.
#[derive(Args)]
pub(super) struct Rollback {
    /// The queue.
    queue: String,
    /// The version: its digest, or the beginning of its digest, as `toril versions` lists it.
    digest: Option<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Makes the candidate of a canary active.
#[derive(Args)]
pub(super) struct Promote {
    /// The queue.
    queue: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Ends a canary: all jobs go to the active version.
#[derive(Args)]
pub(super) struct Abort {
    /// The queue.
    queue: String,
    /// The reason, which `toril versions` shows.
    #[arg(long, default_value = "by command")]
    reason: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Removes the deployment of a queue: each host serves the file that its config names.
#[derive(Args)]
pub(super) struct Undeploy {
    /// The queue.
    queue: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    redis: RedisArgs,
}

/// How long to wait for the hosts.
#[derive(Args)]
struct Wait {
    /// How long to wait for all hosts, in seconds; 0 does not wait.
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 30)]
    seconds: u64,
}

impl Deploy {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let rule = self.rule();
        if let Some(rule) = &rule {
            rule.check().map_err(anyhow::Error::msg)?;
        }
        let engine = Arc::new(Engine::new(&queue_config::one_component())?);
        let path = self.file.display();
        let bytes = queue_config::built(&self.file, &engine).await?;
        let policy = Policy::unjudged();
        let loaded = engine.load(bytes.clone(), &policy);
        let processor = during(format_args!("compiling `{path}`"), loaded)
            .await
            .with_context(|| format!("component `{}` was refused", self.file.display()))?;
        if let Some(count) = self.rehearse {
            self.rehearse(&engine, bytes.clone(), count).await?;
        }
        let name = self.file.file_name();
        let note = Note {
            bytes: bytes.len(),
            name: name.map(|name| name.to_string_lossy().into_owned()),
            sdk: processor.inspection.sdk.clone(),
        };
        let upload = Upload {
            bytes: &bytes,
            note,
        };
        let deployments = self.redis.deployments(&self.queue).await?;
        let size = bytes.len().div_ceil(1024);
        let deployed = deployments.deploy(&processor.digest, Some(&upload), rule.as_ref());
        let deployment = during(format_args!("storing {size} KiB in Redis"), deployed).await?;
        let what = if rule.is_some() {
            "candidate"
        } else {
            "deployed"
        };
        super::print_line(format_args!("{what} {}", processor.digest));
        self.wait.until_taken(&deployments, &deployment).await
    }

    async fn rehearse(
        &self,
        engine: &Arc<Engine>,
        bytes: Vec<u8>,
        count: NonZeroUsize,
    ) -> anyhow::Result<()> {
        let queue = self.redis.queue(&self.queue).await?;
        let rehearsed = super::rehearse::rehearsed(engine, bytes, &queue, count, &self.redis);
        let report = rehearsed.await?;
        super::rehearse::show(&report);
        ensure!(
            report.compared() > 0,
            "nothing was deployed: no recorded attempt could be rehearsed\nhint: `toril deploy` without `--rehearse` deploys \
             without a rehearsal"
        );
        ensure!(
            report.passes(self.allow),
            "nothing was deployed: the candidate did not pass its rehearsal\nhint: `toril replay` shows one attempt, `--allow` \
             admits a share"
        );
        Ok(())
    }

    fn rule(&self) -> Option<CanaryRule> {
        if self.canary.is_none() && self.jobs.is_empty() {
            return None;
        }
        Some(CanaryRule {
            percent: self.canary.unwrap_or(100.0),
            jobs: self.jobs.clone(),
            margin_percent: self.abort_margin,
            minimum: self.abort_after,
        })
    }
}

impl Rollback {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deployments = self.redis.deployments(&self.queue).await?;
        let digest = match &self.digest {
            Some(digest) => Some(deployments.resolve(digest).await?),
            None => None,
        };
        let deployment = deployments.rollback(digest.as_deref()).await?;
        let active = deployment.active.as_deref().unwrap_or("nothing");
        super::print_line(format_args!("rolled back to {active}"));
        self.wait.until_taken(&deployments, &deployment).await
    }
}

impl Promote {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deployments = self.redis.deployments(&self.queue).await?;
        let deployment = deployments.promote().await?;
        let active = deployment.active.as_deref().unwrap_or("nothing");
        super::print_line(format_args!("promoted {active}"));
        self.wait.until_taken(&deployments, &deployment).await
    }
}

impl Abort {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deployments = self.redis.deployments(&self.queue).await?;
        let deployment = deployments.abort(&self.reason).await?;
        super::print_line("aborted");
        self.wait.until_followed(&deployments, &deployment).await
    }
}

impl Undeploy {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deployments = self.redis.deployments(&self.queue).await?;
        let deployment = deployments.undeploy().await?;
        super::print_line("undeployed");
        self.wait.until_followed(&deployments, &deployment).await
    }
}

/// What the hosts that are alive made of a deployment.
#[derive(Default)]
struct Followed {
    hosts: usize,
    took: usize,
    /// Hosts that acted on it and did not take it.
    refused: usize,
    /// Why one of them did not.
    reason: String,
}

impl Followed {
    fn exit_code(&self) -> ExitCode {
        match self.took == self.hosts {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

impl Wait {
    /// Waits until each host that is alive has acted on it, and says what it made of it. Where all of them refused it,
    /// what was deployed before is put back: nobody would be served by it.
    async fn until_taken(
        &self,
        deployments: &Deployments,
        deployment: &Deployment,
    ) -> anyhow::Result<ExitCode> {
        let followed = self.followed(deployments, deployment);
        let followed = during("waiting for the hosts to accept it", followed).await?;
        if followed.hosts > 0 && followed.refused == followed.hosts {
            let reason = format!("no host accepted it: {}", followed.reason);
            let now = deployments.withdraw(deployment.revision, &reason).await?;
            let active = match &now.active {
                Some(active) => format!("{active} is deployed again"),
                None => "nothing is deployed now".to_owned(),
            };
            let canary = match &now.canary {
                Some(canary) => format!(", with the candidate {}", canary.digest),
                None => String::new(),
            };
            super::print_line(format_args!("no host accepted it; {active}{canary}"));
        }
        Ok(followed.exit_code())
    }

    async fn until_followed(
        &self,
        deployments: &Deployments,
        deployment: &Deployment,
    ) -> anyhow::Result<ExitCode> {
        let followed = self.followed(deployments, deployment);
        let followed = during("waiting for the hosts to follow", followed).await?;
        Ok(followed.exit_code())
    }

    async fn followed(
        &self,
        deployments: &Deployments,
        deployment: &Deployment,
    ) -> anyhow::Result<Followed> {
        if self.seconds == 0 {
            return Ok(Followed::default());
        }
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let hosts = loop {
            let mut hosts = deployments.hosts().await?;
            hosts.retain(|host| host.alive);
            let followed = hosts
                .iter()
                .all(|host| host.revision >= deployment.revision);
            if followed || Instant::now() >= end {
                break hosts;
            }
            tokio::time::sleep(LOOK).await;
        };
        if hosts.is_empty() {
            super::print_line(match &deployment.active {
                Some(_) => {
                    "no host serves this queue now; hosts that start later serve this version"
                }
                None => {
                    "no host serves this queue now; hosts that start later serve their own files"
                }
            });
        }
        let mut followed = Followed {
            hosts: hosts.len(),
            ..Followed::default()
        };
        for host in &hosts {
            let says = match made_of_it(host, deployment) {
                MadeOfIt::Took => {
                    followed.took += 1;
                    "ok".to_owned()
                }
                MadeOfIt::NotNoticed => "has not noticed it yet".to_owned(),
                MadeOfIt::Refused(reason) => {
                    followed.refused += 1;
                    followed.reason = reason.to_owned();
                    format!("refused: {reason}")
                }
            };
            super::print_text(format_args!("  {}: {says}", host.name));
        }
        Ok(followed)
    }
}

enum MadeOfIt<'a> {
    Took,
    NotNoticed,
    Refused(&'a str),
}

/// What a host made of a deployment.
fn made_of_it<'a>(host: &'a QueueStatus, deployment: &Deployment) -> MadeOfIt<'a> {
    if host.revision < deployment.revision {
        return MadeOfIt::NotNoticed;
    }
    let wanted = deployment.canary.as_ref().map(|canary| &canary.digest);
    let (wanted, runs) = match wanted {
        Some(candidate) => (Some(candidate), host.candidate.as_ref()),
        None => (deployment.active.as_ref(), host.active.as_ref()),
    };
    if wanted.is_none() || wanted == runs {
        return MadeOfIt::Took;
    }
    match &host.refusal {
        Some(refusal) => MadeOfIt::Refused(&refusal.reason),
        None => MadeOfIt::Refused("the host gives no reason"),
    }
}

pub(super) fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse();
    match number {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a percentage, such as `10%`".to_owned()),
    }
}
