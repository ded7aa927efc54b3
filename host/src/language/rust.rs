//! Processors in Rust: cargo builds the crate that a file is in, and says where the component is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::{Built, Printed, ask, output};
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

/// Names the program.
const CARGO: &str = "TORIL_CARGO";
/// The first build compiles all dependencies.
const TIME_MAX: Duration = Duration::from_secs(1800);
const TARGET: &str = "wasm32-wasip2";
/// A profile of this name is for processors alone. A crate without one is built as it is for release.
const PROFILE: &str = "processor";
const INSTALL: &str = "install Rust, https://rustup.rs: it builds processors in Rust. The variable TORIL_CARGO names a `cargo` \
                       that is not in the PATH";
const NO_TARGET: &str = "Rust's target `wasm32-wasip2`, for which processors are built, is not installed\n\
                         hint: run `rustup target add wasm32-wasip2`";

pub(super) async fn build(file: &Path) -> anyhow::Result<Built> {
    let manifest = manifest_of(file)?;
    let profile = match has_profile(&manifest).await? {
        true => PROFILE,
        false => "release",
    };
    let mut build = cargo(&manifest);
    build.args(["build", "--quiet", "--color", "never", "--target", TARGET]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build.args(["--profile", profile]);
    let (status, printed) = output(&mut build, TIME_MAX, INSTALL).await?;
    if !status.success() {
        bail!(explained(printed.said));
    }
    let component = component_in(&printed.output, &manifest)?;
    Ok(Built {
        warnings: warnings(printed),
        component: tokio::fs::read(&component)
            .await
            .with_context(|| format!("failed to read `{}`", component.display()))?,
        file: Some(component),
    })
}

pub(super) async fn tools(file: &Path) -> anyhow::Result<String> {
    let manifest = manifest_of(file)?;
    let version = ask(cargo(&manifest).arg("--version"), INSTALL).await?;
    // The compiler stands beside its cargo.
    let program = PathBuf::from(cargo(&manifest).as_std().get_program());
    let mut libraries = Command::new(program.with_file_name("rustc"));
    libraries.args(["--target", TARGET, "--print", "target-libdir"]);
    libraries.current_dir(manifest.parent().unwrap_or(Path::new(".")));
    let dir = ask(&mut libraries, INSTALL).await?;
    ensure!(Path::new(&dir).is_dir(), NO_TARGET);
    Ok(format!("{version}, with the target {TARGET}"))
}

fn cargo(manifest: &Path) -> Command {
    let program = std::env::var_os(CARGO).unwrap_or_else(|| OsString::from("cargo"));
    let mut cargo = Command::new(program);
    // There are the files that choose a toolchain and configure cargo.
    if let Some(dir) = manifest.parent() {
        cargo.current_dir(dir);
    }
    cargo
}

/// The nearest `Cargo.toml` above a file, as cargo itself finds it.
fn manifest_of(file: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(file)?;
    let mut manifests = absolute
        .ancestors()
        .skip(1)
        .map(|dir| dir.join("Cargo.toml"));
    manifests
        .find(|manifest| manifest.is_file())
        .with_context(|| {
            format!(
                "`{}` is not in a crate: there is no `Cargo.toml` above it",
                file.display()
            )
        })
}

/// True where the workspace has a profile for processors. Only the manifest of a workspace can have profiles.
async fn has_profile(manifest: &Path) -> anyhow::Result<bool> {
    let mut locate = cargo(manifest);
    locate.args(["locate-project", "--workspace", "--message-format", "plain"]);
    let (status, located) = output(&mut locate, TIME_MAX, INSTALL).await?;
    if !status.success() {
        // A manifest that is wrong: what builds says so, too, and better.
        return Ok(false);
    }
    let root = String::from_utf8_lossy(&located.output).trim().to_owned();
    let root = regular_file::read_text(root.as_ref(), SMALL_BYTES_MAX).unwrap_or_default();
    let root: toml::Table = root.parse().unwrap_or_default();
    let profiles = root.get("profile").and_then(toml::Value::as_table);
    Ok(profiles.is_some_and(|profiles| profiles.contains_key(PROFILE)))
}

/// A line of cargo's, as far as it concerns us.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// The component of the crate, among all that cargo built.
fn component_in(printed: &[u8], manifest: &Path) -> anyhow::Result<PathBuf> {
    let lines = printed.split(|&byte| byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let libraries = messages.filter(|message| {
        let is_library = |target: &Target| target.kind.iter().any(|kind| kind == "cdylib");
        message.reason == "compiler-artifact"
            && message.manifest_path.as_deref() == Some(manifest)
            && message.target.as_ref().is_some_and(is_library)
    });
    let mut files = libraries.flat_map(|message| message.filenames);
    files
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .with_context(|| {
            format!(
                "the crate of `{}` does not produce a component\nhint: add `crate-type = [\"cdylib\"]` to `[lib]` in its `Cargo.toml`",
                manifest.display()
            )
        })
}

/// What cargo and rustc said, as it is; a target that is missing is said once, and not for each crate.
fn explained(said: String) -> anyhow::Error {
    let target = format!("the `{TARGET}` target may not be installed");
    if said.contains(&target) {
        return anyhow!(NO_TARGET);
    }
    if said.contains(&format!("\"{TARGET}\"")) && said.contains("could not find specification") {
        return anyhow!("{said}\nhint: run `rustup update`: this Rust is too old for `{TARGET}`");
    }
    anyhow!(said)
}

/// What was said of a crate that builds.
fn warnings(printed: Printed) -> Vec<String> {
    match printed.said.trim_start_matches("warning: ") {
        "" => Vec::new(),
        said => vec![said.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_stands_for_the_crate_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("src/jobs/paint.rs");
        let error = manifest_of(&file).unwrap_err().to_string();
        assert!(error.contains("is not in a crate"), "{error}");
        std::fs::write(dir.path().join("Cargo.toml"), "").unwrap();
        assert_eq!(manifest_of(&file).unwrap(), dir.path().join("Cargo.toml"));
    }

    #[test]
    fn component_is_the_one_of_the_crate() {
        let line = |manifest: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"kind":["{kind}"]}},"filenames":["{file}"]}}"#
            )
        };
        let lines = [
            r#"{"reason":"build-script-executed"}"#.to_owned(),
            line("/other/Cargo.toml", "cdylib", "/t/other.wasm"),
            line("/paint/Cargo.toml", "bin", "/t/tool.wasm"),
            line("/paint/Cargo.toml", "cdylib", "/t/paint.wasm"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let manifest = Path::new("/paint/Cargo.toml");
        let found = component_in(lines.join("\n").as_bytes(), manifest);
        assert_eq!(found.unwrap(), Path::new("/t/paint.wasm"));
        let error = component_in(lines[..3].join("\n").as_bytes(), manifest);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("crate-type"), "{error}");
    }

    #[test]
    fn missing_target_is_said_once_with_the_command_and_other_errors_stay() {
        let said = "error[E0463]: can't find crate for `core`\n  = note: the `wasm32-wasip2` target may not be installed\n\
            error[E0463]: can't find crate for `std`\n  = note: the `wasm32-wasip2` target may not be installed";
        assert_eq!(explained(said.to_owned()).to_string(), NO_TARGET);
        let said = "error[E0425]: cannot find value `walls` in this scope\n --> src/lib.rs:3:5";
        assert_eq!(explained(said.to_owned()).to_string(), said);
    }
}
