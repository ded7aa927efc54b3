//! The processors of a project: each is built and compiled once, however many cases it has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Mutex;

use crate::processor_file::read_processor;
use toril_sandbox::{Engine, Policy, Processor};

/// Processors by their files.
#[derive(Default)]
pub(super) struct Processors {
    /// A failure is kept, too, so that a build that fails is tried once.
    by_file: Mutex<HashMap<PathBuf, Result<Arc<Processor>, String>>>,
}

/// A processor that was loaded.
pub struct Loaded {
    /// Its file.
    pub file: PathBuf,
    /// How long compiling took; no time where the compiled code was kept.
    pub compile_time: Duration,
}

impl Processors {
    /// The processor of a file. The grants of the first queue that has it judge what it imports.
    pub(super) async fn load(
        &self,
        engine: &Arc<Engine>,
        file: &Path,
        policy: &Arc<Policy>,
    ) -> anyhow::Result<Arc<Processor>> {
        let mut by_file = self.by_file.lock().await;
        if let Some(known) = by_file.get(file) {
            let processor = known.clone().map_err(anyhow::Error::msg)?;
            judge(&processor, policy)?;
            return Ok(processor);
        }
        let loaded = read_and_load(engine, file, policy).await;
        let kept = match &loaded {
            Ok(processor) => Ok(Arc::clone(processor)),
            Err(error) => Err(format!("{error:#}")),
        };
        by_file.insert(file.to_owned(), kept);
        loaded
    }

    pub(super) fn loaded(&self) -> Vec<Loaded> {
        let by_file = self.by_file.try_lock();
        let by_file = by_file.iter().flat_map(|by_file| by_file.iter());
        let mut loaded: Vec<Loaded> = by_file
            .filter_map(|(file, processor)| {
                Some(Loaded {
                    file: file.clone(),
                    compile_time: processor.as_ref().ok()?.compile_time,
                })
            })
            .collect();
        loaded.sort_by(|one, other| one.file.cmp(&other.file));
        loaded
    }
}

async fn read_and_load(
    engine: &Arc<Engine>,
    file: &Path,
    policy: &Arc<Policy>,
) -> anyhow::Result<Arc<Processor>> {
    let component = read_processor(file, engine.component_bytes_max()).await?;
    let processor = engine.load(component, policy).await;
    let processor =
        processor.with_context(|| format!("component `{}` was refused", file.display()))?;
    Ok(Arc::new(processor))
}

/// Queues may have the same processor and other grants.
fn judge(processor: &Processor, policy: &Policy) -> anyhow::Result<()> {
    let imports = processor.inspection.used_imports();
    let judged = policy.grants.check_imports(imports);
    judged.map_err(anyhow::Error::msg)
}
