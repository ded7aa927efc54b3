//! `toril build`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use toril::config::DEFAULT_FILE;
use toril::language::Language;
use toril::language::project::{self, Found};
use toril::processor_file;
use toril::sandbox::{Engine, Policy};

use super::progress::during;
use super::queue_config;

/// Builds WebAssembly components of processors in TypeScript, JavaScript, Python, Go, Rust or C.
///
/// For a directory, the command builds the processors that its `toril.toml` names. If there is no such file, or if it names
/// no processor, the command builds the only processor in the directory: the one of `Cargo.toml`, of `go.mod` or of `main`
/// in `package.json`, or else the only source file.
///
/// A script exports its processor, or passes it to `new Worker`, as with BullMQ; the npm package `@toril/sdk` of its project
/// bundles it with its imports. A Python file defines a function `process`, or passes one to `Worker`; the package `toril`
/// of its environment builds it. A Go file stands for its package, whose `main` calls `toril.Serve`; a Rust file stands for
/// its crate; a C file includes `toril.h`, which this command contains, and defines `toril_process`. The build needs the
/// tools of the language: Node.js, Python, Go, cargo or a clang for WebAssembly. The component needs none of them. `serve`,
/// `run`, `check` and `deploy` also take a source file, and build it first.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril build\n  toril build paint.ts\n  toril build src/paint.py --out paint.wasm"
)]
pub(super) struct Build {
    /// The file (`.ts`, `.js`, `.py`, `.go`, `.rs` or `.c`), or the directory of a project.
    #[arg(default_value = ".", value_name = "FILE|DIR")]
    source: PathBuf,
    /// Where the component goes [default: `dist/NAME.wasm` beside the file or in the directory; in Rust, where cargo puts it].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let source = &self.source;
        let mut sources = match source.is_dir() {
            true => sources_of(source)?,
            false => vec![(source.clone(), default_out(source))],
        };
        if let Some(out) = self.out {
            let [(_, only)] = &mut sources[..] else {
                bail!(
                    "`--out` names one file, but there are {} processors\nhint: name one of them: {}",
                    sources.len(),
                    listed(&sources)
                );
            };
            *only = out;
            return build(&sources[0].0, &sources[0].1, true).await;
        }
        for (file, out) in &sources {
            build(file, out, false).await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The sources in a directory, each with the place of its component.
fn sources_of(dir: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let mut sources: Vec<(PathBuf, PathBuf)> = Vec::new();
    // Without `./`, paths are shown as people write them.
    let dir = dir.strip_prefix(".").unwrap_or(dir);
    for Found { name, file } in project::processors(dir)? {
        // Several queues may have one processor, and some have components that are built elsewhere.
        let is_new = sources.iter().all(|(known, _)| *known != file);
        if is_new && Language::of(&file).is_some() {
            let out = dir.join("dist").join(format!("{name}.wasm"));
            sources.push((file, out));
        }
    }
    ensure!(
        !sources.is_empty(),
        "no queue in `{}` has a processor that is built from source",
        dir.join(DEFAULT_FILE).display()
    );
    Ok(sources)
}

fn listed(sources: &[(PathBuf, PathBuf)]) -> String {
    let files = sources
        .iter()
        .map(|(file, _)| format!("`{}`", file.display()));
    files.collect::<Vec<_>>().join(", ")
}

/// Builds one file. Where the tools of its language leave a component, that one counts, unless another place is named.
async fn build(file: &Path, out: &Path, is_named: bool) -> anyhow::Result<ExitCode> {
    let language = Language::of(file).with_context(|| {
        format!(
            "`{}` is not a source file in TypeScript, JavaScript, Python, Go, Rust or C\nhint: {}",
            file.display(),
            hint_for(file)
        )
    })?;
    let built = processor_file::build(language, file);
    let built = during(format_args!("building `{}`", file.display()), built).await?;
    for warning in &built.warnings {
        super::output::say(format_args!("warning: {warning}"));
    }
    // What a host would refuse is not written.
    let imports = imports(&built.component);
    let imports = during(format_args!("compiling `{}`", file.display()), imports).await?;
    let out = match &built.file {
        Some(there) if !is_named => there,
        _ => {
            write(out, &built.component)
                .with_context(|| format!("failed to write `{}`", out.display()))?;
            out
        }
    };
    super::print_line(format_args!("{}", out.display()));
    super::print_line(format_args!("  size     {} bytes", built.component.len()));
    super::print_line("  imports");
    for import in imports {
        super::print_line(format_args!("    {import}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn imports(component: &[u8]) -> anyhow::Result<Vec<String>> {
    let engine = Arc::new(Engine::new(&queue_config::one_component())?);
    let processor = engine.load(component.to_vec(), &Policy::unjudged()).await?;
    Ok(processor.inspection.imports.clone())
}

fn hint_for(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("wasm") => "it is built already: `serve`, `run`, `check` and `deploy` take it",
        _ => {
            "a tool of its own language can make a component of it, which `serve`, `run`, `check` and `deploy` take"
        }
    }
}

fn default_out(file: &Path) -> PathBuf {
    let dir = file.parent().unwrap_or(Path::new("")).join("dist");
    let name = file.file_stem().unwrap_or(file.as_os_str());
    dir.join(name).with_extension("wasm")
}

/// Puts the file in its place whole, so that a host that watches it never reads half of it.
fn write(out: &Path, component: &[u8]) -> std::io::Result<()> {
    let dir = match out.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(dir)?;
    let partial = out.with_extension(format!("{}.partial", std::process::id()));
    std::fs::write(&partial, component)?;
    std::fs::rename(&partial, out)
}
