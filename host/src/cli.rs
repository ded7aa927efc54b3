//! The command line: one type per verb; its doc comments are the help text.

mod add;
mod build;
mod check;
mod completions;
mod config;
mod deploy;
mod dev;
mod doctor;
mod events;
mod flow;
mod forget;
mod health;
mod job;
mod json_argument;
mod kv;
mod man;
mod new;
mod output;
mod progress;
mod queue_config;
mod recordings;
mod redis_args;
mod rehearse;
mod replay;
mod run;
mod serve;
mod status;
mod terminal;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::{print_json, print_line, print_lines, print_text};
use progress::Progress;
use redis_args::RedisArgs;
use toril_sandbox::slow::TARGET;
use tracing::Metadata;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Lines of a host's log that wait to be written. Beyond, they are dropped.
const LOG_LINES_WAITING_MAX: usize = 10_000;

/// A separate thread writes the log, because a slow reader must not block the thread that talks to Redis.
fn beside_the_work() -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_WAITING_MAX)
        .lossy(true)
        .finish(output::Log)
}

const DEFAULT_LOG: &str = "info";
/// Where `--help` lists what every command takes: apart from the command's own options, which people look for first.
const GLOBAL: &str = "Options of every command";
const QUIET_LOG: &str = "warn";
/// Of a command that ends by itself: its progress says what is built and compiled.
const COMMAND_LOG: &str = "info,toril::language=warn,toril_sandbox::slow=warn";

/// Runs BullMQ jobs in WebAssembly processors.
///
/// Producers, dashboards and other workers keep using the same Redis and need no change. A processor is a source file in
/// TypeScript, JavaScript, Python, Go, C or Rust, or a WebAssembly component. `toril build` makes a component of a source
/// file; any other component that implements a world in `wit/` works, too.
#[derive(Parser)]
#[command(name = "toril", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to log: a level, or `tracing` directives such as `info,toril::worker=debug`.
    #[arg(
        long,
        global = true,
        env = "TORIL_LOG",
        default_value = DEFAULT_LOG,
        value_name = "FILTER",
        help_heading = GLOBAL
    )]
    log: String,
    /// Writes the log as JSON, one object per line.
    #[arg(long, global = true, env = "TORIL_LOG_JSON", help_heading = GLOBAL)]
    log_json: bool,
    /// Prints only data and errors: not which Redis is used, and no progress.
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    New(new::New),
    Build(build::Build),
    Dev(dev::Dev),
    Serve(serve::Serve),
    Check(check::Check),
    Config(config::Config),
    Doctor(doctor::Doctor),
    Run(run::Run),
    Test(test::Test),
    Add(add::Add),
    Job(job::Job),
    Flow(flow::Flow),
    Kv(kv::Kv),
    Recordings(recordings::Recordings),
    Replay(replay::Replay),
    Rehearse(rehearse::Rehearse),
    Events(events::Events),
    Deploy(deploy::Deploy),
    Rollback(deploy::Rollback),
    Promote(deploy::Promote),
    Abort(deploy::Abort),
    Undeploy(deploy::Undeploy),
    Versions(status::Versions),
    Status(status::Status),
    Forget(forget::Forget),
    Health(health::Health),
    Completions(completions::Completions),
    Man(man::Man),
}

/// What wasmtime's WASI says at the level `trace` are the arguments of calls: secrets among them, whatever filter is set.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != tracing::Level::TRACE || !metadata.target().starts_with("wasmtime_wasi")
}

/// Lets the spans pass that say what goes on, whatever else is logged.
fn spans_of_progress() -> Directive {
    format!("{TARGET}=info")
        .parse()
        .expect("a target and a level")
}

impl Cli {
    /// Reads the arguments. Else the exit code: of a help or a version that was asked for, or of an error that was shown.
    pub(crate) fn from_arguments() -> Result<Self, ExitCode> {
        Cli::try_parse().map_err(|said| match output::print_of_parser(&said) {
            Ok(()) => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(u8::MAX)),
            Err(lost) => fail(&lost_output(&lost)),
        })
    }

    /// Logs go to stderr; stdout carries data. What is returned takes progress away and writes the rest of the log when it is
    /// dropped.
    pub(crate) fn init_log(&self) -> (Option<Progress>, Option<WorkerGuard>) {
        output::set_quiet(self.quiet);
        use tracing_subscriber::filter::filter_fn;
        use tracing_subscriber::{EnvFilter, prelude::*};
        let filter = EnvFilter::try_new(self.log_filter()).unwrap_or_else(|error| {
            output::say(format_args!("warning: log filter is ignored: {error}"));
            EnvFilter::new("info")
        });
        let is_host = matches!(self.verb, Verb::Serve(_));
        let (writer, guard) = match is_host {
            true => {
                let (writer, guard) = beside_the_work();
                (BoxMakeWriter::new(writer), Some(guard))
            }
            false => (BoxMakeWriter::new(|| output::Log), None),
        };
        let is_shown = is_host && !self.quiet && !self.log_json && terminal::redraws();
        // Without a thread there are lines.
        let progress = is_shown.then(Progress::begin).and_then(Result::ok);
        let (progress, layer) = progress.unzip();
        let is_line = |metadata: &Metadata<'_>| metadata.is_event() && metadata.target() == TARGET;
        let has_spinner = layer.is_some();
        // What is logged says nothing about progress, which `--quiet` turns off.
        let filter = match has_spinner {
            true => filter.add_directive(spans_of_progress()),
            false => filter,
        };
        let may_be_shown = filter_fn(move |metadata| {
            may_be_shown(metadata) && !(has_spinner && is_line(metadata))
        });
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer);
        if self.log_json {
            log.json().finish().with(may_be_shown).init();
        } else {
            log.with_ansi(terminal::shows_colours())
                .fmt_fields(output::log_fields())
                .finish()
                .with(layer)
                .with(may_be_shown)
                .init();
        }
        (progress, guard)
    }

    /// What is logged, where a verb has a default of its own.
    fn log_filter(&self) -> &str {
        match &self.verb {
            _ if self.log != DEFAULT_LOG => &self.log,
            Verb::Dev(_) => dev::LOG,
            // What it says is its log.
            Verb::Serve(_) => DEFAULT_LOG,
            _ if self.quiet => QUIET_LOG,
            _ => COMMAND_LOG,
        }
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::New(new) => new.run().await,
            Verb::Build(build) => build.run().await,
            Verb::Dev(dev) => dev.run().await,
            Verb::Serve(serve) => serve.run().await,
            Verb::Check(check) => check.run().await,
            Verb::Config(config) => config.run(),
            Verb::Doctor(doctor) => doctor.run().await,
            Verb::Run(run) => run.run().await,
            Verb::Test(test) => test.run().await,
            Verb::Add(add) => add.run().await,
            Verb::Job(job) => job.run().await,
            Verb::Flow(flow) => flow.run().await,
            Verb::Kv(kv) => kv.run().await,
            Verb::Recordings(recordings) => recordings.run().await,
            Verb::Replay(replay) => replay.run().await,
            Verb::Rehearse(rehearse) => rehearse.run().await,
            Verb::Events(events) => events.run().await,
            Verb::Deploy(deploy) => deploy.run().await,
            Verb::Rollback(rollback) => rollback.run().await,
            Verb::Promote(promote) => promote.run().await,
            Verb::Abort(abort) => abort.run().await,
            Verb::Undeploy(undeploy) => undeploy.run().await,
            Verb::Versions(versions) => versions.run().await,
            Verb::Status(status) => status.run().await,
            Verb::Forget(forget) => forget.run().await,
            Verb::Health(health) => health.run().await,
            Verb::Completions(completions) => Ok(completions.run()),
            Verb::Man(man) => man.run(),
        }
    }
}

/// The exit code of a command that ended with this one: a failure where its output was lost.
pub(crate) fn finish(code: ExitCode) -> ExitCode {
    match output::lost() {
        Some(lost) => fail(&lost_output(lost)),
        None => code,
    }
}

fn lost_output(lost: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("failed to write to standard output: {lost}")
}

/// Prints an error with its causes, once, and says so to the caller of the process.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    let Explained { causes, hints } = Explained::of(error);
    for (number, cause) in causes.iter().enumerate() {
        match number {
            0 => output::say(format_args!("error: {cause}")),
            _ => output::say(format_args!("  caused by: {cause}")),
        }
    }
    for hint in hints {
        output::say(format_args!("hint: {hint}"));
    }
    ExitCode::FAILURE
}

/// An error, apart from what can be done about it: people look for that at the end.
struct Explained {
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Explained {
    fn of(error: &anyhow::Error) -> Self {
        let mut hints = Vec::new();
        let causes = error.chain().map(|cause| {
            let cause = cause.to_string();
            match cause.split_once("\nhint: ") {
                Some((what, hint)) => {
                    hints.push(hint.to_owned());
                    what.to_owned()
                }
                None => cause,
            }
        });
        Explained {
            causes: causes.collect(),
            hints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_commands_log_no_more_than_warnings_unless_they_are_asked_to() {
        let filter = |line: &str| {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            cli.log_filter().to_owned()
        };
        for command in ["build a.ts", "run a.ts", "check a.ts"] {
            assert_eq!(filter(&format!("toril {command}")), COMMAND_LOG);
            assert_eq!(filter(&format!("toril {command} -q")), "warn");
            assert_eq!(filter(&format!("toril {command} -q --log debug")), "debug");
        }
        assert_eq!(filter("toril serve -q"), "info");
    }
}
