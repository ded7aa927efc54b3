//! What a queue is doing on one host: one type for `toril status`, the admin API, the fleet's list and the metrics.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::metrics::QueueGauges;
use crate::versions::VersionReport;

/// The state of a queue on one host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// The queue's name.
    pub queue: String,
    /// The id of the host: each process has its own.
    pub host: String,
    /// The name of the machine and the id of the process.
    pub name: String,
    /// The address of its admin API; null if it has none.
    pub admin: Option<String>,
    /// The revision of the deployment that it has taken up.
    pub revision: u64,
    /// The digest of the version that the next job runs on; null while jobs wait for a processor.
    pub active: Option<String>,
    /// The digest of the candidate, during a canary.
    pub candidate: Option<String>,
    /// The versions that take jobs, or that jobs still run on.
    pub versions: Vec<VersionReport>,
    /// How many jobs may run at once.
    pub concurrency: usize,
    /// How many jobs the host holds now.
    pub running: usize,
    /// True while the queue is paused on this host.
    pub paused: bool,
    /// The last refusal. The host tries again.
    pub refusal: Option<Refusal>,
    /// The grants of its processors: names, no values.
    pub grants: Vec<String>,
    /// How long ago the host reported, in ms, by the clock of Redis.
    pub age: u64,
    /// False if the host has not reported for some seconds.
    pub alive: bool,
}

/// A processor or a config that the host has refused. The previous one stays in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The digest, if it is known.
    pub digest: Option<String>,
    /// The reason.
    pub reason: String,
    /// When it happened, in ms since the epoch.
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
