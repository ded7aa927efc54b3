//! `toril status` and `toril versions`: what the hosts of a fleet run.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use toril::queue::now_ms;
use toril::sandbox::short_digest;
use toril::served_queue::QueueStatus;
use toril::served_queue::deployment::{
    Change, Deployment, Deployments, StoredVersion, announced_hosts,
};

use super::RedisArgs;
use super::output::{note_text, quoted};

const NOTHING: &str = "no host runs, and no queue of this prefix was served or changed in the last day\n\
                       hint: `toril serve` starts a host; `--redis` names another Redis, `--prefix` another prefix";

/// Shows hosts, queues, versions, and the jobs that run on each.
#[derive(Args)]
pub(super) struct Status {
    /// Only this queue.
    queue: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Lists the versions of a queue's processor, and the changes of its deployment.
#[derive(Args)]
pub(super) struct Versions {
    /// The queue.
    queue: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (queues, announced) = match &self.queue {
            Some(queue) => {
                let deployments = self.redis.deployments(queue).await?;
                (vec![(queue.clone(), deployments)], Vec::new())
            }
            None => {
                let redis = self.redis.connected_to_all().await?;
                let queues = self.redis.all_deployments(&redis).await?;
                (queues, announced_hosts(&redis).await?)
            }
        };
        let mut all = Vec::new();
        for (queue, deployments) in queues {
            let (deployment, hosts) = (deployments.current().await?, deployments.hosts().await?);
            all.push((queue, deployment, hosts));
        }
        let working: BTreeSet<&str> = all
            .iter()
            .flat_map(|(_, _, hosts)| hosts.iter().map(|host| &*host.host))
            .collect();
        let is_idle = |host: &&QueueStatus| !working.contains(&*host.host);
        let idle: Vec<&QueueStatus> = announced.iter().filter(is_idle).collect();
        match self.json {
            true => print_json(&all, &idle),
            false => {
                for (queue, deployment, hosts) in &all {
                    show_queue(queue, deployment, hosts);
                }
                idle.iter().for_each(|host| show_idle_host(host));
                if all.is_empty() && idle.is_empty() {
                    note_text(NOTHING);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An array of queues, and last, if there are hosts that work none, an entry of no queue with these.
fn print_json(queues: &[(String, Deployment, Vec<QueueStatus>)], idle: &[&QueueStatus]) {
    let entries = queues.iter().map(|(queue, deployment, hosts)| {
        json!({ "queue": queue, "deployment": deployment, "hosts": hosts })
    });
    let idle = (!idle.is_empty()).then(|| {
        let hosts = idle.iter().map(|host| {
            json!({ "host": host.host, "name": host.name, "admin": host.admin, "age": host.age })
        });
        json!({ "queue": null, "hosts": hosts.collect::<Vec<_>>() })
    });
    super::print_json(&entries.chain(idle).collect::<Vec<_>>());
}

fn show_idle_host(host: &QueueStatus) {
    super::print_line(&host.name);
    super::print_line("  serves no queue");
    show_admin(host, "  ");
}

fn show_admin(host: &QueueStatus, indent: &str) {
    if let Some(address) = &host.admin {
        super::print_line(format_args!("{indent}admin API at {address}"));
    }
}

impl Versions {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deployments: Deployments = self.redis.deployments(&self.queue).await?;
        let deployment = deployments.current().await?;
        let (versions, changes) = (deployments.versions().await?, deployments.changes().await?);
        if self.json {
            super::print_json(
                &json!({ "deployment": deployment, "versions": versions, "changes": changes }),
            );
            return Ok(ExitCode::SUCCESS);
        }
        if versions.is_empty() {
            let queue = &self.queue;
            super::output::note_text(format_args!(
                "no version of `{queue}` is stored\nhint: `toril deploy {} FILE` deploys one",
                quoted(queue)
            ));
        }
        for version in &versions {
            show_version(version, &deployment);
        }
        if !changes.is_empty() {
            super::print_line("changes, newest first");
        }
        for change in changes.iter().take(20) {
            show_change(change);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show_queue(queue: &str, deployment: &Deployment, hosts: &[QueueStatus]) {
    super::print_line(queue);
    match &deployment.active {
        Some(digest) => super::print_line(format_args!("  deployed   {}", short_digest(digest))),
        None => super::print_line("  deployed   nothing: hosts serve their own files"),
    }
    if let Some(canary) = &deployment.canary {
        let names = if canary.rule.jobs.is_empty() {
            String::new()
        } else {
            format!(" named {}", canary.rule.jobs.join(", "))
        };
        super::print_line(format_args!(
            "  candidate  {} takes {} % of the jobs{names}",
            short_digest(&canary.digest),
            canary.rule.percent
        ));
        let share = |[completed, failed]: [u64; 2]| format!("{failed} of {}", completed + failed);
        super::print_line(format_args!(
            "             failed first attempts: candidate {}, active {}",
            share(canary.candidate),
            share(canary.active)
        ));
    }
    if hosts.is_empty() {
        super::print_line("  no host serves it now");
    }
    hosts.iter().for_each(show_host);
}

fn show_host(host: &QueueStatus) {
    let state = match (host.alive, host.paused) {
        (false, _) => format!("silent for {}", since(host.age)),
        (true, true) => "paused".to_owned(),
        (true, false) => format!("{} of {} jobs run", host.running, host.concurrency),
    };
    super::print_line(format_args!("  {:<22} {state}", host.name));
    show_admin(host, "    ");
    for version in &host.versions {
        let role = if host.active.as_ref() == Some(&version.digest) {
            "active"
        } else if host.candidate.as_ref() == Some(&version.digest) {
            "candidate"
        } else {
            "draining"
        };
        super::print_line(format_args!(
            "    {} {role}: {} running, {} completed, {} failed",
            short_digest(&version.digest),
            version.in_flight,
            version.completed,
            version.failed
        ));
    }
    if host.versions.is_empty() {
        super::print_line("    no processor yet");
    }
    if !host.grants.is_empty() {
        super::print_line(format_args!("    granted {}", host.grants.join("; ")));
    }
    if let Some(refusal) = &host.refusal {
        let digest = refusal.digest.as_deref().map_or("a file", short_digest);
        super::print_text(format_args!(
            "    refused {digest} {} ago: {}",
            since(now_ms().saturating_sub(refusal.at)),
            refusal.reason
        ));
    }
}

fn show_version(version: &StoredVersion, deployment: &Deployment) {
    let candidate = deployment.canary.as_ref().map(|canary| &canary.digest);
    let role = if deployment.active.as_ref() == Some(&version.digest) {
        "active"
    } else if candidate == Some(&version.digest) {
        "candidate"
    } else {
        ""
    };
    super::print_line(format_args!(
        "{} {:>9} {:>10} bytes  {:>8} ago  {}",
        short_digest(&version.digest),
        role,
        version.note.bytes,
        since(now_ms().saturating_sub(version.at)),
        version.note.name.as_deref().unwrap_or("")
    ));
}

fn show_change(change: &Change) {
    let reason = match &change.reason {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    super::print_text(format_args!(
        "  {:>8} ago  {} {}{reason}",
        since(now_ms().saturating_sub(change.at)),
        change.what,
        short_digest(&change.digest)
    ));
}

/// A time in words, as coarse as people need it.
fn since(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
