//! Builds a processor that is written in TypeScript or JavaScript: its npm package bundles it into one script, and the
//! engine that comes with the package is stopped right after it has loaded that script.
//!
//! Node.js runs the bundler, so this is for machines where processors are written. What comes out is a component that any
//! host runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;
use toril_snapshot::{Script, Snapshots};

use crate::config::default_cache_dir;

/// The package, below `node_modules`.
const PACKAGE: &str = "@toril/sdk";
/// Names a directory that holds the package, for developers of the package.
const PACKAGE_DIR: &str = "TORIL_JS_SDK";
/// A bundler that takes longer hangs.
const BUNDLE_TIME_MAX: Duration = Duration::from_secs(120);

/// The most directories of a project that are watched.
const DIRS_MAX: usize = 1000;

/// A script that became a component.
pub struct Built {
    /// The component.
    pub component: Vec<u8>,
    /// What is not as its author may believe.
    pub warnings: Vec<String>,
    /// The files that it was made of.
    pub inputs: Vec<PathBuf>,
}

/// True where a file is TypeScript or JavaScript, by its name.
pub fn is_script(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        ["ts", "mts", "cts", "tsx", "js", "mjs", "cjs", "jsx"].contains(&extension)
    })
}

/// Builds the processor of a file.
pub async fn build(file: &Path) -> anyhow::Result<Built> {
    // A missing file is no mistake of the bundler's.
    tokio::fs::metadata(file).await?;
    let package = find_package(file)?;
    let bundle = bundle(&package, file).await?;
    let engine = package.join("engine.wasm");
    let engine = tokio::fs::read(&engine)
        .await
        .with_context(|| format!("failed to read `{}`", engine.display()))?;
    let (script, source_map, sdk) = (bundle.script, bundle.source_map, bundle.sdk.to_string());
    let component = tokio::task::spawn_blocking(move || {
        let cache = default_cache_dir();
        let snapshots = Snapshots::new(&engine, cache.as_deref())?;
        snapshots.snapshot(&Script {
            source: &script,
            source_map: &source_map,
            sdk: &sdk,
        })
    });
    Ok(Built {
        component: component.await??,
        warnings: bundle.warnings,
        inputs: bundle.inputs,
    })
}

/// What the bundler prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    script: String,
    source_map: String,
    warnings: Vec<String>,
    inputs: Vec<PathBuf>,
    sdk: serde_json::Value,
}

async fn bundle(package: &Path, file: &Path) -> anyhow::Result<Bundle> {
    let mut node = Command::new("node");
    node.arg(package.join("bundle.mjs")).arg(file);
    node.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(BUNDLE_TIME_MAX, node.output())
        .await
        .with_context(|| format!("the bundler took more than {} s", BUNDLE_TIME_MAX.as_secs()))?;
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow::anyhow!(
            "`node` was not found\nhint: install Node.js 20 or newer: it bundles processors in TypeScript and \
             JavaScript. To serve one without it, serve the component that `toril build` makes"
        ),
        _ => error.into(),
    })?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    serde_json::from_slice(&output.stdout).context("the bundler printed what is no bundle")
}

/// The directories whose files it may be made of: those of its project, or its own where it is in none. What was installed or
/// built there is none of them.
pub(crate) fn project_dirs(file: &Path) -> BTreeSet<PathBuf> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let Some(own) = file.parent() else {
        return BTreeSet::new();
    };
    let mut above = own.ancestors();
    let project = above.find(|dir| dir.join("package.json").is_file());
    let mut dirs = BTreeSet::new();
    let mut left = vec![project.unwrap_or(own).to_owned()];
    while let Some(dir) = left.pop() {
        if dirs.len() == DIRS_MAX {
            break;
        }
        left.extend(dirs_below(&dir));
        dirs.insert(dir);
    }
    dirs
}

fn dirs_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let of_the_project = dirs.filter(|dir| {
        let name = dir.file_name();
        let name = name.to_string_lossy();
        !name.starts_with('.') && !["node_modules", "dist"].contains(&&*name)
    });
    of_the_project.map(|dir| dir.path()).collect()
}

/// The package that is installed for a file, as Node finds it: in `node_modules` of its directory or of one above.
fn find_package(file: &Path) -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os(PACKAGE_DIR) {
        return Ok(dir.into());
    }
    let file = std::path::absolute(file)?;
    let dirs = file.ancestors().skip(1);
    let mut packages = dirs.map(|dir| dir.join("node_modules").join(PACKAGE));
    let found = packages.find(|package| package.join("bundle.mjs").is_file());
    found.with_context(|| {
        let dir = file.parent().unwrap_or(&file).display();
        format!(
            "the npm package `{PACKAGE}`, which builds it, is not installed\nhint: run `npm install --save-dev {PACKAGE}` in `{dir}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_found_in_a_directory_above_or_its_absence_is_explained() {
        let project = tempfile::tempdir().unwrap();
        let file = project.path().join("src/jobs/paint.ts");
        let missing = find_package(&file).unwrap_err().to_string();
        assert!(
            missing.contains("npm install --save-dev @toril/sdk"),
            "{missing}"
        );
        let package = project.path().join("node_modules").join(PACKAGE);
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("bundle.mjs"), "").unwrap();
        assert_eq!(find_package(&file).unwrap(), package);
    }

    #[test]
    fn directories_of_a_project_are_its_own() {
        let project = tempfile::tempdir().unwrap();
        let dir = |name: &str| project.path().join(name);
        for name in ["src/jobs", "lib", "node_modules/zod", "dist", ".git/refs"] {
            std::fs::create_dir_all(dir(name)).unwrap();
        }
        std::fs::write(dir("package.json"), "{}").unwrap();
        let dirs = project_dirs(&dir("src/jobs/paint.ts"));
        let expected = [dir(""), dir("src"), dir("src/jobs"), dir("lib")];
        assert!(
            dirs.iter().eq(expected.iter().collect::<BTreeSet<_>>()),
            "{dirs:?}"
        );
    }
}
