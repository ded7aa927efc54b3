//! Getting ready what a spec asks for. Nothing that serves is changed here.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backon::Retryable as _;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Reconciler;
use crate::processor_file::read_processor;
use crate::retries::pauses;
use crate::served_queue::deployment::{Deployment, Deployments};
use crate::served_queue::loader::Loader;
use crate::served_queue::{QueueSpec, Source};
use crate::versions::{Version, Versions};
use toril_queue::{Queue, QueueError};
use toril_sandbox::{Checked, Engine, Policy};

/// How long Redis may take to say what is deployed, before a queue is refused: who asked for it waits that long.
const REDIS_TIME_MAX: Duration = Duration::from_secs(5);
/// ... before this is given up where something else is asked of the queue.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is said that a queue waits for Redis.
const SILENCE_INTERVAL: Duration = Duration::from_secs(60);

/// All that a spec needs, ready to be exchanged.
pub(super) struct Prepared {
    pub(super) source: Source,
    pub(super) policy: Arc<Policy>,
    pub(super) file: Option<Arc<Version>>,
    /// Replaced versions that the new policy refuses.
    pub(super) refused: Vec<Arc<Version>>,
}

impl Reconciler {
    pub(super) async fn prepare(
        &mut self,
        spec: &QueueSpec,
        file: Option<Arc<Version>>,
    ) -> anyhow::Result<Prepared> {
        spec.check()?;
        let context = Arc::clone(&self.context);
        context.engine.check_limits(&spec.limits)?;
        let prefix = spec.prefix.as_deref().unwrap_or(&context.prefix);
        context.redis.check_prefix(prefix)?;
        let policy = Arc::new(spec.policy());
        // One that waits for the worker's end is newer than the one that serves.
        let serving = self.shared.serving.load_full();
        let source = self.next.clone();
        let source = source.or_else(|| Some(serving?.source.clone()));
        let source = source.filter(|source| source.queue.keys().prefix() == prefix);
        if let Some(source) = source {
            let file = self.prepare_file(spec, file, &policy).await?;
            return Ok(Prepared {
                refused: judge(&context.engine, &source.versions, &policy).await?,
                source,
                policy,
                file,
            });
        }
        let queue = Queue::new(context.redis.clone(), prefix, &self.shared.name);
        // First: while Redis is unreachable, no file is built in vain.
        let deployments = Deployments::of(&queue).over(&context.control);
        let deployment = self.first_deployment(&deployments).await?;
        let file = self.prepare_file(spec, file, &policy).await?;
        let source = self.begin(queue, spec, &policy, file.clone(), deployment);
        Ok(Prepared {
            source: source.await?,
            policy,
            file,
            refused: Vec::new(),
        })
    }

    /// Loads the file that a spec names, unless that is done, or the queue has loaded it under the same policy.
    async fn prepare_file(
        &mut self,
        spec: &QueueSpec,
        ready: Option<Arc<Version>>,
        policy: &Arc<Policy>,
    ) -> anyhow::Result<Option<Arc<Version>>> {
        if ready.is_some() {
            return Ok(ready);
        }
        let Some(file) = &spec.processor else {
            return Ok(None);
        };
        let serving = self.shared.serving.load_full();
        let loaded = serving.and_then(|serving| serving.versions().file());
        let same = self
            .spec
            .as_ref()
            .is_some_and(|old| old.processor == spec.processor && old.policy() == **policy);
        if same && loaded.is_some() {
            return Ok(loaded);
        }
        self.shared.observers.listeners.building(file);
        let component = self.read(file).await?;
        let engine = Arc::clone(&self.context.engine);
        let checked = check_component(&engine, file, component, policy).await?;
        let version = checked.load(&engine).await?;
        // The same component keeps its counts, and its instances.
        let same = loaded.filter(|loaded| loaded.digest() == version.digest());
        Ok(same.or(Some(version)))
    }

    /// Takes up what is deployed, before the first job runs.
    async fn begin(
        &mut self,
        queue: Queue,
        spec: &QueueSpec,
        policy: &Arc<Policy>,
        file: Option<Arc<Version>>,
        deployment: Result<Deployment, QueueError>,
    ) -> anyhow::Result<Source> {
        let deployments = Deployments::of(&queue).over(&self.context.control);
        let loader = Loader::new(Arc::clone(&self.context.engine), deployments);
        let loader = Arc::new(loader);
        let metrics = self.shared.observers.metrics.clone();
        let (policy, elsewhere) = (Arc::clone(policy), Arc::clone(&loader));
        let versions = Versions::new(queue.clone(), policy, spec.pinned, elsewhere, metrics);
        versions.put_file(file);
        let mut source = Source {
            queue,
            versions: Arc::new(versions),
            loader,
            followed: true,
        };
        match deployment {
            Ok(deployment) => {
                self.deployment = deployment;
                self.adopt(&source).await;
            }
            Err(error) if source.versions.active().is_some() => {
                let queue = self.shared.name.as_str();
                warn!(queue, %error, "the host does not follow deployments and serves the queue's file; give this redis user the keys `toril:*`");
                source.followed = false;
            }
            Err(error) => {
                return Err(error).context("the queue has no file, and deployments cannot be read");
            }
        }
        if source.versions.active().is_none() {
            let queue = self.shared.name.as_str();
            info!(
                queue,
                "queue has no processor yet: its jobs wait for a deployment"
            );
        }
        Ok(source)
    }

    /// What is deployed now. The outer error: Redis does not say so now; the inner one: it never will.
    async fn first_deployment(
        &mut self,
        deployments: &Deployments,
    ) -> anyhow::Result<Result<Deployment, QueueError>> {
        let last = Mutex::new(None);
        let read = || async {
            match deployments.enlist().await {
                // The list can wait until Redis has room again: hosts enlist their queues now and then.
                Err(error) if error.is_out_of_memory() => {}
                enlisted => enlisted?,
            }
            deployments.current().await
        };
        let read = read
            .retry(pauses())
            .when(QueueError::is_transient)
            .notify(|error, _| *last.lock() = Some(error.to_string()));
        let mut read = pin!(read);
        let soon = tokio::time::timeout(PATIENCE, &mut read).await;
        let read = match soon {
            Ok(read) => Ok(read),
            Err(_) => {
                let read = tokio::time::timeout(REDIS_TIME_MAX - PATIENCE, read);
                self.unless_asked(read).await?
            }
        };
        if let Ok(read) = read {
            self.silence = None;
            return Ok(read);
        }
        // Asked again soon, whatever this try took.
        self.unread = true;
        let reason = last.into_inner();
        let reason = reason.unwrap_or_else(|| "it does not answer".to_owned());
        self.note_silence(&reason);
        let problem = std::io::Error::new(std::io::ErrorKind::TimedOut, reason);
        let problem = QueueError::from(redis::RedisError::from(problem));
        Err(anyhow::Error::new(problem)
            .context("the deployment cannot be read; the host tries again"))
    }

    /// Says that the queue waits for Redis, once and then now and again.
    fn note_silence(&mut self, reason: &str) {
        let said = self
            .silence
            .is_some_and(|at| at.elapsed() < SILENCE_INTERVAL);
        if !said {
            self.silence = Some(Instant::now());
            warn!(
                queue = self.shared.name.as_str(),
                reason, "queue is not served until redis says what is deployed; trying again"
            );
        }
    }
}

/// Refuses a policy that would not let in what is deployed: its jobs would fail. Returns the replaced versions that it does
/// not let in.
async fn judge(
    engine: &Engine,
    versions: &Versions,
    policy: &Arc<Policy>,
) -> anyhow::Result<Vec<Arc<Version>>> {
    let mut refused = Vec::new();
    if *versions.policy() == **policy {
        return Ok(refused);
    }
    let candidate = versions.canary().map(|canary| Arc::clone(&canary.version));
    for version in versions.deployed().into_iter().chain(candidate) {
        let judged = engine.judge(&version.processor, policy).await;
        judged.with_context(|| {
            format!(
                "these settings refuse `{}`, which is deployed",
                version.digest()
            )
        })?;
    }
    for version in versions.kept() {
        if engine.judge(&version.processor, policy).await.is_err() {
            refused.push(version);
        }
    }
    Ok(refused)
}

/// The component of a file, checked as far as it can be without compiling it.
pub(crate) struct CheckedFile {
    file: PathBuf,
    component: Checked,
    policy: Arc<Policy>,
}

/// Reads the component of a file, and checks what can be checked at once.
pub(crate) async fn check_file(
    engine: &Engine,
    file: &Path,
    policy: &Arc<Policy>,
) -> anyhow::Result<CheckedFile> {
    let component = read_processor(file, engine.component_bytes_max()).await?;
    check_component(engine, file, component, policy).await
}

async fn check_component(
    engine: &Engine,
    file: &Path,
    component: Vec<u8>,
    policy: &Arc<Policy>,
) -> anyhow::Result<CheckedFile> {
    let component = engine.check(component, policy).await;
    Ok(CheckedFile {
        component: component.with_context(|| refused(file))?,
        file: file.to_owned(),
        policy: Arc::clone(policy),
    })
}

impl CheckedFile {
    /// Compiles it.
    pub(crate) async fn load(self, engine: &Arc<Engine>) -> anyhow::Result<Arc<Version>> {
        let processor = engine.load_checked(self.component, &self.policy).await;
        Ok(Version::new(
            processor.with_context(|| refused(&self.file))?,
        ))
    }
}

fn refused(file: &Path) -> String {
    format!("component `{}` was refused", file.display())
}
