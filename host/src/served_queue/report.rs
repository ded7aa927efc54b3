//! What a queue is doing on one host: one type for `toril status`, the admin API, the fleet's list and the metrics.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::metrics::QueueGauges;
use crate::versions::VersionReport;

/// What one host does for one queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// The queue's name.
    pub queue: String,
    /// The host: another one for each process.
    pub host: String,
    /// The machine's name and the process's id.
    pub name: String,
    /// The address at which its admin API listens; none where it has no admin API.
    pub admin: Option<String>,
    /// The revision of the deployment that it follows.
    pub revision: u64,
    /// The digest of the processor that the next job runs on; none while jobs wait for one.
    pub active: Option<String>,
    /// The candidate of a canary.
    pub candidate: Option<String>,
    /// The versions that serve, or that jobs still run on.
    pub versions: Vec<VersionReport>,
    /// Jobs that run at once.
    pub concurrency: usize,
    /// Jobs that are held now.
    pub running: usize,
    /// True while no jobs are taken.
    pub paused: bool,
    /// What was refused last and is tried again.
    pub refusal: Option<Refusal>,
    /// What its processors may do beyond their jobs: names, no values.
    pub grants: Vec<String>,
    /// How long ago it reported, in ms; counted by Redis.
    pub age: u64,
    /// False where it has not reported for some seconds.
    pub alive: bool,
}

/// A processor or a config that was not taken, and why. What there was before goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The digest, where it was known.
    pub digest: Option<String>,
    /// Why.
    pub reason: String,
    /// When, in ms since the epoch.
    pub at: u64,
}

impl QueueStatus {
    /// As metrics.
    pub(crate) fn gauges(&self) -> QueueGauges<'_> {
        let versions = self.versions.iter();
        QueueGauges {
            queue: &self.queue,
            running: self.running,
            concurrency: self.concurrency,
            paused: self.paused,
            active: self.active.as_deref(),
            candidate: self.candidate.as_deref(),
            versions: versions
                .map(|version| (&*version.digest, version.in_flight))
                .collect(),
        }
    }
}
