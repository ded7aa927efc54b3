//! The bundler that a host keeps: Node.js and esbuild have started, and have read what a processor is made of, when a file of
//! it changes. A host that does not wait for changes starts one for each bundle instead.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::{BUNDLE_TIME_MAX, Bundle, INSTALL, PACKAGE};
use crate::language::{Group, run, start};

/// True where one is kept.
static IS_KEPT: AtomicBool = AtomicBool::new(false);
/// The one that waits for a request.
static KEPT: Mutex<Option<Kept>> = Mutex::const_new(None);

/// From now on, a bundler stays for the next bundle. For a host that waits for changes.
pub(in crate::language) fn keep() {
    IS_KEPT.store(true, Ordering::Relaxed);
}

/// Bundles the processor of a file.
pub(super) async fn bundle(package: &Path, file: &Path) -> anyhow::Result<Bundle> {
    if IS_KEPT.load(Ordering::Relaxed) {
        // Several that ask take turns: one bundler is faster than as many as there are queues.
        let mut kept = KEPT.lock().await;
        let asked = ask_kept(&mut kept, package, file);
        let answer = tokio::time::timeout(BUNDLE_TIME_MAX, asked).await;
        match answer {
            Ok(Ok(Answer::Bundle(bundle))) => return Ok(*bundle),
            Ok(Ok(Answer::Error(said))) => bail!("{said}"),
            Err(_) => bail!("`node` took more than {} s", BUNDLE_TIME_MAX.as_secs()),
            // It ended, or the package is too old for it: one of its own does the same, and says what is wrong.
            Ok(Err(error)) => tracing::debug!("the bundler was not kept: {error:#}"),
        }
    }
    let mut node = Command::new("node");
    node.arg(package.join("bundle.mjs")).arg(file);
    let printed = run(&mut node, BUNDLE_TIME_MAX, INSTALL).await;
    let printed = printed.map_err(|error| or_incomplete(error, package))?;
    serde_json::from_slice(&printed.output)
        .context("the bundler printed something that is not a bundle")
}

/// Where Node.js does not find what the package itself imports, it is a link to a directory whose packages nobody installed: npm
/// does not do so for a link.
fn or_incomplete(error: anyhow::Error, package: &Path) -> anyhow::Error {
    // As Node.js writes it. A line of the processor that an error shows may have the code alone.
    let said = error.to_string();
    if !(said.contains("[ERR_MODULE_NOT_FOUND]: Cannot find ") && said.contains(" imported from "))
    {
        return error;
    }
    let package = package.canonicalize();
    let package = package.as_deref().unwrap_or(Path::new(PACKAGE)).display();
    anyhow!(
        "the npm package `{PACKAGE}` in `{package}` lacks the packages that it needs\nhint: if it is linked, run `npm install \
         --install-links` in the project, which copies it, or `npm install` in `{package}`"
    )
}

/// Asks the one that is kept, or one that is started for it. Who gives up waiting ends it: its answer would come to somebody
/// else.
async fn ask_kept(kept: &mut Option<Kept>, package: &Path, file: &Path) -> anyhow::Result<Answer> {
    let made_of = MadeOf::read(package);
    if let Some(mut bundler) = kept.take().filter(|kept| kept.made_of == made_of)
        && let Ok(answer) = bundler.ask(file).await
    {
        *kept = Some(bundler);
        return Ok(answer);
    }
    let mut bundler = Kept::start(package, made_of).await?;
    let answer = bundler.ask(file).await?;
    *kept = Some(bundler);
    Ok(answer)
}

/// What a bundler was started from. An update of the package is another one.
#[derive(PartialEq, Eq)]
struct MadeOf {
    package: PathBuf,
    changed: Vec<Option<SystemTime>>,
}

impl MadeOf {
    fn read(package: &Path) -> Self {
        let changed = ["package.json", "bundle.mjs", "bundle"].map(|name| {
            let file = package.join(name).metadata();
            file.and_then(|file| file.modified()).ok()
        });
        MadeOf {
            package: package.to_owned(),
            changed: changed.into(),
        }
    }
}

/// Dropped, it ends.
struct Kept {
    made_of: MadeOf,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _group: Group,
    _child: Child,
}

#[derive(Serialize)]
struct Request<'a> {
    entry: &'a Path,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Bundle(Box<Bundle>),
    /// What is wrong with the processor.
    Error(String),
}

impl Kept {
    async fn start(package: &Path, made_of: MadeOf) -> anyhow::Result<Self> {
        let mut node = Command::new("node");
        node.arg(package.join("bundle.mjs")).arg("--requests");
        node.stdin(Stdio::piped()).stdout(Stdio::piped());
        node.stderr(Stdio::null()).kill_on_drop(true);
        let mut child = start(&mut node).await?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.context("it has no pipes")?;
        Ok(Kept {
            made_of,
            stdin,
            stdout: BufReader::new(stdout),
            _group: Group::of(&child),
            _child: child,
        })
    }

    async fn ask(&mut self, file: &Path) -> anyhow::Result<Answer> {
        let entry = &std::path::absolute(file)?;
        let mut line = serde_json::to_vec(&Request { entry })?;
        line.push(b'\n');
        self.stdin.write_all(&line).await?;
        let mut answer = Vec::new();
        self.stdout.read_until(b'\n', &mut answer).await?;
        if answer.pop() != Some(b'\n') {
            return Err(anyhow!("it ended"));
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}
