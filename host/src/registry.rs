//! Which processor runs a job of a queue, and how one is exchanged for the next.
//!
//! A swap stores one pointer: a running job keeps the version that it started with to its end, and what
//! fails a check never gets here. Who loads and checks: [`Host`](crate::host::Host) for files, the
//! [`fleet`](crate::fleet) for deployments.

mod canary;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::QueueMetrics;
pub use canary::{Canary, CanaryRule, Tally};
use toril_queue::{Job, now_ms};
use toril_sandbox::{Digest, Policy, Processor};

/// How many versions a queue that pins its jobs keeps ready after they were replaced.
const VERSIONS_KEPT: usize = 10;

/// A processor that serves a queue, or served it.
pub struct Version {
    /// The component.
    pub processor: Processor,
    in_flight: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
}

/// What a version is doing and did, on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionReport {
    /// `sha256:` and the digest of the component.
    pub digest: String,
    /// Attempts that run now.
    pub in_flight: usize,
    /// Attempts that completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// A processor that was not taken, and why. The one before it went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The digest, where it was known.
    pub digest: Option<String>,
    /// Why.
    pub reason: String,
    /// When, in ms since the epoch.
    pub at: u64,
}

/// The processors of one queue.
pub struct Slot {
    queue: String,
    /// Jobs that come back go on with the version that they started on.
    pinned: bool,
    policy: ArcSwap<Policy>,
    versions: ArcSwap<Versions>,
    /// One change at a time; readers never wait for it.
    changing: Mutex<()>,
    refusal: ArcSwapOption<Refusal>,
    metrics: QueueMetrics,
    /// True once there is a processor.
    ready: watch::Sender<bool>,
}

#[derive(Clone, Default)]
struct Versions {
    /// From the file that the config names.
    file: Option<Arc<Version>>,
    /// From the deployment in Redis, which goes before the file.
    deployed: Option<Arc<Version>>,
    canary: Option<Arc<Canary>>,
    /// Replaced ones that pinned jobs may come back to, newest first.
    kept: Vec<Arc<Version>>,
    /// Replaced ones, for as long as jobs run on them.
    retired: Vec<Weak<Version>>,
}

/// The version that runs an attempt, held to its end.
pub struct Lease {
    version: Arc<Version>,
    canary: Option<(Arc<Canary>, bool)>,
}

/// What is to be done to run a job.
pub enum Choice {
    /// Run it on this version.
    Run(Lease),
    /// It was started on a version that is not at hand here: look for it.
    LookFor(String),
    /// There is no processor.
    Nothing,
}

impl Version {
    /// A version that nothing ran on yet.
    pub fn new(processor: Processor) -> Arc<Self> {
        Arc::new(Version {
            processor,
            in_flight: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// The digest of its component.
    pub fn digest(&self) -> &Digest {
        &self.processor.digest
    }

    fn report(&self) -> VersionReport {
        VersionReport {
            digest: self.digest().to_string(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl Lease {
    fn new(version: Arc<Version>, canary: Option<(Arc<Canary>, bool)>) -> Self {
        version.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease { version, canary }
    }

    /// What to run.
    pub fn processor(&self) -> &Processor {
        &self.version.processor
    }

    /// Counts an attempt that ended by what the processor did.
    pub fn count(&self, failed: bool) {
        let total = if failed {
            &self.version.failed
        } else {
            &self.version.completed
        };
        total.fetch_add(1, Ordering::Relaxed);
        if let Some((canary, is_candidate)) = &self.canary {
            canary.count(*is_candidate, failed);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.version.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Versions {
    fn active(&self) -> Option<&Arc<Version>> {
        self.deployed.as_ref().or(self.file.as_ref())
    }

    fn serving(&self) -> impl Iterator<Item = &Arc<Version>> {
        let candidate = self.canary.as_ref().map(|canary| &canary.version);
        self.active().into_iter().chain(candidate)
    }

    fn find(&self, digest: &str) -> Option<Arc<Version>> {
        let at_hand = self.serving().chain(&self.file).chain(&self.kept);
        at_hand
            .into_iter()
            .find(|version| &**version.digest() == digest)
            .cloned()
    }

    /// Remembers what was replaced for as long as it may be asked for.
    fn retire(&mut self, old: &Arc<Version>, keep: bool) {
        self.retired.retain(|retired| retired.strong_count() > 0);
        self.retired.push(Arc::downgrade(old));
        old.processor.keep_no_instances();
        if keep {
            self.kept.retain(|kept| kept.digest() != old.digest());
            self.kept.insert(0, Arc::clone(old));
            self.kept.truncate(VERSIONS_KEPT);
        }
    }
}

impl Slot {
    /// A slot without a processor.
    pub fn new(queue: &str, policy: Policy, pinned: bool, metrics: QueueMetrics) -> Self {
        Slot {
            queue: queue.to_owned(),
            pinned,
            policy: ArcSwap::from_pointee(policy),
            versions: ArcSwap::default(),
            changing: Mutex::default(),
            refusal: ArcSwapOption::empty(),
            metrics,
            ready: watch::Sender::new(false),
        }
    }

    /// The processor that the next job runs on, a canary aside.
    pub fn active(&self) -> Option<Arc<Version>> {
        self.versions.load().active().cloned()
    }

    /// The canary that runs now.
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.versions.load().canary.clone()
    }

    /// What the queue's file held.
    pub fn file(&self) -> Option<Arc<Version>> {
        self.versions.load().file.clone()
    }

    /// What its processors may use and do.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Changes the policy of attempts that start from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// The digest to note in the jobs that are taken, where jobs are pinned.
    pub fn pin(&self) -> Option<Arc<str>> {
        if !self.pinned {
            return None;
        }
        Some(self.versions.load().active()?.digest().clone().into())
    }

    /// True while there is a processor for the next job.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Picks the version for an attempt.
    pub fn choose(&self, job: &Job) -> Choice {
        let versions = self.versions.load();
        if let Some(digest) = self.started_on(job) {
            return match versions.find(digest) {
                Some(version) => Choice::Run(Lease::new(version, None)),
                None => Choice::LookFor(digest.to_owned()),
            };
        }
        let Some(active) = versions.active() else {
            return Choice::Nothing;
        };
        Choice::Run(match &versions.canary {
            Some(canary) if canary.takes(job) => Lease::new(
                Arc::clone(&canary.version),
                Some((Arc::clone(canary), true)),
            ),
            Some(canary) => Lease::new(Arc::clone(active), Some((Arc::clone(canary), false))),
            None => Lease::new(Arc::clone(active), None),
        })
    }

    /// The version of an earlier attempt that this one must go on with.
    fn started_on<'job>(&self, job: &'job Job) -> Option<&'job str> {
        if !self.pinned || job.attempts_started <= 1 {
            return None;
        }
        job.version.as_deref()
    }

    /// Runs a job on a version that was found elsewhere, and keeps that at hand.
    pub fn lease_found(&self, version: Arc<Version>) -> Lease {
        self.change(|versions| versions.retire(&version, true));
        Lease::new(version, None)
    }

    /// Runs a job whose version is nowhere to be found on the newest one.
    pub fn lease_newest(&self) -> Option<Lease> {
        Some(Lease::new(self.active()?, None))
    }

    /// Finds a version that is at hand.
    pub fn find(&self, digest: &str) -> Option<Arc<Version>> {
        self.versions.load().find(digest)
    }

    /// Puts in what the queue's file holds. It serves unless a deployment does.
    pub fn put_file(&self, version: Arc<Version>) {
        self.change(|versions| versions.file = Some(version));
    }

    /// Puts in what is deployed, or takes it out.
    pub fn put_deployed(&self, version: Option<Arc<Version>>) {
        self.change(|versions| versions.deployed = version);
    }

    /// Begins or ends a canary.
    pub fn put_canary(&self, canary: Option<Arc<Canary>>) {
        self.change(|versions| {
            if let Some(old) = versions.canary.take() {
                versions.retire(&old.version, false);
            }
            versions.canary = canary;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Versions)) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.versions.load_full();
        let mut new = (*old).clone();
        change(&mut new);
        let (before, after) = (old.active().cloned(), new.active().cloned());
        if let Some(before) = before
            && let Some(after) = &after
            && before.digest() != after.digest()
        {
            new.retire(&before, self.pinned);
            self.metrics.swaps.inc();
            self.refusal.store(None);
            info!(queue = self.queue, from = %before.digest(), to = %after.digest(), "processor was swapped");
        }
        // One that was replaced before may be back.
        new.serving()
            .for_each(|version| version.processor.keep_instances());
        self.versions.store(Arc::new(new));
        self.ready.send_replace(after.is_some());
    }

    /// Notes that a processor was not taken.
    pub fn refuse(&self, digest: Option<&str>, reason: String) {
        warn!(
            queue = self.queue,
            digest,
            error = reason,
            "swap was refused, the processor that serves stays"
        );
        self.metrics.refusals.inc();
        self.refusal.store(Some(Arc::new(Refusal {
            digest: digest.map(str::to_owned),
            reason,
            at: now_ms(),
        })));
    }

    /// The last refusal, until the next swap.
    pub fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }

    /// The versions that serve, or that jobs still run on.
    pub fn report(&self) -> Vec<VersionReport> {
        let versions = self.versions.load();
        let mut reports: Vec<VersionReport> = Vec::new();
        let retired = versions.retired.iter().filter_map(Weak::upgrade);
        let running = retired.filter(|version| version.in_flight.load(Ordering::Relaxed) > 0);
        for version in versions.serving().cloned().chain(running) {
            if !reports
                .iter()
                .any(|report| *report.digest == **version.digest())
            {
                reports.push(version.report());
            }
        }
        reports
    }
}
