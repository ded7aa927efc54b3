//! Processors in TypeScript and JavaScript: an npm package bundles each into one script, which Node.js does, and the engine
//! that comes with the package is stopped right after it has loaded that script.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;
use toril_snapshot::{Script, Snapshots};

use super::{Built, run};
use crate::config::default_cache_dir;

/// The package, below `node_modules`.
const PACKAGE: &str = "@toril/sdk";
/// Names a directory that holds the package, for developers of the package.
const PACKAGE_DIR: &str = "TORIL_JS_SDK";
/// A bundler that takes longer hangs.
const BUNDLE_TIME_MAX: Duration = Duration::from_secs(120);

pub(super) async fn build(file: &Path) -> anyhow::Result<Built> {
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
        file: None,
    })
}

/// What the bundler prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    script: String,
    source_map: String,
    warnings: Vec<String>,
    sdk: serde_json::Value,
}

async fn bundle(package: &Path, file: &Path) -> anyhow::Result<Bundle> {
    let mut node = Command::new("node");
    node.arg(package.join("bundle.mjs")).arg(file);
    let missing = "install Node.js 20 or newer: it bundles processors in TypeScript and JavaScript. To serve one without it, \
                   serve the component that `toril build` makes";
    let printed = run(&mut node, BUNDLE_TIME_MAX, missing).await?;
    serde_json::from_slice(&printed.output).context("the bundler printed what is no bundle")
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
}
