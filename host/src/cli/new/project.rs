//! A new project: its files, written as a whole or not at all.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::languages::{COMMON, Lang};

/// The files of a project.
pub(super) struct Project {
    install: &'static str,
    /// Paths in the project, and texts.
    files: Vec<(&'static str, String)>,
}

impl Project {
    /// The files for a name. `sdk` is a local `sdk` directory to depend on.
    pub(super) fn new(name: &str, lang: Lang, sdk: Option<&Path>) -> anyhow::Result<Self> {
        let details = lang.details();
        let sdk = match (sdk, details.sdk) {
            (Some(sdk), Some(dir)) => Some(local_sdk(sdk, dir)?),
            _ => None,
        };
        let dependency = lang.dependency(sdk.as_deref());
        let install = lang.install(sdk.is_some());
        let words = [
            ("{{name}}", name),
            ("{{language}}", details.name),
            ("{{processor}}", details.processor),
            ("{{install}}", install),
            ("{{sdk}}", &dependency),
        ];
        let filled = |text: &str| {
            let fill = |text: String, (word, value): (&str, &str)| text.replace(word, value);
            words.into_iter().fold(text.to_owned(), fill)
        };
        let of_local_sdk = match sdk {
            Some(_) => lang.files_for_local_sdk(),
            None => &[],
        };
        let all = COMMON.iter().chain(details.files).chain(of_local_sdk);
        let mut files: Vec<_> = all.map(|(path, text)| (*path, filled(text))).collect();
        files.sort();
        Ok(Project { install, files })
    }

    /// The paths in the project.
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.files.iter().map(|(path, _)| *path)
    }

    /// What is to be done first.
    pub(super) fn install(&self) -> &'static str {
        self.install
    }

    /// Writes all files to a directory, which is not there or empty. A failure leaves nothing.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let whole = tempfile::Builder::new()
            .prefix(".toril-new-")
            .tempdir_in(parent)?;
        for (path, text) in &self.files {
            let file = whole.path().join(path);
            if let Some(dir) = file.parent() {
                std::fs::create_dir_all(dir)?;
            }
            std::fs::write(file, text)?;
        }
        // A temporary directory is closed to others.
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(whole.path(), rights)?;
        // This replaces an empty directory, and fails where it is not empty any more.
        std::fs::rename(whole.path(), dir)?;
        drop(whole.keep());
        Ok(())
    }
}

/// Refuses a place where something is.
pub(super) fn check_place(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    match std::fs::read_dir(dir) {
        Ok(mut entries) => ensure!(
            entries.next().is_none(),
            "directory `{shown}` exists and is not empty\nhint: choose another name, or work in another directory"
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("`{shown}` cannot become a directory"));
        }
    }
    Ok(())
}

/// The SDK of a language in a local `sdk` directory.
fn local_sdk(sdk: &Path, dir: &str) -> anyhow::Result<String> {
    let path: PathBuf = sdk.join(dir);
    let path = path.canonicalize().with_context(|| {
        format!(
            "`{}` does not exist\nhint: `--sdk` is the directory `sdk` of a checkout of Toril",
            path.display()
        )
    })?;
    let text = path.to_str().context("the path of the SDK is not UTF-8")?;
    // It stands between quotes in manifests.
    ensure!(
        !text.contains(['"', '\\', '\n']),
        "the path of the SDK, `{text}`, has characters that a manifest cannot name"
    );
    Ok(text.to_owned())
}
