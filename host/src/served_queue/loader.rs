//! Gets deployed versions ready: from Redis, checked and compiled, one at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::warn;

use super::deployment::{Deployments, Standing};
use crate::versions::{FindVersion, Found, Version, Versions};
use toril_queue::QueueError;
use toril_sandbox::{Engine, LoadError};

/// Loads the versions that are stored for one queue.
pub(super) struct Loader {
    engine: Arc<Engine>,
    deployments: Deployments,
    /// One load at a time: jobs that need the same version wait for one load of it.
    loading: Mutex<()>,
}

/// Why a version cannot run.
pub(super) enum NotLoaded {
    /// Redis did not answer: ask again.
    Unreachable(QueueError),
    /// The machine is short of something: ask again.
    MachineIsShort(String),
    /// It must not run here.
    Refused(String),
}

impl From<QueueError> for NotLoaded {
    fn from(error: QueueError) -> Self {
        NotLoaded::Unreachable(error)
    }
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::MachineIsShort(_) => NotLoaded::MachineIsShort(error.to_string()),
            error => NotLoaded::Refused(error.to_string()),
        }
    }
}

impl Loader {
    pub(super) fn new(engine: Arc<Engine>, deployments: Deployments) -> Self {
        Loader {
            engine,
            deployments,
            loading: Mutex::default(),
        }
    }

    pub(super) fn deployments(&self) -> &Deployments {
        &self.deployments
    }

    /// Prepares a version: one that the host has loaded already, or the component that Redis stores.
    pub(super) async fn load(
        &self,
        versions: &Versions,
        digest: &str,
    ) -> Result<Arc<Version>, NotLoaded> {
        let _one_at_a_time = self.loading.lock().await;
        if let Some(version) = versions.find(digest) {
            return Ok(version);
        }
        let max = self.engine.component_bytes_max();
        let bytes = self.deployments.component_bytes(digest).await?;
        if bytes > max {
            return Err(LoadError::TooLarge { bytes, max }.into());
        }
        let Some(component) = self.deployments.component(digest).await? else {
            let reason = "its component is no longer in redis".to_owned();
            return Err(NotLoaded::Refused(reason));
        };
        let processor = self.engine.load(component, &versions.policy()).await?;
        if *processor.digest != *digest {
            let reason = format!("redis holds `{}` under this digest", processor.digest);
            return Err(NotLoaded::Refused(reason));
        }
        Ok(Version::new(processor))
    }

    async fn look_for(&self, versions: &Versions, digest: &str) -> Found {
        match self.load_former(versions, digest).await {
            Ok(found) => found,
            Err(NotLoaded::Unreachable(error)) if error.is_transient() => {
                Found::NotNow(error.to_string())
            }
            Err(NotLoaded::MachineIsShort(reason)) => Found::NotNow(reason),
            Err(NotLoaded::Unreachable(error)) => {
                warn!(digest, %error, "version of a job could not be read");
                Found::Nothing
            }
            Err(NotLoaded::Refused(reason)) => {
                warn!(digest, reason, "version of a job was refused");
                Found::Nothing
            }
        }
    }

    /// A version that served, or the candidate, of which this host may not have heard yet; nobody goes on with a candidate
    /// that was aborted.
    async fn load_former(&self, versions: &Versions, digest: &str) -> Result<Found, NotLoaded> {
        let found = match self.deployments.standing(digest).await? {
            Standing::WasActive => Found::Version,
            Standing::Candidate => Found::Candidate,
            Standing::Neither => return Ok(Found::Nothing),
        };
        self.load(versions, digest).await.map(found)
    }
}

impl FindVersion for Loader {
    fn find_version<'a>(
        &'a self,
        versions: &'a Versions,
        digest: &'a str,
    ) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>> {
        Box::pin(self.look_for(versions, digest))
    }
}
