//! What a user names as a processor: a component, or a source that becomes one.

use std::path::Path;

use anyhow::{Context as _, ensure};
use tracing::warn;

use crate::component_file::read_component;
use crate::language::Language;
use toril_sandbox::LoadError;

/// Reads the component of a file, or builds it where the file is source.
pub async fn read_processor(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let Some(language) = Language::of(file) else {
        return read_component(file, bytes_max).await;
    };
    let built = language.build(file).await;
    let built = built.with_context(|| format!("failed to build `{}`", file.display()))?;
    for warning in &built.warnings {
        warn!(file = %file.display(), "{warning}");
    }
    let bytes = built.component.len();
    ensure!(
        bytes <= bytes_max,
        LoadError::TooLarge {
            bytes,
            max: bytes_max
        }
    );
    Ok(built.component)
}
