//! Follows the deployments in Redis: what one host of a fleet is told, all do.
//!
//! A [`Member`] is one queue on one host. It loads what is deployed, puts it into the queue's
//! [`Slot`], and reports at every interval what this host runs. Nobody here touches a running job.

mod deployments;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::registry::{Canary, Choice, Lease, Slot, Version};
use crate::worker::View;
pub use deployments::{
    CanaryRecord, Change, DeployError, Deployment, Deployments, HostReport, Note, StoredVersion,
    Upload, VERSIONS_KEPT,
};
use toril_queue::{Job, Queue, QueueError};
use toril_sandbox::Engine;

/// How often a host asks for what is deployed. One script call of some 30 µs per queue; a deployment is
/// noticed within this time.
const INTERVAL: Duration = Duration::from_millis(200);
/// ... while the queue has no jobs: an idle host sleeps.
const INTERVAL_IDLE: Duration = Duration::from_secs(1);
/// How long it stays attentive after the last job or change.
const ATTENTIVE: Duration = Duration::from_secs(10);
/// ... while Redis does not answer.
const INTERVAL_AWAY: Duration = Duration::from_secs(1);

/// Who a host is, to the others.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Another one for each process.
    pub host: String,
    /// For people: the machine's name and the process's id.
    pub name: String,
}

impl Identity {
    /// The identity of this process.
    pub fn new() -> Self {
        let machine = gethostname::gethostname();
        Identity {
            host: uuid::Uuid::new_v4().to_string(),
            name: format!("{}:{}", machine.to_string_lossy(), std::process::id()),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

/// One queue on this host, with all that its processors come from.
pub struct Member {
    runtime: Arc<Engine>,
    queue: Queue,
    deployments: Deployments,
    slot: Arc<Slot>,
    /// One load at a time: jobs that need the same version wait for one load of it.
    loading: Mutex<()>,
}

impl Member {
    /// A queue that follows nothing yet.
    pub fn new(runtime: Arc<Engine>, queue: &Queue, slot: Arc<Slot>) -> Self {
        Member {
            runtime,
            deployments: Deployments::of(queue),
            queue: queue.clone(),
            slot,
            loading: Mutex::default(),
        }
    }

    /// The engine.
    pub fn runtime(&self) -> &Arc<Engine> {
        &self.runtime
    }

    /// The queue's processors.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// What is deployed on the queue.
    pub fn deployments(&self) -> &Deployments {
        &self.deployments
    }

    /// Takes up what is deployed now, before the first job runs. Asks until Redis answers.
    pub async fn begin(&self) -> Result<u64, QueueError> {
        let backoff = ExponentialBuilder::default()
            .with_max_delay(INTERVAL_AWAY)
            .without_max_times();
        let begin = || async {
            self.deployments.enlist().await?;
            let deployment = self.deployments.current().await?;
            self.adopt(&deployment).await?;
            Ok(deployment.revision)
        };
        begin.retry(backoff).when(QueueError::is_transient).await
    }

    /// Brings the slot in line with a deployment. What is refused is noted, and what serves goes on; an error
    /// means that Redis did not answer.
    async fn adopt(&self, deployment: &Deployment) -> Result<(), QueueError> {
        match &deployment.active {
            None => self.slot.put_deployed(None),
            Some(digest) => {
                if let Some(version) = self.version(digest).await? {
                    self.slot.put_deployed(Some(version));
                }
            }
        }
        let running = self.slot.canary().map(|canary| canary.id);
        match &deployment.canary {
            Some(canary) if running == Some(canary.id) => {}
            Some(record) => {
                let version = self.version(&record.digest).await?;
                let canary =
                    version.map(|version| Canary::new(record.id, version, record.rule.clone()));
                self.slot.put_canary(canary);
            }
            None if running.is_some() => self.slot.put_canary(None),
            None => {}
        }
        Ok(())
    }

    /// Gets a version ready: one that is at hand, or the stored component. None: it was refused.
    async fn version(&self, digest: &str) -> Result<Option<Arc<Version>>, QueueError> {
        let _one_at_a_time = self.loading.lock().await;
        if let Some(version) = self.slot.find(digest) {
            return Ok(Some(version));
        }
        let Some(bytes) = self.deployments.component(digest).await? else {
            let reason = "its component is not in redis any more".to_owned();
            self.slot.refuse(Some(digest), reason);
            return Ok(None);
        };
        match self.runtime.load(bytes, &self.slot.policy()).await {
            Ok(processor) if *processor.digest == *digest => Ok(Some(Version::new(processor))),
            Ok(processor) => {
                let reason = format!("redis holds `{}` under this digest", processor.digest);
                self.slot.refuse(Some(digest), reason);
                Ok(None)
            }
            Err(error) => {
                self.slot.refuse(Some(digest), error.to_string());
                Ok(None)
            }
        }
    }

    /// The version that an attempt runs on. None: the queue has no processor.
    pub async fn lease(&self, job: &Job) -> Option<Lease> {
        let lease = match self.slot.choose(job) {
            Choice::Nothing => return None,
            Choice::Run(lease) => lease,
            Choice::LookFor(digest) => match self.look_for(&digest).await {
                Some(version) => self.slot.lease_found(version),
                None => {
                    info!(
                        queue = self.queue.keys().name(),
                        job_id = &*job.id,
                        digest,
                        "job started on a version that is unknown by now, it goes on with the newest"
                    );
                    self.slot.lease_newest()?
                }
            },
        };
        let digest = &lease.processor().digest;
        if self.slot.pin().is_some() && job.version.as_deref() != Some(&**digest) {
            // Noted when the job was taken, before it was known to go to the candidate, say.
            let pinned = self.queue.pin_version(&job.id, &job.token, digest).await;
            pinned.unwrap_or_else(|error| warn!(queue = self.queue.keys().name(), %error, "job could not be pinned to its version"));
        }
        Some(lease)
    }

    async fn look_for(&self, digest: &str) -> Option<Arc<Version>> {
        let found = async {
            // A candidate that was aborted is none to go on with.
            if !self.deployments.was_active(digest).await? {
                return Ok(None);
            }
            self.version(digest).await
        };
        found.await.unwrap_or_else(|error: QueueError| {
            debug!(%error, "version of a job could not be looked for");
            None
        })
    }

    /// Reports and follows. Never returns.
    pub(crate) async fn follow(self: Arc<Self>, identity: Identity, view: View, begun: u64) {
        let mut revision = begun;
        let mut last_busy = Instant::now();
        loop {
            let canary = self.slot.canary();
            let tally = canary
                .as_ref()
                .map(|canary| (canary.id, canary.take_tally()));
            let report = self.report(&identity, &view, revision);
            if report.running > 0 || canary.is_some() {
                last_busy = Instant::now();
            }
            let attentive = last_busy.elapsed() < ATTENTIVE;
            let mut pause = if attentive { INTERVAL } else { INTERVAL_IDLE };
            match self.deployments.sync(&report, tally).await {
                Ok(None) => {}
                Ok(Some(deployment)) => match self.adopt(&deployment).await {
                    Ok(()) => {
                        revision = deployment.revision;
                        last_busy = Instant::now();
                        // Whoever deployed waits for this.
                        pause = Duration::ZERO;
                    }
                    Err(error) => {
                        debug!(%error, "deployment could not be read");
                        pause = INTERVAL_AWAY;
                    }
                },
                Err(error) => {
                    debug!(queue = self.queue.keys().name(), %error, "deployments could not be asked for");
                    if let (Some(canary), Some((_, tally))) = (canary, tally) {
                        canary.return_tally(tally);
                    }
                    pause = INTERVAL_AWAY;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn report(&self, identity: &Identity, view: &View, revision: u64) -> HostReport {
        let digest = |version: Arc<Version>| version.digest().to_string();
        HostReport {
            host: identity.host.clone(),
            name: identity.name.clone(),
            revision,
            active: self.slot.active().map(digest),
            candidate: self
                .slot
                .canary()
                .map(|canary| canary.version.digest().to_string()),
            versions: self.slot.report(),
            concurrency: view.concurrency(),
            running: view.running(),
            paused: view.is_paused(),
            refusal: self.slot.refusal().map(|refusal| (*refusal).clone()),
            grants: self.slot.policy().grants.describe(),
            age: 0,
            alive: true,
        }
    }

    /// Says that this host does not work the queue any more.
    pub(crate) async fn leave(&self, identity: &Identity) {
        if let Err(error) = self.deployments.leave(&identity.host).await {
            debug!(%error, "host could not be taken off the list");
        }
    }
}
