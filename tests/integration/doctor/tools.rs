//! The tools of each language: missing, too old, and there.

use super::{Project, findings_of, write_tool};
use crate::harness::TestRedis;

#[tokio::test]
async fn missing_tools_are_named_once_with_what_installs_them() {
    let redis = TestRedis::start(false).await;
    let config = |file: &str| {
        format!("[queues.one]\nprocessor = {file:?}\n[queues.two]\nprocessor = {file:?}\n")
    };
    let project = Project::with(&redis.server.url(), "");
    for (file, language, repair) in [
        ("paint.ts", "typescript", "install Node.js 20"),
        ("paint.py", "python", "install Python 3.11"),
        ("paint.go", "go", "install Go 1.24"),
        ("paint.c", "c", "install a clang"),
        ("src/lib.rs", "rust", "install Rust"),
    ] {
        std::fs::create_dir_all(project.path("src")).unwrap();
        std::fs::write(project.path("Cargo.toml"), "").unwrap();
        std::fs::write(project.path(file), "").unwrap();
        project.configure(&config(file));
        let mut command = project.command();
        command.env("PATH", "/nowhere");
        for named in ["TORIL_PYTHON", "TORIL_GO", "TORIL_CLANG", "VIRTUAL_ENV"] {
            command.env_remove(named);
        }
        let found = findings_of(&mut command);
        assert_eq!(found.exit_code, Some(1));
        let (level, hint) = found.of(language, "was not found");
        assert!(
            level == "error" && hint.starts_with(repair),
            "{language}: {hint}"
        );
        let times = found.all.iter().filter(|found| found["about"] == language);
        assert_eq!(times.count(), 1);
    }
}

#[tokio::test]
async fn tools_that_are_too_old_are_errors_until_they_are_replaced() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(&redis.server.url(), "");
    for (file, language, tool, old, new, repair) in [
        (
            "paint.ts",
            "typescript",
            "node",
            "v18.1.0",
            "v20.0.0",
            "install Node.js 20",
        ),
        (
            "paint.py",
            "python",
            "python3",
            "Python 3.10.1",
            "Python 3.11.0",
            "install Python 3.11",
        ),
        (
            "paint.go",
            "go",
            "go",
            "go1.23.1",
            "go1.24.0",
            "install Go 1.24",
        ),
    ] {
        std::fs::write(project.path(file), "").unwrap();
        project.configure(&format!("[queues.ring]\nprocessor = {file:?}\n"));
        let find = |version: &str| {
            write_tool(&project.path(tool), &format!("echo {version}"));
            let mut command = project.command();
            command
                .env("PATH", project.dir.path())
                .env("TORIL_JS_SDK", "/");
            for named in ["TORIL_PYTHON", "TORIL_GO", "VIRTUAL_ENV"] {
                command.env_remove(named);
            }
            let found = findings_of(&mut command);
            let (level, hint) = found.of(language, version);
            (level.to_owned(), hint.to_owned())
        };
        let (level, hint) = find(old);
        assert!(
            level == "error" && hint.starts_with(repair),
            "{language}: {hint}"
        );
        assert_eq!(find(new), ("ok".to_owned(), String::new()));
    }
}

#[tokio::test]
async fn package_that_builds_scripts_is_looked_for() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(
        &redis.server.url(),
        "[queues.ring]\nprocessor = \"paint.ts\"\n",
    );
    std::fs::write(project.path("paint.ts"), "").unwrap();
    write_tool(&project.path("node"), "echo v22.0.0");
    let find = || {
        let mut command = project.command();
        findings_of(
            command
                .env("PATH", project.dir.path())
                .env_remove("TORIL_JS_SDK"),
        )
    };
    let found = find();
    let (level, repair) = found.of("typescript", "is not installed");
    assert!(
        level == "error" && repair.starts_with("run `npm install"),
        "{repair}"
    );
    let package = project.path("node_modules/@toril/sdk");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("bundle.mjs"), "").unwrap();
    assert_eq!(find().of("typescript", "v22.0.0").0, "ok");
}

#[tokio::test]
async fn missing_target_of_rust_is_added() {
    let redis = TestRedis::start(false).await;
    let project = Project::with(
        &redis.server.url(),
        "[queues.ring]\nprocessor = \"src/lib.rs\"\n",
    );
    std::fs::create_dir_all(project.path("src")).unwrap();
    std::fs::write(project.path("src/lib.rs"), "").unwrap();
    let manifest = "[package]\nname = \"ring\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    std::fs::write(project.path("Cargo.toml"), manifest).unwrap();
    // As if the target was not there until `rustup` is called.
    let added = project.path("added");
    let tool = |name: &str, script: &str| write_tool(&project.path(name), script);
    let real = "PATH=\"${PATH#*:}\" exec rustc \"$@\"";
    tool(
        "rustc",
        &format!("[ -e {added:?} ] || {{ echo /nowhere; exit; }}\n{real}"),
    );
    let adds = "[ \"$*\" = 'target add wasm32-wasip2' ]";
    tool("rustup", &format!("{adds} && touch {added:?}"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", project.dir.path().display());
    let find = |arguments: &[&str]| {
        let mut command = project.command();
        let found = findings_of(command.args(arguments).env("PATH", &path));
        found.of("rust", "").0.to_owned()
    };
    assert_eq!(find(&[]), "error");
    assert!(!added.exists());
    assert_eq!(find(&["--fix"]), "ok");
}
