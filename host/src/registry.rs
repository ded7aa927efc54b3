//! Which processor runs the jobs of a queue, and how one is exchanged for the next.
//!
//! A swap checks the new component fully and then stores one pointer: a running job keeps the
//! processor that it started with, and a component that fails any check leaves the old one in place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use crate::runtime::{Grants, Limits, Processor, Runtime};

/// The processor of one queue.
pub struct Slot {
    path: PathBuf,
    limits: Limits,
    grants: Arc<Grants>,
    current: ArcSwap<Processor>,
}

impl Slot {
    /// Loads a queue's processor from its file.
    pub async fn load(
        runtime: &Arc<Runtime>,
        path: &Path,
        limits: &Limits,
        grants: &Grants,
    ) -> anyhow::Result<Self> {
        let processor = load_file(runtime, path, limits).await?;
        Ok(Slot {
            path: path.to_owned(),
            limits: limits.clone(),
            grants: Arc::new(grants.clone()),
            current: ArcSwap::from_pointee(processor),
        })
    }

    /// The processor to run the next job with.
    pub fn current(&self) -> Arc<Processor> {
        self.current.load_full()
    }

    /// What one attempt may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it may do beyond its own job.
    pub fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.grants)
    }

    /// Reads the file again and swaps if it is another component. True: it was swapped.
    pub async fn reload(&self, runtime: &Arc<Runtime>) -> anyhow::Result<bool> {
        let next = load_file(runtime, &self.path, &self.limits).await?;
        if next.digest == self.current.load().digest {
            return Ok(false);
        }
        self.current.store(Arc::new(next));
        Ok(true)
    }
}

async fn load_file(
    runtime: &Arc<Runtime>,
    path: &Path,
    limits: &Limits,
) -> anyhow::Result<Processor> {
    let bytes = tokio::fs::read(path)
        .await
        .with_context(|| format!("failed to read component `{}`", path.display()))?;
    runtime
        .load(bytes, limits)
        .await
        .with_context(|| format!("component `{}` was refused", path.display()))
}
