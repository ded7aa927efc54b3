//! How the SDK comes into a project, in the commands of the package manager that the project uses.

use std::path::Path;

use toril_sandbox::regular_file::{self, SMALL_BYTES_MAX};

use super::PACKAGE;

/// What a project calls to install packages.
struct Manager {
    /// The lock file that it writes beside the `package.json` of a project or of its workspace.
    lock: &'static str,
    /// Installs what `package.json` names.
    install: &'static str,
    /// Adds a package that is needed to build.
    add: &'static str,
}

const NPM: Manager = Manager {
    lock: "package-lock.json",
    install: "npm install",
    add: "npm install --save-dev",
};
const MANAGERS: [Manager; 5] = [
    NPM,
    Manager {
        lock: "pnpm-lock.yaml",
        install: "pnpm install",
        add: "pnpm add --save-dev",
    },
    Manager {
        lock: "yarn.lock",
        install: "yarn install",
        add: "yarn add --dev",
    },
    Manager {
        lock: "bun.lock",
        install: "bun install",
        add: "bun add --dev",
    },
    Manager {
        lock: "bun.lockb",
        install: "bun install",
        add: "bun add --dev",
    },
];
/// What Yarn writes where it puts no packages into `node_modules`.
const PLUG_AND_PLAY: &str = ".pnp.cjs";

/// Says what to do where the package is not installed for a file.
pub(super) fn hint(file: &Path) -> String {
    let listed = manifest_that_lists_it(file);
    let mut above = file.ancestors().skip(1);
    if let Some(dir) = above.find(|dir| dir.join(PLUG_AND_PLAY).is_file()) {
        return format!(
            "Yarn's Plug'n'Play puts no packages into `node_modules`: set `nodeLinker: node-modules` in `.yarnrc.yml` and run \
             `yarn install` in `{}`",
            dir.display()
        );
    }
    let manager = manager_of(file);
    let (command, dir) = match listed {
        Some(dir) => (manager.install.to_owned(), dir),
        None => (
            format!("{} {PACKAGE}", manager.add),
            file.parent().unwrap_or(file),
        ),
    };
    format!("run `{command}` in `{}`", dir.display())
}

/// The one whose lock file is nearest. The file of a workspace is above its projects.
fn manager_of(file: &Path) -> Manager {
    let of_dir = |dir: &Path| {
        MANAGERS
            .into_iter()
            .find(|manager| dir.join(manager.lock).is_file())
    };
    file.ancestors().skip(1).find_map(of_dir).unwrap_or(NPM)
}

/// The directory of the file's `package.json`, if the package is among its dependencies: one from a directory or of another
/// version, say, that must not be replaced by that of the registry.
fn manifest_that_lists_it(file: &Path) -> Option<&Path> {
    let mut dirs = file.ancestors().skip(1);
    let dir = dirs.find(|dir| dir.join("package.json").is_file())?;
    let manifest = regular_file::read(&dir.join("package.json"), SMALL_BYTES_MAX).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).ok()?;
    let kinds = ["dependencies", "devDependencies", "optionalDependencies"];
    let is_listed = kinds
        .iter()
        .any(|kind| manifest[kind].get(PACKAGE).is_some());
    is_listed.then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_package_is_installed_as_the_project_installs_packages() {
        for (lock, add, install) in [
            ("package-lock.json", "npm install --save-dev", "npm install"),
            ("pnpm-lock.yaml", "pnpm add --save-dev", "pnpm install"),
            ("yarn.lock", "yarn add --dev", "yarn install"),
            ("bun.lock", "bun add --dev", "bun install"),
            ("bun.lockb", "bun add --dev", "bun install"),
        ] {
            let workspace = tempfile::tempdir().unwrap();
            let project = workspace.path().join("packages/paint");
            std::fs::create_dir_all(&project).unwrap();
            std::fs::write(workspace.path().join(lock), "").unwrap();
            let file = project.join("paint.ts");
            let at = project.display();
            assert_eq!(hint(&file), format!("run `{add} {PACKAGE}` in `{at}`"));
            let manifest = r#"{ "devDependencies": { "@toril/sdk": "1.0.0" } }"#;
            std::fs::write(project.join("package.json"), manifest).unwrap();
            assert_eq!(hint(&file), format!("run `{install}` in `{at}`"));
        }
    }

    #[test]
    fn project_of_plug_and_play_is_told_to_have_node_modules() {
        let project = tempfile::tempdir().unwrap();
        for name in ["yarn.lock", PLUG_AND_PLAY] {
            std::fs::write(project.path().join(name), "").unwrap();
        }
        let hint = hint(&project.path().join("src/paint.ts"));
        assert!(hint.contains("set `nodeLinker: node-modules`"), "{hint}");
    }
}
