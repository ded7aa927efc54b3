//! `toril check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use toril::processor_file::read_processor;
use toril::sandbox::{Engine, Grants, Policy, Processor};

use super::progress::during;
use super::queue_config::{self, QueueConfig};

/// Checks that a file is a processor, and shows what it imports.
///
/// The command compiles the component and instantiates it once, but runs no job. With `--queue` it applies that queue's limits
/// and grants, and shows them. The exit code is 0 if a host would serve the component.
#[derive(Args)]
pub(super) struct Check {
    /// The component, or a file that `toril build` takes [default: the processor of `--queue`].
    ///
    /// If neither is given, the command checks the only queue of the config, or else the only processor in the directory.
    file: Option<PathBuf>,
    /// Applies the limits and grants that the config has for this queue.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The config file [default: toril.toml, if it is there].
    #[arg(long, env = "TORIL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) async fn run(mut self) -> anyhow::Result<ExitCode> {
        if self.file.is_none() && self.queue.is_none() {
            (self.queue, self.file) = queue_config::only(self.config.as_deref())?;
        }
        let (options, policy, of_queue) = match &self.queue {
            Some(queue) => {
                let QueueConfig { engine, spec } = queue_config::of(self.config.clone(), queue)?;
                (engine, Arc::new(spec.policy()), spec.processor)
            }
            None => (queue_config::one_component(), Policy::unjudged(), None),
        };
        let file = queue_config::file_or(self.file.clone(), self.queue.as_deref(), of_queue)?;
        let engine = Arc::new(Engine::new(&options)?);
        let name = file.display();
        let built = read_processor(&file, engine.component_bytes_max());
        let bytes = during(format_args!("building `{name}`"), built).await?;
        let loaded = engine.load(bytes, &policy);
        let processor = during(format_args!("compiling `{name}`"), loaded)
            .await
            .map_err(|error| queue_config::refused(&file, self.queue.as_deref(), &error))?;
        if self.json {
            super::print_json(&self.as_json(&processor, &policy));
        } else {
            describe(&file, &processor);
            self.describe_policy(&processor, &policy);
        }
        Ok(match needed_grants(self.queue.as_ref(), &processor) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        })
    }

    fn describe_policy(&self, processor: &Processor, policy: &Policy) {
        let Some(queue) = &self.queue else {
            if let Err(needed) = needed_grants(None, processor) {
                super::print_text(format_args!("  needs a grant: {needed}"));
            }
            return;
        };
        super::print_line(format_args!("  granted to queue {queue}"));
        for granted in granted(policy) {
            super::print_line(format_args!("    {granted}"));
        }
        let stubs = json!(policy.grants.stub);
        for stub in stubs.as_array().into_iter().flatten() {
            let name = stub.as_str().unwrap_or_default();
            super::print_line(format_args!(
                "  stub     {name}: it is linked, but every call fails"
            ));
        }
        super::print_line("  limits");
        if let Ok(serde_json::Value::Object(limits)) = serde_json::to_value(&policy.limits) {
            for (name, limit) in limits {
                super::print_line(format_args!("    {name} {limit}"));
            }
        }
    }
}

fn describe(file: &Path, processor: &Processor) {
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
    super::print_line(format_args!("{} is a processor", file.display()));
    super::print_line(format_args!("  world    {} {version}", inspection.world));
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

/// Without a queue nothing is granted; with one the policy was applied when the component was loaded.
fn needed_grants(queue: Option<&String>, processor: &Processor) -> Result<(), String> {
    match queue {
        Some(_) => Ok(()),
        None => Grants::default().check_imports(processor.inspection.used_imports()),
    }
}

/// What is granted, for people.
fn granted(policy: &Policy) -> Vec<String> {
    let granted = policy.grants.describe();
    if granted.is_empty() {
        return vec!["nothing".to_owned()];
    }
    granted
}

impl Check {
    fn as_json(&self, processor: &Processor, policy: &Policy) -> serde_json::Value {
        let mut report = json!({
            "processor": true,
            "world": processor.inspection.world,
            "worldVersion": processor.inspection.world_version,
            "sdk": processor.inspection.sdk,
            "digest": &*processor.digest,
            "bytes": processor.inspection.bytes,
            "compileMs": u64::try_from(processor.compile_time.as_millis()).unwrap_or(u64::MAX),
            "imports": processor.inspection.imports,
        });
        if self.queue.is_some() {
            report["grants"] = json!(policy.grants.describe());
            report["stubs"] = json!(policy.grants.stub);
            report["limits"] = json!(policy.limits);
        }
        report
    }
}
