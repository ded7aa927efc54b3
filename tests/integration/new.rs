//! `toril new`. What the projects do is tested in `interop/new.test.mjs`, by the tools of each language.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::tempdir;

use crate::harness::{TORIL, root};

fn new(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(TORIL);
    command.arg("new").args(arguments).current_dir(dir);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn project_says_what_it_has_and_what_is_next() {
    let dir = tempdir().unwrap();
    let output = new(dir.path(), &["paint"]);
    assert!(output.status.success(), "{output:?}");
    insta::assert_snapshot!(text(&output.stdout), @"
    made paint in TypeScript
      .gitignore
      README.md
      cases/four-walls.toml
      package.json
      processor.ts
      toril.toml
      tsconfig.json
    next:
      cd paint
      npm install
      toril dev
      toril test
    ");
    let config = std::fs::read_to_string(dir.path().join("paint/toril.toml")).unwrap();
    assert!(config.contains("[queues.paint]\nprocessor = \"processor.ts\""));
    assert_eq!(files(dir.path()), 1);
}

#[test]
fn no_template_leaves_a_gap_and_local_sdks_are_named() {
    let dir = tempdir().unwrap();
    let sdk = root().join("sdk");
    for (lang, manifest, package) in [
        ("typescript", "package.json", "js"),
        ("javascript", "package.json", "js"),
        ("python", "pyproject.toml", "python"),
        ("go", "go.mod", "go"),
        ("rust", "Cargo.toml", "rust"),
    ] {
        let sdk = sdk.display().to_string();
        let output = new(dir.path(), &[lang, "--lang", lang, "--sdk", &sdk]);
        assert!(output.status.success(), "{output:?}");
        let project = dir.path().join(lang);
        let manifest = std::fs::read_to_string(project.join(manifest)).unwrap();
        let package = Path::new(&sdk).join(package).display().to_string();
        assert!(manifest.contains(&package), "{manifest}");
        // Else npm links the SDK, and does not install what it needs.
        let npmrc = std::fs::read_to_string(project.join(".npmrc"));
        let copies = npmrc.is_ok_and(|text| text.contains("install-links=true"));
        assert_eq!(copies, package.ends_with("/js"), "{lang}");
    }
    for (short, lang) in [("ts", "typescript"), ("js", "javascript"), ("py", "python")] {
        let output = new(dir.path(), &[&format!("short-{short}"), "--lang", short]);
        let made = text(&output.stdout).to_lowercase();
        assert!(made.contains(&format!("in {lang}\n")), "{output:?}");
    }
    // No server has Go's module: there is nothing to download.
    let output = new(dir.path(), &["far", "--lang", "go"]);
    let next = "  go mod edit -replace toril=/PATH_OF_TORIL/sdk/go\n";
    assert!(text(&output.stdout).contains(next), "{output:?}");
    assert!(new(dir.path(), &["c", "--lang", "c"]).status.success());
    let mut left = vec![dir.path().to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("{{"), "{}: {text}", path.display());
    }
}

#[test]
fn names_and_places_that_cannot_be_are_refused_and_nothing_is_left() {
    let dir = tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("taken/inside")).unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for (arguments, reason) in [
        (
            &["Paint"][..],
            "`Paint` cannot be the name of a queue and of a package",
        ),
        (&["a:b"], "cannot be the name"),
        (
            &["match", "--lang", "rust"],
            "cannot be the name of a package in Rust",
        ),
        (&["taken"], "directory `taken` exists and is not empty"),
        (&["file"], "`file` cannot become a directory"),
        (
            &["paint", "--sdk", "nowhere"],
            "hint: `--sdk` is the directory `sdk`",
        ),
    ] {
        let output = new(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(files(dir.path()), 2);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(new(dir.path(), &["empty"]).status.success());
    assert!(dir.path().join("empty/toril.toml").is_file());
}

#[test]
fn person_at_a_terminal_is_asked_for_the_language() {
    let dir = tempdir().unwrap();
    let ask = |name: &str, answers: &str| {
        let mut command = Command::new("sh");
        let line = format!("printf '{answers}' | script -qec '{TORIL} new {name}' /dev/null");
        command.args(["-c", &line]).current_dir(dir.path());
        text(&command.output().unwrap().stdout)
    };
    let asked = ask("one", "perl\\n3\\n");
    assert!(
        asked.contains("Which language?") && asked.contains("`perl` is not one of them."),
        "{asked}"
    );
    assert!(dir.path().join("one/processor.py").is_file(), "{asked}");
    let asked = ask("two", "rust\\n");
    assert!(dir.path().join("two/src/lib.rs").is_file(), "{asked}");
}
