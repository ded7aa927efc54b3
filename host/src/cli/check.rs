//! `toril check`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use toril::runtime::{Limits, Processor, Runtime, RuntimeOptions};

/// Checks that a file is a processor, and shows what it imports.
///
/// The component is compiled and once instantiated; no job is run. The exit code is 0 where it would be
/// served.
#[derive(Args)]
pub(super) struct Check {
    /// The component.
    file: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("failed to read component `{}`", self.file.display()))?;
        let runtime = Arc::new(Runtime::new(&RuntimeOptions {
            executions_max: 1,
            ..RuntimeOptions::default()
        })?);
        let processor = runtime
            .load(bytes, &Limits::default())
            .await
            .with_context(|| format!("component `{}` was refused", self.file.display()))?;
        if self.json {
            super::print_line(as_json(&processor));
        } else {
            self.describe(&processor);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn describe(&self, processor: &Processor) {
        let inspection = &processor.inspection;
        let version = inspection
            .world_version
            .as_deref()
            .unwrap_or("1.x, no import names it");
        let sdk = inspection.sdk.as_ref().and_then(|sdk| {
            Some(format!(
                "{} {}",
                sdk.get("sdk")?.as_str()?,
                sdk.get("version")?.as_str()?
            ))
        });
        super::print_line(format_args!("{} is a processor", self.file.display()));
        super::print_line(format_args!("  world    toril:processor {version}"));
        super::print_line(format_args!(
            "  sdk      {}",
            sdk.as_deref().unwrap_or("unknown")
        ));
        super::print_line(format_args!("  digest   {}", processor.digest));
        super::print_line(format_args!("  size     {} bytes", inspection.bytes));
        super::print_line(format_args!(
            "  compiled in {} ms",
            processor.compile_time.as_millis()
        ));
        super::print_line("  imports");
        for import in &inspection.imports {
            super::print_line(format_args!("    {import}"));
        }
    }
}

fn as_json(processor: &Processor) -> serde_json::Value {
    json!({
        "processor": true,
        "worldVersion": processor.inspection.world_version,
        "sdk": processor.inspection.sdk,
        "digest": &*processor.digest,
        "bytes": processor.inspection.bytes,
        "compileMs": u64::try_from(processor.compile_time.as_millis()).unwrap_or(u64::MAX),
        "imports": processor.inspection.imports,
    })
}
