//! Builds processors from what their authors write: each language has its own tools, which run here.
//!
//! This is for machines where processors are written. What comes out is a component that any host runs.

mod c;
mod go;
pub(crate) mod made_of;
pub mod project;
mod python;
mod rust;
mod script;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use backon::Retryable as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use toril_sandbox::short_machine::{is_short, short_pauses};
use toril_sandbox::slow;
use tracing::info;

/// The most directories of a project that are watched.
const DIRS_MAX: usize = 1000;
/// Files at the top of a project.
const PROJECT_FILES: [&str; 4] = ["package.json", "pyproject.toml", "go.mod", "Cargo.toml"];
/// What was installed or built in a project; besides these, all that begins with a dot.
const NOT_WRITTEN: [&str; 4] = ["node_modules", "dist", "__pycache__", "venv"];
/// What marks a directory of files that a tool can make again, whatever it is called: cargo's `target` has it.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// What a processor is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// TypeScript or JavaScript.
    Script,
    /// Python.
    Python,
    /// Go: the package that the file is in.
    Go,
    /// C.
    C,
    /// Rust: the crate that the file is in.
    Rust,
}

/// A processor that became a component.
pub struct Built {
    /// The component.
    pub component: Vec<u8>,
    /// What is not as its author may believe.
    pub warnings: Vec<String>,
    /// Where the language's tools leave it, if they do.
    pub file: Option<PathBuf>,
}

impl Language {
    /// The language of a file, by its name. None: it is no source.
    pub fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "ts" | "mts" | "cts" | "tsx" | "js" | "mjs" | "cjs" | "jsx" => Some(Language::Script),
            "py" => Some(Language::Python),
            "go" => Some(Language::Go),
            "c" => Some(Language::C),
            "rs" => Some(Language::Rust),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Language::Script => "typescript",
            Language::Python => "python",
            Language::Go => "go",
            Language::C => "c",
            Language::Rust => "rust",
        }
    }

    /// Looks for the tools that build the processor of a file, and says what they are. The error says what to install.
    pub async fn tools(self, file: &Path) -> anyhow::Result<String> {
        match self {
            Language::Script => script::tools(file).await,
            Language::Python => python::tools(file).await,
            Language::Go => go::tools(file).await,
            Language::C => c::tools().await,
            Language::Rust => rust::tools(file).await,
        }
    }

    /// Builds the processor of a file.
    pub async fn build(self, file: &Path) -> anyhow::Result<Built> {
        // A missing file is no mistake of a tool's; and a tool would wait for a pipe's writer, or for a device's end.
        let is_file = tokio::fs::metadata(file).await?.is_file();
        ensure!(is_file, "it is not a regular file");
        info!(file = %file.display(), "building the processor");
        made_of::forget(file);
        let build = async {
            match self {
                Language::Script => script::build(file).await,
                Language::Python => python::build(file).await,
                Language::Go => go::build(file).await,
                Language::C => c::build(file).await,
                Language::Rust => rust::build(file).await,
            }
        };
        let what = format!("building `{}`", file.display());
        slow::reporting(what, build, |time| {
            info!(target: slow::TARGET, file = %file.display(), time = %slow::shown(time), "still building the processor");
        })
        .await
    }
}

/// What a tool printed.
struct Printed {
    /// On stdout.
    output: Vec<u8>,
    /// On stderr.
    said: String,
}

/// Runs a tool, which must succeed. `missing` says what to do where there is none.
async fn run(tool: &mut Command, time_max: Duration, missing: &str) -> anyhow::Result<Printed> {
    let (status, printed) = output(tool, time_max, missing).await?;
    let name = tool.as_std().get_program().to_string_lossy();
    match printed.said.trim_start_matches("error: ") {
        _ if status.success() => Ok(printed),
        "" => bail!("`{name}` failed: {status}"),
        said => bail!("{said}"),
    }
}

/// How long a tool may take to say what it is.
const ASK_TIME_MAX: Duration = Duration::from_secs(30);

/// The first line that a tool prints, such as its version.
async fn ask(tool: &mut Command, missing: &str) -> anyhow::Result<String> {
    let printed = run(tool, ASK_TIME_MAX, missing).await?;
    let text = String::from_utf8_lossy(&printed.output);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The first number in a version, or the one behind so many dots.
fn number_of(version: &str, dots: usize) -> u32 {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty());
    parts
        .nth(dots)
        .and_then(|part| part.parse().ok())
        .unwrap_or(0)
}

/// True where each tool has a process group of its own.
static IN_GROUPS: AtomicBool = AtomicBool::new(false);

/// From now on, a tool that is given up ends with all that it started. For a host, which outlives its tools; the tools of
/// other commands share the terminal's signals with them.
pub(crate) fn run_tools_in_groups() {
    IN_GROUPS.store(true, Ordering::Relaxed);
}

/// From now on, a tool that can be asked again stays. For a program that waits for changes.
pub fn keep_tools() {
    script::bundler::keep();
}

/// The process group of a tool. Dropped, it is killed: a tool's own processes would go on without it.
struct Group(Option<Pid>);

impl Group {
    fn of(tool: &Child) -> Self {
        let in_groups = IN_GROUPS.load(Ordering::Relaxed);
        let id = tool.id().filter(|_| in_groups);
        Group(id.and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A tool in a process group of its own, where each has one.
fn command_of_group(tool: &mut Command) -> &mut Command {
    match IN_GROUPS.load(Ordering::Relaxed) {
        true => tool.process_group(0),
        false => tool,
    }
}

/// Starts a tool; again, while the machine is short. An update may be writing the tool itself, say.
async fn start(tool: &mut Command) -> std::io::Result<Child> {
    let tool = command_of_group(tool);
    let start = || std::future::ready(tool.spawn());
    start
        .retry(short_pauses())
        .when(|error| is_short(error))
        .await
}

/// Runs a tool, and returns how it ended and what it printed.
async fn output(
    tool: &mut Command,
    time_max: Duration,
    missing: &str,
) -> anyhow::Result<(ExitStatus, Printed)> {
    let name = tool.as_std().get_program().to_string_lossy().into_owned();
    tool.stdin(Stdio::null()).kill_on_drop(true);
    tool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("`{name}` was not found\nhint: {missing}")
        }
        _ => anyhow::Error::from(error).context(format!("failed to run `{name}`")),
    };
    let child = start(tool).await.map_err(failed)?;
    let mut group = Group::of(&child);
    let output = tokio::time::timeout(time_max, child.wait_with_output())
        .await
        .with_context(|| format!("`{name}` took more than {} s", time_max.as_secs()))?;
    let output = output.map_err(failed)?;
    group.0 = None;
    let printed = Printed {
        output: output.stdout,
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    };
    Ok((output.status, printed))
}

/// The directories whose files a processor may be made of: those of its project, or its own where it is in none.
pub(crate) fn project_dirs(file: &Path) -> BTreeSet<PathBuf> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let Some(own) = file.parent() else {
        return BTreeSet::new();
    };
    let is_top = |dir: &&Path| PROJECT_FILES.iter().any(|name| dir.join(name).is_file());
    let project = own.ancestors().find(is_top);
    let mut dirs = BTreeSet::new();
    let mut left = vec![project.unwrap_or(own).to_owned()];
    while let Some(dir) = left.pop() {
        if dirs.len() == DIRS_MAX {
            break;
        }
        left.extend(dirs_below(&dir));
        dirs.insert(dir);
    }
    dirs
}

fn dirs_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let of_the_project = dirs.filter(|dir| {
        let name = dir.file_name();
        let name = name.to_string_lossy();
        let is_made = NOT_WRITTEN.contains(&&*name) || dir.path().join(CACHE_TAG).is_file();
        !name.starts_with('.') && !is_made
    });
    of_the_project.map(|dir| dir.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_a_project_are_its_own() {
        let project = tempfile::tempdir().unwrap();
        let dir = |name: &str| project.path().join(name);
        for name in [
            "src/jobs",
            "lib",
            "node_modules/zod",
            "dist",
            ".git/refs",
            "src/__pycache__",
        ] {
            std::fs::create_dir_all(dir(name)).unwrap();
        }
        std::fs::create_dir_all(dir("target/release/deps")).unwrap();
        std::fs::write(dir("target/CACHEDIR.TAG"), "").unwrap();
        for top in PROJECT_FILES {
            std::fs::write(dir(top), "").unwrap();
            let dirs = project_dirs(&dir("src/jobs/paint.ts"));
            let expected = [dir(""), dir("src"), dir("src/jobs"), dir("lib")];
            assert!(
                dirs.iter().eq(expected.iter().collect::<BTreeSet<_>>()),
                "{dirs:?}"
            );
            std::fs::remove_file(dir(top)).unwrap();
        }
    }

    #[tokio::test]
    async fn tool_that_is_being_written_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "#!/bin/sh\necho done\n").unwrap();
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, rights).unwrap();
        let writer = std::fs::File::options().append(true).open(&file).unwrap();
        let mut tool = Command::new(&file);
        let running = run(&mut tool, Duration::from_secs(60), "install it");
        // In this order: the tool is started for the first time while the file is open.
        let (done, ()) = tokio::join!(biased; running, async { drop(writer) });
        assert_eq!(done.unwrap().output, b"done\n");
    }

    #[tokio::test]
    async fn tool_that_fails_is_quoted_and_one_that_is_missing_is_named() {
        let run = async |program: &str, arguments: &[&str]| {
            let mut tool = Command::new(program);
            let done = run(tool.args(arguments), Duration::from_secs(60), "install it").await;
            let done = done.map_err(|error| error.to_string())?;
            Ok::<_, String>((done.output, done.said))
        };
        let (output, said) = run("sh", &["-c", "echo yes; echo but >&2"]).await.unwrap();
        assert_eq!((&*output, &*said), (&b"yes\n"[..], "but"));
        let error = run("sh", &["-c", "echo error: no paint >&2; exit 1"]).await;
        assert_eq!(error.unwrap_err(), "no paint");
        let error = run("sh", &["-c", "exit 3"]).await.unwrap_err();
        assert_eq!(error, "`sh` failed: exit status: 3");
        let error = run("toril-no-such-tool", &[]).await.unwrap_err();
        assert_eq!(
            error,
            "`toril-no-such-tool` was not found\nhint: install it"
        );
    }
}
