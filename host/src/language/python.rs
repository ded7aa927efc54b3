//! Processors in Python: the package `toril`, which Python finds, builds them around componentize-py.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::{Built, ask, number_of, run};
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

/// Names the interpreter that has the package.
const INTERPRETER: &str = "TORIL_PYTHON";
/// Used where there is no other.
const COMMON_INTERPRETER: &str = "python3";
/// A build takes half a minute on two slow cores; one that takes longer than this hangs.
const BUILD_TIME_MAX: Duration = Duration::from_secs(600);

const INSTALL: &str = "install Python 3.11 or newer: it builds processors in Python. To serve a processor without Python, serve the \
                       component that `toril build` makes";

/// What the package prints.
#[derive(Deserialize)]
struct Printed {
    warnings: Vec<String>,
}

pub(super) async fn build(file: &Path) -> anyhow::Result<Built> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("processor.wasm");
    let python = interpreter(file);
    let mut command = Command::new(&python);
    command.args(["-m", "toril", "build", "--json", "--out"]);
    command.arg(&out).arg(file);
    let printed = run(&mut command, BUILD_TIME_MAX, INSTALL).await;
    let printed = printed.map_err(|error| with_hint(error, &python, file))?;
    let printed: Printed = serde_json::from_slice(&printed.output)
        .context("`python -m toril build` printed no JSON")?;
    let warnings = printed.warnings.into_iter();
    Ok(Built {
        component: tokio::fs::read(&out).await?,
        warnings: warnings
            .map(|warning| warning.trim_start_matches("warning: ").to_owned())
            .collect(),
        file: None,
    })
}

pub(super) async fn tools(file: &Path) -> anyhow::Result<String> {
    let python = interpreter(file);
    let version = ask(Command::new(&python).arg("--version"), INSTALL).await?;
    ensure!(
        number_of(&version, 1) >= 11,
        "`{}` is {version}, which is too old\nhint: {INSTALL}",
        python.display()
    );
    let mut package = Command::new(&python);
    package.args(["-c", "import toril, componentize_py; print('toril')"]);
    let found = ask(&mut package, INSTALL).await;
    found.map_err(|_| with_hint(anyhow!("No module named toril"), &python, file))?;
    Ok(format!(
        "{version}, package `toril` of `{}`",
        python.display()
    ))
}

/// The Python of a file: the one that is named, that of the active environment, or of the one beside the file or above.
fn interpreter(file: &Path) -> PathBuf {
    if let Some(named) = std::env::var_os(INTERPRETER) {
        return named.into();
    }
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let above = file.ancestors().skip(1).map(|dir| dir.join(".venv"));
    let mut interpreters = active
        .into_iter()
        .chain(above)
        .map(|dir| dir.join("bin/python"));
    let found = interpreters.find(|python| python.is_file());
    found.unwrap_or_else(|| COMMON_INTERPRETER.into())
}

fn with_hint(error: anyhow::Error, python: &Path, file: &Path) -> anyhow::Error {
    if !error.to_string().contains("No module named toril") {
        return error;
    }
    let (package, dir) = what_to_install(file);
    let install = match python == Path::new(COMMON_INTERPRETER) {
        // Many systems let nobody install packages outside an environment.
        true => format!("python3 -m venv .venv && .venv/bin/pip install {package}"),
        false => format!("{} -m pip install {package}", in_shell(python)),
    };
    let dir = dir.display();
    anyhow!(
        "the Python package `toril`, which builds processors, is not installed\nhint: run `{install}` in `{dir}`, or name the Python \
         that has it in the variable {INTERPRETER}"
    )
}

/// A path in a command that people copy.
fn in_shell(path: &Path) -> String {
    let path = path.display().to_string();
    shlex::try_quote(&path).map_or_else(|_| path.clone(), Into::into)
}

/// What brings the package to the project of a file, and where: what the project depends on, if `toril` is named there.
fn what_to_install(file: &Path) -> (&'static str, PathBuf) {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut dirs = file.ancestors().skip(1);
    let Some(project) = dirs.find(|dir| dir.join("pyproject.toml").is_file()) else {
        return ("toril", file.parent().unwrap_or(&file).to_owned());
    };
    let manifest = regular_file::read_text(&project.join("pyproject.toml"), SMALL_BYTES_MAX);
    let package = match manifest.is_ok_and(|text| depends_on_toril(&text)) {
        true => ".",
        false => "toril",
    };
    (package, project.to_owned())
}

/// True where a `pyproject.toml` names `toril` among what the project needs.
fn depends_on_toril(manifest: &str) -> bool {
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let project = manifest.get("project");
    let needs = project.and_then(|project| project.get("dependencies")?.as_array());
    let is_toril = |need: &toml::Value| {
        let after = need.as_str().and_then(|need| need.strip_prefix("toril"));
        after.is_some_and(|after| {
            !after.starts_with(|next: char| next.is_alphanumeric() || "-_.".contains(next))
        })
    };
    needs.is_some_and(|needs| needs.iter().any(is_toril))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_package_is_explained() {
        let project = tempfile::tempdir().unwrap();
        let file = project.path().join("paint.py");
        let hint = |python: &str| {
            let error = anyhow!("/usr/bin/python3: No module named toril");
            with_hint(error, Path::new(python), &file).to_string()
        };
        assert!(hint("py").contains("`py -m pip install toril`"));
        assert!(hint("a b/py").contains("`'a b/py' -m pip install toril`"));
        assert!(hint("python3").contains("`python3 -m venv .venv && .venv/bin/pip install toril`"));
        let manifest = project.path().join("pyproject.toml");
        for (text, command) in [
            (
                "[project]\ndependencies = [\"toril @ file:///sdk\"]",
                "`py -m pip install .`",
            ),
            (
                "[project]\nname = \"toril-jobs\"\ndependencies = [\"toril-extras\"]",
                "`py -m pip install toril`",
            ),
        ] {
            std::fs::write(&manifest, text).unwrap();
            let hint = hint("py");
            let place = format!("{command} in `{}`", project.path().display());
            assert!(hint.contains(&place), "{hint}");
        }
        let other = with_hint(anyhow!("there is no `process`"), Path::new("py"), &file);
        assert_eq!(other.to_string(), "there is no `process`");
    }
}
