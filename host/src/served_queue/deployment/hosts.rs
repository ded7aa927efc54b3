//! The hosts of a fleet, as they report themselves: for each queue that they work, and as a whole.

use std::collections::BTreeMap;

use super::Deployments;
use super::record::{from_json, to_json};
use crate::served_queue::{Identity, QueueStatus};
use toril_queue::{QueueError, Redis, script};

/// A host that has not reported for this long counts as gone.
pub(super) const GONE_MS: u64 = 5_000;
/// The hosts that have an admin API, whether they work queues or not. It is under no queue's hash tag: it is of all queues.
const HOSTS: &str = "toril:hosts";

impl Deployments {
    /// What the hosts said last of what they do. Those that are gone for long are left out.
    pub async fn hosts(&self) -> Result<Vec<QueueStatus>, QueueError> {
        let now = now_ms(&self.redis).await?;
        let reports = self.read("HGETALL", "hosts", &[]).await?;
        Ok(read_reports(&reports, now))
    }
}

/// Reports where the admin API of a host listens. A host without a queue is in no report of a queue.
pub(crate) async fn announce(redis: &Redis, identity: &Identity) -> Result<(), QueueError> {
    let script = script!(in "src/served_queue/lua": "lib", "announce");
    let report = QueueStatus {
        host: identity.host.clone(),
        name: identity.name.clone(),
        admin: identity.admin.get().map(ToString::to_string),
        ..QueueStatus::default()
    };
    let mut call = script.call(HOSTS);
    call.arg(&identity.host).arg(to_json(&report));
    redis.run(script, &call).await
}

/// Takes a host that leaves off the list.
pub(crate) async fn withdraw_host(redis: &Redis, host: &str) -> Result<(), QueueError> {
    let mut command = redis::cmd("HDEL");
    command.arg(HOSTS).arg(host);
    Ok(command.query_async(&mut redis.shared()).await?)
}

/// The hosts that have an admin API and are alive, whether they work queues or not. Their reports name no queue.
pub async fn announced_hosts(redis: &Redis) -> Result<Vec<QueueStatus>, QueueError> {
    let now = now_ms(redis).await?;
    let mut command = redis::cmd("HGETALL");
    let reports = command.arg(HOSTS).query_async(&mut redis.shared()).await?;
    let mut hosts = read_reports(&reports, now);
    hosts.retain(|host| host.alive);
    Ok(hosts)
}

/// Redis's time: the clocks of hosts may differ.
async fn now_ms(redis: &Redis) -> Result<u64, QueueError> {
    let command = redis::cmd("TIME");
    let (seconds, micros): (u64, u64) = command.query_async(&mut redis.shared()).await?;
    Ok(seconds * 1000 + micros / 1000)
}

/// Reads `host -> 'TIME JSON'`.
fn read_reports(reports: &BTreeMap<String, String>, now: u64) -> Vec<QueueStatus> {
    let read = |text: &String| {
        let (at, report) = text.split_once(' ')?;
        let mut report: QueueStatus = from_json(report)?;
        report.age = now.saturating_sub(at.parse().ok()?);
        report.alive = report.age < GONE_MS;
        Some(report)
    };
    let mut hosts: Vec<QueueStatus> = reports.values().filter_map(read).collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts
}
