//! `toril build`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use toril::config::default_cache_dir;
use toril::language::Language;
use toril::sandbox::{Engine, EngineOptions, Policy};

/// Builds the component of a processor in TypeScript, JavaScript, Python, Go or C.
///
/// A script exports its processor, or hands it to `new Worker`, as with BullMQ; the npm package `@toril/sdk` of its project
/// bundles it with all that it imports. A Python file has a function `process`, or hands one to `Worker`; the package
/// `toril` of its environment builds it. A Go file stands for its package, whose `main` calls `toril.Serve`; a C file
/// includes `toril.h`, which this command brings along, and defines `toril_process`. The tools of the language must be
/// there: Node.js, Python, Go or a clang for WebAssembly. The component needs none of them. `serve`, `run`, `check` and
/// `deploy` take the file itself, too, and build it first.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril build paint.ts\n  toril build src/paint.py --out paint.wasm"
)]
pub(super) struct Build {
    /// The file: `.ts`, `.js`, `.py`, `.go` or `.c`.
    file: PathBuf,
    /// Where the component goes [default: `dist/NAME.wasm` beside the file].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let file = &self.file;
        let language = Language::of(file).with_context(|| {
            format!(
                "`{}` is none of TypeScript, JavaScript, Python, Go and C\nhint: {}",
                file.display(),
                hint_for(file)
            )
        })?;
        let built = language.build(file).await;
        let built = built.with_context(|| format!("failed to build `{}`", file.display()))?;
        for warning in &built.warnings {
            super::output::say(format_args!("warning: {warning}"));
        }
        // What a host would refuse is not written.
        let imports = imports(&built.component).await?;
        let out = self.out.unwrap_or_else(|| default_out(file));
        write(&out, &built.component)
            .with_context(|| format!("failed to write `{}`", out.display()))?;
        super::print_line(format_args!("{}", out.display()));
        super::print_line(format_args!("  size     {} bytes", built.component.len()));
        super::print_line("  imports");
        for import in imports {
            super::print_line(format_args!("    {import}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn imports(component: &[u8]) -> anyhow::Result<Vec<String>> {
    let engine = Arc::new(Engine::new(&EngineOptions {
        cache_dir: default_cache_dir(),
        ..EngineOptions::for_one_component()
    })?);
    let processor = engine.load(component.to_vec(), &Policy::unjudged()).await?;
    Ok(processor.inspection.imports.clone())
}

fn hint_for(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => {
            "Cargo builds processors in Rust: `cargo build --release --target wasm32-wasip2`"
        }
        Some("wasm") => "it is built: `serve`, `run`, `check` and `deploy` take it",
        _ => "the README says how processors in other languages are built",
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
