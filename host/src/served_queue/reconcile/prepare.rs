//! Getting ready what a spec asks for. Nothing that serves is changed here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use tracing::{info, warn};

use super::{RETRY_MIN, Reconciler};
use crate::processor_file::read_processor;
use crate::served_queue::deployment::{Deployment, Deployments};
use crate::served_queue::loader::Loader;
use crate::served_queue::{QueueSpec, Source, Stage};
use crate::versions::{Version, Versions};
use toril_queue::{Queue, QueueError};
use toril_sandbox::{Checked, Engine, Policy};

/// All that a spec needs, ready to be exchanged.
pub(super) struct Prepared {
    pub(super) source: Source,
    pub(super) policy: Arc<Policy>,
    pub(super) file: Option<Arc<Version>>,
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
        let file = match file {
            Some(file) => Some(file),
            None => self.prepare_file(spec, &policy).await?,
        };
        // One that waits for the worker's end is newer than the one that serves.
        let serving = self.shared.serving.load_full();
        let source = self.next.clone();
        let source = source.or_else(|| Some(serving?.source.clone()));
        let source = source.filter(|source| source.queue.keys().prefix() == prefix);
        let source = match source {
            Some(source) => source,
            None => {
                let queue = Queue::new(context.redis.clone(), prefix, &self.shared.name);
                self.begin(queue, spec, &policy, file.clone()).await?
            }
        };
        Ok(Prepared {
            source,
            policy,
            file,
        })
    }

    /// Loads the file that a spec names, unless the queue has already loaded it under the same policy.
    async fn prepare_file(
        &mut self,
        spec: &QueueSpec,
        policy: &Arc<Policy>,
    ) -> anyhow::Result<Option<Arc<Version>>> {
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
        let version = load_file(&self.context.engine, file, policy).await?;
        // The same component keeps its counts, and its instances.
        let same = loaded.filter(|loaded| loaded.digest() == version.digest());
        Ok(same.or(Some(version)))
    }

    /// Takes up what is deployed, before the first job runs. Asks until Redis answers.
    async fn begin(
        &mut self,
        queue: Queue,
        spec: &QueueSpec,
        policy: &Arc<Policy>,
        file: Option<Arc<Version>>,
    ) -> anyhow::Result<Source> {
        let deployments = Deployments::of(&queue);
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
        match self.first_deployment(source.loader.deployments()).await? {
            Ok(deployment) => {
                self.deployment = deployment;
                self.adopt(&source).await;
            }
            Err(error) if source.versions.active().is_some() => {
                let queue = self.shared.name.as_str();
                warn!(queue, %error, "deployments are not followed, the queue's file serves; give this redis user the keys `toril:*`");
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
                "queue has no processor yet, its jobs wait for a deployment"
            );
        }
        Ok(source)
    }

    /// What is deployed now. The outer error: the host stops while Redis is unreachable.
    async fn first_deployment(
        &mut self,
        deployments: &Deployments,
    ) -> anyhow::Result<Result<Deployment, QueueError>> {
        let backoff = ExponentialBuilder::default()
            .with_max_delay(RETRY_MIN)
            .without_max_times();
        let read = || async {
            deployments.enlist().await?;
            deployments.current().await
        };
        let mut stage = self.context.stage.subscribe();
        tokio::select! {
            read = read.retry(backoff).when(QueueError::is_transient) => Ok(read),
            _ = stage.wait_for(|stage| *stage != Stage::Work) => {
                Err(anyhow::anyhow!("the host is stopping"))
            }
        }
    }
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

/// Loads the component of a file.
async fn load_file(
    engine: &Arc<Engine>,
    file: &Path,
    policy: &Arc<Policy>,
) -> anyhow::Result<Arc<Version>> {
    check_file(engine, file, policy).await?.load(engine).await
}
