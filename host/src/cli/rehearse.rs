//! `toril rehearse`: recorded attempts on a candidate.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use toril::queue::Queue;
use toril::rehearsal::{Rehearsal, Report};
use toril::sandbox::{Digest, Engine, Policy};

use super::RedisArgs;
use super::progress::during;
use super::queue_config::{self, built};

/// Regressions that are shown one by one.
const SHOWN_MAX: usize = 10;

/// Runs the newest recorded attempts of a queue on a candidate, on this machine alone.
///
/// The command shows which attempts return another value, fail, or make other calls than the recorded ones, and how much
/// processor time and memory the candidate uses. The exit code is 1 if more attempts differ than `--allow` admits, or if there
/// was nothing to compare.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril rehearse paint paint.wasm\n  toril rehearse paint paint.ts --count 1000 --allow 1%"
)]
pub(super) struct Rehearse {
    /// The queue.
    queue: String,
    /// The component, or a file that `toril build` takes.
    file: PathBuf,
    /// How many recordings to run.
    #[arg(long, default_value = "200", value_name = "N")]
    count: NonZeroUsize,
    /// The share of the rehearsed attempts that may differ.
    #[arg(long, default_value = "0%", value_name = "PERCENT", value_parser = super::deploy::parse_percent)]
    allow: f64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Rehearse {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let engine = Arc::new(Engine::new(&queue_config::one_component())?);
        let bytes = built(&self.file, &engine).await?;
        let queue = self.redis.queue(&self.queue).await?;
        let report = rehearsed(&engine, bytes, &queue, self.count, &self.redis).await?;
        match self.json {
            true => super::print_json(&report),
            false => show(&report),
        }
        Ok(ExitCode::from(u8::from(!report.passes(self.allow))))
    }
}

/// Rehearses a candidate, beside the versions that ran: those that are deployed, and the one that the config names.
pub(super) async fn rehearsed(
    engine: &Arc<Engine>,
    component: Vec<u8>,
    queue: &Queue,
    count: NonZeroUsize,
    redis: &RedisArgs,
) -> anyhow::Result<Report> {
    let config = queue_config::of(redis.config.clone(), queue.keys().name()).ok();
    let spec = config.map(|config| config.spec).unwrap_or_default();
    let mut rehearsal = Rehearsal::new(engine, component, spec.grants.env);
    if let Some(file) = spec.processor
        && let Ok(component) = built(&file, engine).await
    {
        let digest = Digest::of(&component);
        let policy = Policy::unjudged();
        let loaded = engine.load(component, &policy);
        let processor = during(format_args!("compiling `{}`", file.display()), loaded).await;
        if let Ok(processor) = processor {
            rehearsal.set_before(digest.as_str(), Some(Arc::new(processor)));
        }
    }
    let run = rehearsal.run_newest(queue, count, || false);
    Ok(during("rehearsing", run).await?)
}

pub(super) fn show(report: &Report) {
    for worse in report.regressions().take(SHOWN_MAX) {
        let (id, attempt) = (&worse.id, worse.attempt);
        super::print_text(format_args!("job {id}, attempt {attempt}: {}", worse.found));
    }
    super::print_line(report.sum());
    if report.compared() == 0 {
        super::output::say(
            "hint: `record = \"failed\"` in the queue's section records the attempts that fail, `\"1%\"` some of the others, too",
        );
        return;
    }
    match (report.cpu_ratio, report.memory_ratio) {
        (Some(cpu), Some(memory)) => {
            super::print_line(format_args!(
                "processor time x {cpu:.2}, memory x {memory:.2}"
            ));
        }
        _ => super::output::note(
            "processor time and memory were not compared: the version that ran is not deployed, and the config does not name it",
        ),
    }
}
