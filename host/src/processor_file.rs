//! What a user names as a processor: a component, or a source that becomes one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use tracing::warn;

use crate::component_file::read_component;
use crate::language::{Built, Language, project};
use crate::unknown_key;
use toril_sandbox::LoadError;

/// How long an error waits for a hint.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// Reads the component of a file, or builds it where the file is source.
pub async fn read_processor(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let Some(language) = Language::of(file) else {
        let read = read_component(file, bytes_max).await;
        return or_hint(read, file).await;
    };
    let built = build(language, file).await?;
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

/// Builds the processor of a source file.
pub async fn build(language: Language, file: &Path) -> anyhow::Result<Built> {
    let built = language.build(file).await;
    let built = built.with_context(|| format!("failed to build `{}`", file.display()));
    or_hint(built, file).await
}

/// Adds to an error what to do about a name that leads to no file. It is at the end of the innermost error, so that a log that
/// joins the errors has it last.
async fn or_hint<T>(done: anyhow::Result<T>, file: &Path) -> anyhow::Result<T> {
    let Err(error) = done else {
        return done;
    };
    // That a file system does not answer may be the error.
    let path = file.to_owned();
    let looking = tokio::task::spawn_blocking(move || hint_for_name(&path));
    match tokio::time::timeout(LOOK_TIME_MAX, looking).await {
        Ok(Ok(Some(hint))) => {
            let cause = anyhow!("{}\nhint: {hint}", error.root_cause());
            Err(cause.context(error.to_string()))
        }
        _ => Err(error),
    }
}

/// None: the name is that of a file, and something else is wrong.
fn hint_for_name(file: &Path) -> Option<String> {
    let Ok(found) = std::fs::metadata(file) else {
        return hint_for_missing(file);
    };
    if !found.is_dir() {
        return None;
    }
    // A component of this name, or a project.
    let inside = project::processors(file).ok()?;
    let files = inside.iter().map(|found| {
        let file = found.file.strip_prefix(".").unwrap_or(&found.file);
        format!("`{}`", file.display())
    });
    let files = files.collect::<Vec<_>>().join(", ");
    Some(format!("it is a directory; name the file in it: {files}"))
}

fn hint_for_missing(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_string_lossy();
    let dir = match file.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Some(format!("there is no directory `{}`", dir.display()));
    };
    let there = entries
        .flatten()
        .map(|entry| PathBuf::from(entry.file_name()));
    let is_processor = |file: &PathBuf| {
        Language::of(file).is_some() || file.extension() == Some(OsStr::new("wasm"))
    };
    let there = there.filter(is_processor);
    let there: Vec<String> = there.map(|file| file.display().to_string()).collect();
    let near = unknown_key::nearest_word(&name, there.iter().map(String::as_str))?;
    Some(format!(
        "did you mean `{}`?",
        file.with_file_name(near).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn name_that_leads_to_no_file_has_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("dist")).unwrap();
        for name in ["painter.ts", "toril.toml", "dist/painter.wasm"] {
            std::fs::write(path(name), "").unwrap();
        }
        for (name, hint) in [
            (
                "paintr.ts",
                format!("did you mean `{}`?", path("painter.ts").display()),
            ),
            (
                "dist/panter.wasm",
                format!("did you mean `{}`?", path("dist/painter.wasm").display()),
            ),
            (
                "dst/painter.wasm",
                format!("there is no directory `{}`", path("dst").display()),
            ),
            (
                "",
                format!(
                    "it is a directory; name the file in it: `{}`",
                    path("painter.ts").display()
                ),
            ),
        ] {
            let error = read_processor(&path(name), 1000).await.unwrap_err();
            let said = format!("{error:#}");
            assert!(said.ends_with(&format!("\nhint: {hint}")), "{name}: {said}");
            assert!(error.to_string().starts_with("failed to "), "{said}");
        }
        let error = read_processor(&path("nothing-like-it.go"), 1000)
            .await
            .unwrap_err();
        assert!(!format!("{error:#}").contains("hint"), "{error:#}");
    }
}
