//! Processors in TypeScript and JavaScript: an npm package bundles each into one script, which Node.js does, and the engine
//! that comes with the package is stopped right after it has loaded that script.

pub(super) mod bundler;
mod installing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use serde::Deserialize;
use tokio::process::Command;
use toril_snapshot::{Script, ScriptEngine, Snapshots};

use super::{Built, ask, made_of, number_of};
use crate::config::default_cache_dir;
use toril_sandbox::regular_file::{self, LARGE_BYTES_MAX};

/// The package, below `node_modules`.
const PACKAGE: &str = "@toril/sdk";
/// Names a directory that holds the package, for developers of the package.
const PACKAGE_DIR: &str = "TORIL_JS_SDK";
/// A bundler that takes longer hangs.
const BUNDLE_TIME_MAX: Duration = Duration::from_secs(120);

pub(super) async fn build(file: &Path) -> anyhow::Result<Built> {
    let package = find_package(file)?;
    let bundle = bundler::bundle(&package, file).await?;
    made_of::note(file, bundle.inputs);
    let engine = package.join(&bundle.engine);
    let engine = regular_file::read(&engine, LARGE_BYTES_MAX)
        .with_context(|| format!("failed to read `{}`", engine.display()))?;
    let (script, source_map, sdk) = (bundle.script, bundle.source_map, bundle.sdk.to_string());
    let snapshot = tokio::task::spawn_blocking(move || {
        let cache = default_cache_dir();
        let engine = ScriptEngine::new(engine);
        let snapshots = Snapshots::new(&engine, cache.as_deref())?;
        snapshots.snapshot(&Script {
            source: &script,
            source_map: &source_map,
            sdk: &sdk,
        })
    });
    let snapshot = snapshot
        .await?
        .map_err(|error| beside(error.into(), &bundle.warnings))?;
    Ok(Built {
        component: snapshot.component,
        warnings: [bundle.warnings, snapshot.warnings].concat(),
        file: None,
    })
}

/// A script that fails while it is loaded, with what the bundler found suspicious in it: often that is the reason.
fn beside(error: anyhow::Error, warnings: &[String]) -> anyhow::Error {
    match warnings {
        [] => error,
        warnings => anyhow!("{error:#}\n\n{}", warnings.join("\n")),
    }
}

/// What the bundler prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    script: String,
    source_map: String,
    warnings: Vec<String>,
    inputs: BTreeSet<PathBuf>,
    /// The file in the package that is to run the script: one has all that scripts can use, another one less.
    #[serde(default = "whole_engine")]
    engine: PathBuf,
    sdk: serde_json::Value,
}

/// Packages before this one had no other.
fn whole_engine() -> PathBuf {
    "engine.wasm".into()
}

const INSTALL: &str = "install Node.js 20 or newer: it bundles processors in TypeScript and JavaScript. To serve a processor \
                       without Node.js, serve the component that `toril build` makes";

pub(super) async fn tools(file: &Path) -> anyhow::Result<String> {
    let version = ask(Command::new("node").arg("--version"), INSTALL).await?;
    ensure!(
        number_of(&version, 0) >= 20,
        "Node.js is {version}, which is too old\nhint: {INSTALL}"
    );
    let package = find_package(file)?;
    Ok(format!(
        "Node.js {version}, `{PACKAGE}` in `{}`",
        package.display()
    ))
}

/// The package that is installed for a file, as Node finds it: in `node_modules` of its directory or of one above. Where there
/// is none, the package that npm installed together with this program: a project that has `toril` alone, or none at all.
fn find_package(file: &Path) -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os(PACKAGE_DIR) {
        return Ok(dir.into());
    }
    let file = std::path::absolute(file)?;
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    let found = installed_for(&file).or_else(|| installed_for(&program.ok()?));
    found.with_context(|| {
        format!(
            "the npm package `{PACKAGE}`, which builds scripts, is not installed\nhint: {}",
            installing::hint(&file)
        )
    })
}

/// pnpm keeps the packages that others depend on in `node_modules/.pnpm/node_modules`, which is above each of them, too.
fn installed_for(file: &Path) -> Option<PathBuf> {
    let dirs = file.ancestors().skip(1);
    let mut packages = dirs.map(|dir| dir.join("node_modules").join(PACKAGE));
    packages.find(|package| package.join("bundle.mjs").is_file())
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
        // One that the project names is installed as it names it.
        for (manifest, command) in [
            (
                "{}",
                format!(
                    "`npm install --save-dev @toril/sdk` in `{}`",
                    file.parent().unwrap().display()
                ),
            ),
            (
                r#"{"devDependencies":{"@toril/sdk":"file:../sdk"}}"#,
                format!("`npm install` in `{}`", project.path().display()),
            ),
        ] {
            std::fs::write(project.path().join("package.json"), manifest).unwrap();
            let missing = find_package(&file).unwrap_err().to_string();
            assert!(missing.ends_with(&command), "{missing}");
        }
        let package = install(&project.path().join("node_modules"));
        assert_eq!(find_package(&file).unwrap(), package);
    }

    /// As npm leaves it where a project depends on a directory: a link to it, without the packages that it names.
    #[tokio::test]
    async fn package_without_its_own_packages_says_how_to_install_them() {
        let dir = tempfile::tempdir().unwrap();
        let package = install(dir.path());
        std::fs::write(package.join("bundle.mjs"), "import 'a-bundler';").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&package, &link).unwrap();
        let error = bundler::bundle(&link, &dir.path().join("paint.ts")).await;
        let error = error.err().unwrap().to_string();
        let package = package.canonicalize().unwrap();
        let named = format!("`@toril/sdk` in `{}` lacks", package.display());
        assert!(
            error.contains(&named)
                && error.contains("hint: if it is linked, run `npm install --install-links`"),
            "{error}"
        );
    }

    #[test]
    fn package_that_came_with_the_program_is_found_beside_it() {
        let project = tempfile::tempdir().unwrap();
        let modules = project.path().join("node_modules");
        let beside = |program: &str| installed_for(&modules.join(program));
        let by_pnpm =
            ".pnpm/@toril+linux-x64-gnu@1.0.0/node_modules/@toril/linux-x64-gnu/bin/toril";
        assert_eq!(beside(by_pnpm), None);
        let hidden = install(&modules.join(".pnpm/node_modules"));
        assert_eq!(beside(by_pnpm), Some(hidden));
        let package = install(&modules);
        assert_eq!(beside("@toril/linux-x64-gnu/bin/toril"), Some(package));
    }

    fn install(modules: &Path) -> PathBuf {
        let package = modules.join(PACKAGE);
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("bundle.mjs"), "").unwrap();
        package
    }
}
