//! Which processor runs a job of a queue, and how one is exchanged for the next.
//!
//! A swap stores one pointer: a running job keeps the version that it started with to its end. Who loads and checks
//! versions stands above, in `served_queue`; from there comes a [`FindVersion`] for versions that only old jobs name.

mod canary;
mod verdict;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::QueueMetrics;
use crate::retries::past_outages_unless_full;
pub use canary::{Canary, CanaryRule, Tally};
use toril_queue::{Job, Queue};
use toril_sandbox::{Digest, Policy, Processor};
pub use verdict::{Counts, verdict};

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

/// The attempts of a version on this host.
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

/// The processors of one queue.
pub struct Versions {
    queue: Queue,
    /// Jobs that come back go on with the version that they started on.
    pinned: AtomicBool,
    policy: ArcSwap<Policy>,
    snapshot: ArcSwap<Snapshot>,
    /// One change at a time; readers never wait for it.
    changing: Mutex<()>,
    /// Loads versions that this queue has not loaded.
    elsewhere: Arc<dyn FindVersion>,
    metrics: QueueMetrics,
    /// True while there is a processor for the next job.
    available: watch::Sender<bool>,
    /// Changes with each swap while jobs are pinned.
    swaps_of_pinned: watch::Sender<()>,
}

/// What became of the search for a version.
pub enum Found {
    /// It is ready to run.
    Version(Arc<Version>),
    /// The same, and it is the candidate of a canary: once that is aborted, no job goes on with it.
    Candidate(Arc<Version>),
    /// It is gone, or must not run here.
    Nothing,
    /// Redis did not answer, or the machine is short of something: this says what.
    NotNow(String),
}

/// Why there is no version for an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum NoLease {
    /// The queue has no processor now.
    NoProcessor,
    /// The job begins only on the version that is noted in it, and for now that version cannot be loaded, or the note cannot be
    /// written.
    NotNow(String),
}

/// Loads versions that jobs were started on and that the queue has not loaded.
pub trait FindVersion: Send + Sync {
    /// The version, if it may run here.
    fn find_version<'a>(
        &'a self,
        versions: &'a Versions,
        digest: &'a str,
    ) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>>;
}

#[derive(Clone, Default)]
struct Snapshot {
    /// From the file that the config names.
    file: Option<Arc<Version>>,
    /// From the deployment in Redis, which takes precedence over the file.
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

impl Snapshot {
    fn active(&self) -> Option<&Arc<Version>> {
        self.deployed.as_ref().or(self.file.as_ref())
    }

    fn serving(&self) -> impl Iterator<Item = &Arc<Version>> {
        let candidate = self.canary.as_ref().map(|canary| &canary.version);
        self.active().into_iter().chain(candidate)
    }

    /// Leases a version of these for an attempt, which counts for or against a canary.
    fn lease(&self, version: &Arc<Version>, job: &Job) -> Lease {
        let is_active = self
            .active()
            .is_some_and(|active| Arc::ptr_eq(active, version));
        let counted = self.canary.as_ref().filter(|canary| canary.counts(job));
        let counted = counted.and_then(|canary| {
            // A candidate may be the active version, from a host's own file, say: its jobs count by who would have run them.
            let is_candidate =
                Arc::ptr_eq(&canary.version, version) && (!is_active || canary.takes(job));
            (is_candidate || is_active).then(|| (Arc::clone(canary), is_candidate))
        });
        Lease::new(Arc::clone(version), counted)
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

impl Versions {
    /// No processor yet.
    pub fn new(
        queue: Queue,
        policy: Arc<Policy>,
        pinned: bool,
        elsewhere: Arc<dyn FindVersion>,
        metrics: QueueMetrics,
    ) -> Self {
        Versions {
            queue,
            pinned: pinned.into(),
            policy: ArcSwap::new(policy),
            snapshot: ArcSwap::default(),
            changing: Mutex::default(),
            elsewhere,
            metrics,
            available: watch::Sender::new(false),
            swaps_of_pinned: watch::Sender::default(),
        }
    }

    /// The processor that the next job runs on, a canary aside.
    pub fn active(&self) -> Option<Arc<Version>> {
        self.snapshot.load().active().cloned()
    }

    /// The canary that runs now.
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.snapshot.load().canary.clone()
    }

    /// What the queue's file held.
    pub fn file(&self) -> Option<Arc<Version>> {
        self.snapshot.load().file.clone()
    }

    /// What is deployed, where a deployment is followed.
    pub fn deployed(&self) -> Option<Arc<Version>> {
        self.snapshot.load().deployed.clone()
    }

    /// What its processors may use and do.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Changes the policy of attempts that start from now on. One that says the same as before keeps its connections, and
    /// its idle instances.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        let _one_at_a_time = self.changing.lock();
        if **self.policy.load() == *policy {
            return;
        }
        for version in self.snapshot.load().serving() {
            version.processor.keep_instances(&policy);
        }
        self.policy.store(policy);
    }

    /// Replaced versions that pinned jobs may come back to.
    pub fn kept(&self) -> Vec<Arc<Version>> {
        self.snapshot.load().kept.clone()
    }

    /// Forgets replaced versions: a job that comes back to one of them goes on with the newest.
    pub fn forget_kept(&self, forgotten: &[Arc<Version>]) {
        let is_forgotten = |kept: &Arc<Version>| forgotten.iter().any(|one| Arc::ptr_eq(one, kept));
        self.change(|snapshot| snapshot.kept.retain(|kept| !is_forgotten(kept)));
    }

    /// Pins jobs to the version that they start on, from now on, or does so no longer.
    pub fn set_pinned(&self, pinned: bool) {
        self.pinned.store(pinned, Ordering::Relaxed);
    }

    fn is_pinned(&self) -> bool {
        self.pinned.load(Ordering::Relaxed)
    }

    /// The digest to note in the jobs that are taken, where jobs are pinned.
    pub fn pin(&self) -> Option<Arc<str>> {
        if !self.is_pinned() {
            return None;
        }
        Some(self.snapshot.load().active()?.digest().clone().into())
    }

    /// True while there is a processor for the next job.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.available.subscribe()
    }

    /// Changes when the processor is swapped while jobs are pinned: those that run keep their version, and go on with it
    /// on whichever host has room.
    pub fn swaps_of_pinned(&self) -> watch::Receiver<()> {
        self.swaps_of_pinned.subscribe()
    }

    /// The version that an attempt runs on: the active one, the candidate of a canary, or the one that the job is
    /// pinned to. Where jobs are pinned, it is noted in the job before the attempt begins.
    pub async fn lease(&self, job: &Job) -> Result<Lease, NoLease> {
        let lease = match self.started_on(job) {
            None => self.lease_serving(job).ok_or(NoLease::NoProcessor)?,
            Some(digest) => self.lease_pinned(digest, job).await?,
        };
        let digest = &lease.processor().digest;
        if self.is_pinned() && job.version.as_deref() != Some(&**digest) {
            // In a box: few jobs need it, and the attempts of the others should not be larger for it.
            Box::pin(self.correct_pin(job, digest)).await?;
        }
        Ok(lease)
    }

    /// The version of an earlier attempt that this one must go on with.
    fn started_on<'job>(&self, job: &'job Job) -> Option<&'job str> {
        let has_begun = job.attempts_started > 1 || !job.steps.is_empty();
        if !self.is_pinned() || !has_begun {
            return None;
        }
        job.version.as_deref()
    }

    fn lease_serving(&self, job: &Job) -> Option<Lease> {
        let snapshot = self.snapshot.load();
        let active = snapshot.active()?;
        let version = match &snapshot.canary {
            Some(canary) if canary.takes(job) => &canary.version,
            _ => active,
        };
        Some(snapshot.lease(version, job))
    }

    async fn lease_pinned(&self, digest: &str, job: &Job) -> Result<Lease, NoLease> {
        if let Some(version) = self.find(digest) {
            return Ok(self.snapshot.load().lease(&version, job));
        }
        match self.elsewhere.find_version(self, digest).await {
            Found::Version(found) => {
                self.change(|snapshot| snapshot.retire(&found, true));
                Ok(Lease::new(found, None))
            }
            Found::Candidate(found) => Ok(Lease::new(found, None)),
            Found::Nothing => {
                info!(
                    queue = self.name(),
                    job_id = &*job.id,
                    digest,
                    "job started on a version that is no longer known; it continues on the newest"
                );
                let active = self.active().ok_or(NoLease::NoProcessor)?;
                Ok(Lease::new(active, None))
            }
            // The job must not lose its version for what passes.
            Found::NotNow(reason) => Err(NoLease::NotNow(format!(
                "its version `{digest}` could not be loaded: {reason}"
            ))),
        }
    }

    /// Notes the version in a pinned job where another one was noted when it was taken: before it was known to go to
    /// the candidate, say. The job must not begin before: its next attempt would go on with the other version. It does not
    /// wait for memory of Redis either: it holds a place that others need.
    async fn correct_pin(&self, job: &Job, digest: &Digest) -> Result<(), NoLease> {
        let pin = || self.queue.pin_version(&job.id, &job.token, digest);
        let pinned = past_outages_unless_full(pin).await;
        pinned.map_err(|error| {
            NoLease::NotNow(format!("job could not be pinned to its version: {error}"))
        })
    }

    /// Finds a version among those that are loaded.
    pub fn find(&self, digest: &str) -> Option<Arc<Version>> {
        self.snapshot.load().find(digest)
    }

    /// Puts in what the queue's file holds, or takes it out. It serves unless a deployment does.
    pub fn put_file(&self, version: Option<Arc<Version>>) {
        self.change(|snapshot| snapshot.file = version);
    }

    /// Puts in what is deployed, or takes it out.
    pub fn put_deployed(&self, version: Option<Arc<Version>>) {
        self.change(|snapshot| snapshot.deployed = version);
    }

    /// Begins or ends a canary.
    pub fn put_canary(&self, canary: Option<Arc<Canary>>) {
        self.change(|snapshot| {
            if let Some(old) = snapshot.canary.take() {
                snapshot.retire(&old.version, false);
            }
            snapshot.canary = canary;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let _one_at_a_time = self.changing.lock();
        let old = self.snapshot.load_full();
        let mut new = (*old).clone();
        change(&mut new);
        let (before, after) = (old.active(), new.active().cloned());
        let after_digest = after.as_ref().map(|after| after.digest());
        let replaced = before.filter(|before| after_digest != Some(before.digest()));
        let is_swap = replaced.is_some();
        if let Some(before) = replaced {
            new.retire(before, self.is_pinned());
        }
        // One that was replaced before may be back.
        let policy = self.policy();
        new.serving()
            .for_each(|version| version.processor.keep_instances(&policy));
        self.snapshot.store(Arc::new(new));
        if is_swap && self.is_pinned() {
            self.swaps_of_pinned.send_replace(());
        }
        self.available.send_if_modified(|available| {
            std::mem::replace(available, after.is_some()) != after.is_some()
        });
        // Who reads of it finds it done.
        if let Some(before) = replaced {
            self.note_swap(before, after.as_deref());
        }
    }

    fn note_swap(&self, before: &Version, after: Option<&Version>) {
        let from = before.digest();
        match after {
            Some(after) => {
                self.metrics.swaps.inc();
                info!(queue = self.name(), %from, to = %after.digest(), "processor was swapped");
            }
            None => warn!(
                queue = self.name(),
                %from,
                "processor was removed: jobs wait for the next one"
            ),
        }
    }

    fn name(&self) -> &str {
        self.queue.keys().name()
    }

    /// The versions that serve, or that jobs still run on.
    pub fn report(&self) -> Vec<VersionReport> {
        let snapshot = self.snapshot.load();
        let mut reports: Vec<VersionReport> = Vec::new();
        let retired = snapshot.retired.iter().filter_map(Weak::upgrade);
        let running = retired.filter(|version| version.in_flight.load(Ordering::Relaxed) > 0);
        for version in snapshot.serving().cloned().chain(running) {
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
