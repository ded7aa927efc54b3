//! The processors of the configured queues: whether their tools are there, and whether a host would serve them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use toril::config::Config;
use toril::language::Language;
use toril::processor_file::read_processor;
use toril::sandbox::{Engine, EngineOptions};
use toril::served_queue::spec::QueueSpec;

use super::{Finding, Fix};
use crate::cli::output::quoted;
use crate::cli::progress::during;
use crate::cli::queue_config::refused;

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = tools(config).await;
    let engine = EngineOptions {
        executions_max: 1,
        idle_max: 0,
        ..config.runtime.clone()
    };
    let engine = match Engine::new(&engine) {
        Ok(engine) => Arc::new(engine),
        // It was said of the machine.
        Err(_) => return findings,
    };
    for (queue, spec) in &config.queues {
        let about = format!("queue {queue}");
        findings.push(match &spec.processor {
            None => Finding::ok(about, "has no file: its jobs wait for `toril deploy`"),
            Some(file) => match looked_at(queue, served(&engine, queue, spec, file)).await {
                Ok(what) => Finding::ok(about, what),
                Err(error) => Finding::error(
                    about,
                    &error,
                    format!(
                        "correct `{}`; `toril check {} --queue {}` looks at it alone",
                        file.display(),
                        quoted(&file.display().to_string()),
                        quoted(queue)
                    ),
                ),
            },
        });
    }
    findings
}

/// Looks for the tools of each language once.
async fn tools(config: &Config) -> Vec<Finding> {
    let files = config
        .queues
        .values()
        .filter_map(|spec| spec.processor.as_deref());
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for file in files {
        let Some(language) = Language::of(file) else {
            continue;
        };
        if !seen.insert(language.name()) {
            continue;
        }
        findings.push(match language.tools(file).await {
            Ok(what) => Finding::ok(language.name(), what),
            Err(error) => with_fix(Finding::error(
                language.name(),
                &error,
                format!(
                    "the chapter Languages of the book says what {} needs",
                    language.name()
                ),
            )),
        });
    }
    findings
}

fn with_fix(found: Finding) -> Finding {
    let target = ["target", "add", "wasm32-wasip2"];
    let command = format!("rustup {}", target.join(" "));
    match &found.repair {
        Some(repair) if repair.contains(&command) => {
            found.fixed_by(Fix::Run("rustup", &["target", "add", "wasm32-wasip2"]))
        }
        _ => found,
    }
}

async fn looked_at<T>(queue: &str, work: impl Future<Output = T>) -> T {
    during(format_args!("looking at the processor of `{queue}`"), work).await
}

/// Builds and loads it as a host does.
async fn served(
    engine: &Arc<Engine>,
    queue: &str,
    spec: &QueueSpec,
    file: &Path,
) -> anyhow::Result<String> {
    let bytes = read_processor(file, engine.component_bytes_max()).await?;
    let size = bytes.len();
    let loaded = engine.load(bytes, &Arc::new(spec.policy())).await;
    let loaded = loaded.map_err(|error| refused(file, Some(queue), &error))?;
    Ok(format!(
        "`{}` can be served: {} KiB, {}",
        file.display(),
        size.div_ceil(1024),
        loaded.digest.short()
    ))
}
