//! Finds the processor of a directory, where nobody names it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::Language;
use crate::config::{DEFAULT_FILE, processors_of};
use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

/// Names that say nothing of what a file does: its directory does.
const COMMON_NAMES: [&str; 5] = ["lib", "main", "index", "mod", "processor"];

/// A processor that is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What to call it, and its queue.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
}

/// The processors of a directory: those that its `toril.toml` names by queue, or else the one that is there.
pub fn processors(dir: &Path) -> anyhow::Result<Vec<Found>> {
    let config = dir.join(DEFAULT_FILE);
    if config.is_file() {
        let named = processors_of(&config)?;
        if !named.is_empty() {
            let found = named.into_iter().map(|(name, file)| Found { name, file });
            return Ok(found.collect());
        }
    }
    Ok(vec![find(dir)?])
}

/// The one processor of a directory. Several, or none, are an error.
pub fn find(dir: &Path) -> anyhow::Result<Found> {
    let mut candidates = of_project_files(dir)?;
    if candidates.is_empty() {
        candidates = sources_in(dir)?;
    }
    if candidates.is_empty() && dir.join("src").is_dir() {
        candidates = sources_in(&dir.join("src"))?;
    }
    candidates.sort();
    candidates.dedup();
    match &candidates[..] {
        [file] => Ok(Found {
            name: name_of(dir, file),
            file: file.clone(),
        }),
        [] => bail!(
            "there is no processor in `{}`\nhint: {}",
            shown(dir).display(),
            hint_or(
                dir,
                "name its file, or a `processor` for each queue in `toril.toml`; `toril new NAME` makes a project"
            )
        ),
        several => bail!(
            "there are several files in `{}` that may be the processor:\n{}\nhint: name one, or a `processor` for each queue in \
             `toril.toml`",
            shown(dir).display(),
            listed(several)
        ),
    }
}

/// What to do in a directory in which something is missing: go to the project near it, or else what is given.
pub fn hint_or(dir: &Path, otherwise: &str) -> String {
    match near(dir) {
        Some(project) => format!(
            "there is a project in `{}`: run the command there",
            project.display()
        ),
        None => otherwise.to_owned(),
    }
}

/// The project that a directory without a config is in, or the only one that is in it.
fn near(dir: &Path) -> Option<PathBuf> {
    let is_project = |dir: &Path| dir.join(DEFAULT_FILE).is_file();
    if is_project(dir) {
        return None;
    }
    let absolute = std::path::absolute(shown(dir)).ok()?;
    if let Some(above) = absolute.ancestors().skip(1).find(|dir| is_project(dir)) {
        return Some(above.to_owned());
    }
    let entries = std::fs::read_dir(shown(dir)).ok()?;
    let mut below = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|dir| is_project(dir));
    let (first, second) = (below.next()?, below.next());
    let first = first.strip_prefix(".").unwrap_or(&first).to_owned();
    second.is_none().then_some(first)
}

/// An empty path is the working directory, too, though no system call takes it.
fn shown(dir: &Path) -> &Path {
    match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    }
}

fn listed(files: &[PathBuf]) -> String {
    let lines = files.iter().map(|file| format!("  {}", file.display()));
    lines.collect::<Vec<_>>().join("\n")
}

/// What the files at the top of a project say. Where they name a processor, other sources are parts of it.
fn of_project_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    // The manifest of a workspace has no crate of its own.
    let of_cargo = dir.join("src/lib.rs");
    if dir.join("Cargo.toml").is_file() && of_cargo.is_file() {
        found.push(of_cargo);
    }
    let of_go = dir.join("main.go");
    if dir.join("go.mod").is_file() && of_go.is_file() {
        found.push(of_go);
    }
    found.extend(main_of_package(dir)?);
    Ok(found)
}

#[derive(Deserialize)]
struct Package {
    main: Option<PathBuf>,
}

/// The `main` of `package.json`, where it is a file that is there.
fn main_of_package(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    let manifest = dir.join("package.json");
    let Ok(text) = regular_file::read(&manifest, SMALL_BYTES_MAX) else {
        return Ok(None);
    };
    let package: Package = serde_json::from_slice(&text)
        .with_context(|| format!("`{}` is invalid", manifest.display()))?;
    let main = package.main.map(|main| dir.join(main));
    Ok(main.filter(|main| main.is_file() && Language::of(main) == Some(Language::Script)))
}

/// The sources in a directory that may be processors.
fn sources_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(shown(dir));
    let entries = entries.with_context(|| format!("failed to list `{}`", dir.display()))?;
    let files = entries.flatten().map(|entry| dir.join(entry.file_name()));
    Ok(files
        .filter(|file| file.is_file() && may_be_processor(file))
        .collect())
}

/// False for files that other tools read, and for tests.
fn may_be_processor(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let has = |part: &str| name.contains(part);
    let is_tool = name.starts_with('.') || has(".config.") || has(".d.");
    let is_test = has(".test.") || has(".spec.") || has("_test.") || name.starts_with("test_");
    let of_python = ["conftest.py", "setup.py", "__init__.py"].contains(&&*name);
    match Language::of(file) {
        None | Some(Language::Rust) => false,
        Some(_) => !is_tool && !is_test && !of_python,
    }
}

/// The name of a processor's file, or where that is a common one, of its project.
fn name_of(dir: &Path, file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if !COMMON_NAMES.contains(&&*stem) {
        return stem.into_owned();
    }
    let dir = dir.canonicalize();
    let name = dir
        .ok()
        .and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    // It becomes the name of a queue, in which colons separate.
    name.map_or_else(|| stem.into_owned(), |name| name.replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the processor among files that are made first.
    fn found(files: &[(&str, &str)]) -> Result<(String, PathBuf), String> {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("painter");
        for (file, text) in files {
            let file = dir.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let found = find(&dir).map_err(|error| error.to_string())?;
        Ok((
            found.name,
            found.file.strip_prefix(&dir).unwrap().to_owned(),
        ))
    }

    #[test]
    fn each_language_has_its_place() {
        for (files, name, file) in [
            (
                &[("Cargo.toml", ""), ("src/lib.rs", ""), ("build.rs", "")][..],
                "painter",
                "src/lib.rs",
            ),
            (
                &[("go.mod", ""), ("main.go", ""), ("walls.go", "")],
                "painter",
                "main.go",
            ),
            (
                &[
                    ("package.json", r#"{"main":"src/paint.ts"}"#),
                    ("src/paint.ts", ""),
                    ("src/walls.ts", ""),
                ],
                "paint",
                "src/paint.ts",
            ),
            (
                &[
                    ("package.json", "{}"),
                    ("paint.ts", ""),
                    ("paint.test.ts", ""),
                    ("vite.config.ts", ""),
                ],
                "paint",
                "paint.ts",
            ),
            (
                &[
                    ("package.json", r#"{"main":"dist/index.js"}"#),
                    ("src/index.ts", ""),
                ],
                "painter",
                "src/index.ts",
            ),
            (
                &[("paint.py", ""), ("test_paint.py", ""), ("conftest.py", "")],
                "paint",
                "paint.py",
            ),
            (&[("paint.c", ""), ("paint.h", "")], "paint", "paint.c"),
        ] {
            assert_eq!(
                found(files),
                Ok((name.to_owned(), file.into())),
                "{files:?}"
            );
        }
    }

    #[test]
    fn several_candidates_are_listed_and_none_is_explained() {
        let error = found(&[("one.ts", ""), ("two.py", "")]).unwrap_err();
        assert!(
            error.contains("one.ts\n") && error.contains("two.py\n"),
            "{error}"
        );
        let error = found(&[("README.md", "")]).unwrap_err();
        assert!(error.contains("hint: name its file"), "{error}");
        let error = found(&[("one/toril.toml", "")]).unwrap_err();
        assert!(error.contains("hint: there is a project in `"), "{error}");
        let error = found(&[("one/toril.toml", ""), ("two/toril.toml", "")]).unwrap_err();
        assert!(error.contains("hint: name its file"), "{error}");
        let error = found(&[("package.json", "{")]).unwrap_err();
        assert!(error.contains("package.json` is invalid"), "{error}");
    }
}
