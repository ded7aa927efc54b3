//! Processors in Go: the user's `go` compiles the package that a file is in to a core module, which becomes a component here.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use tokio::process::Command;

use super::{Built, ask, number_of, run};

/// Names the program.
const GO: &str = "TORIL_GO";
/// Go compiles its standard library, too, the first time.
const TIME_MAX: Duration = Duration::from_secs(600);
const INSTALL: &str = "install Go 1.24 or newer, https://go.dev/dl: it builds processors in Go. The variable TORIL_GO names a \
                       `go` that is not in the PATH";
const NO_MODULE: &str = "run `go mod init NAME` in the directory of the program";
const NO_SDK: &str = "name the directory of the SDK, which no server has: \
                      `go mod edit -require toril@v0.0.0 -replace toril=/PATH_OF_TORIL/sdk/go`";
/// What Go says where it does not find the SDK.
const SDK_IS_MISSING: [&str; 2] = [
    "package toril is not in std",
    "module providing package toril ",
];
/// `sdk/go/README.md` says what each is for.
const BUILD: [&str; 4] = [
    "build",
    "-buildmode=c-shared",
    "-trimpath",
    "-ldflags=-w -checklinkname=0",
];

pub(super) async fn build(file: &Path) -> anyhow::Result<Built> {
    let file = std::path::absolute(file)?;
    let package = file.parent().unwrap_or(&file);
    let dir = tempfile::tempdir()?;
    let core = dir.path().join("core.wasm");
    let mut go = program();
    go.args(BUILD).arg("-o").arg(&core).arg(".");
    go.current_dir(package);
    go.env("GOOS", "wasip1").env("GOARCH", "wasm");
    let compiled = run(&mut go, TIME_MAX, INSTALL).await.map_err(with_hint)?;
    let core = tokio::fs::read(&core).await?;
    // It runs `main`.
    let component = tokio::task::spawn_blocking(move || toril_componentize::of_go(&core));
    Ok(Built {
        component: component.await??,
        warnings: Some(compiled.said)
            .filter(|said| !said.is_empty())
            .into_iter()
            .collect(),
        file: None,
    })
}

pub(super) async fn tools(file: &Path) -> anyhow::Result<String> {
    let mut go = program();
    // A module may ask for another version than the one that is installed.
    go.current_dir(
        file.parent()
            .filter(|dir| dir.is_dir())
            .unwrap_or(Path::new(".")),
    );
    let version = ask(go.args(["env", "GOVERSION"]), INSTALL).await?;
    ensure!(
        number_of(&version, 1) >= 24,
        "Go is {version}, which is too old\nhint: {INSTALL}"
    );
    Ok(version)
}

fn program() -> Command {
    Command::new(std::env::var_os(GO).unwrap_or_else(|| OsString::from("go")))
}

fn with_hint(error: anyhow::Error) -> anyhow::Error {
    let said = error.to_string();
    let hint = if said.contains("-buildmode=c-shared not supported") {
        INSTALL
    } else if said.contains("go.mod file not found") {
        NO_MODULE
    } else if SDK_IS_MISSING.iter().any(|text| said.contains(text)) {
        NO_SDK
    } else {
        return error;
    };
    anyhow!("{said}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_that_is_too_old_is_explained() {
        let old = with_hint(anyhow!("-buildmode=c-shared not supported on wasip1/wasm"));
        assert!(old.to_string().contains("hint: install Go 1.24 or newer"));
        let other = with_hint(anyhow!("./paint.go:3:1: syntax error"));
        assert_eq!(other.to_string(), "./paint.go:3:1: syntax error");
    }

    #[test]
    fn module_or_sdk_that_is_missing_is_explained() {
        let hint = |said: &str| with_hint(anyhow!(said.to_owned())).to_string();
        let module = hint("go: go.mod file not found in current directory or any parent directory");
        assert!(module.ends_with(&format!("\nhint: {NO_MODULE}")));
        for said in [
            "main.go:6:2: package toril is not in std (/usr/lib/go/src/toril)",
            "main.go:6:2: missing go.sum entry for module providing package toril (imported by a); to add:\n\tgo get a",
        ] {
            assert!(hint(said).ends_with(&format!("\nhint: {NO_SDK}")));
        }
        let other = "no required module provides package example.com/toril; to add it:";
        assert_eq!(hint(other), other);
    }
}
