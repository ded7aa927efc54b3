//! `toril doctor`.

mod machine;
mod processors;
mod redis;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use toril::config::{Config, Overrides, Source};

use super::output::{note, note_text};
use super::{Explained, RedisArgs, print_json, print_line, print_lines};

/// Finds problems that would keep a host from building or serving processors, and says how to repair them.
///
/// It checks toril.toml, the processors of its queues with their tools and grants, Redis (version, eviction policy,
/// rights, latency), the cache of compiled code and the limits of this process. The exit code is 1 if there is an error.
#[derive(Args)]
pub(super) struct Doctor {
    /// Makes the safe repairs: installs Rust's target for WebAssembly; removes the rights of other users on the cache; and
    /// until Redis restarts, sets its eviction policy so that a full Redis refuses writes instead of dropping jobs. Without
    /// this flag the command changes nothing.
    #[arg(long)]
    fix: bool,
    /// Prints JSON: an array of findings.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    level: Level,
    about: String,
    what: String,
    /// What to do about it: each warning and each error has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<String>,
    #[serde(skip)]
    fix: Option<Fix>,
}

/// A repair that `--fix` makes.
enum Fix {
    /// A command of the user's.
    Run(&'static str, &'static [&'static str]),
    /// Makes a directory its owner's alone.
    ClosedDir(std::path::PathBuf),
    /// Has Redis refuse writes when it is full, instead of dropping jobs.
    NoEviction(Box<toril::queue::Redis>),
}

impl Finding {
    fn ok(about: impl Into<String>, what: impl Into<String>) -> Self {
        Finding {
            level: Level::Ok,
            about: about.into(),
            what: what.into(),
            repair: None,
            fix: None,
        }
    }

    /// An error whose hint is the repair; if it has none, the repair is this one.
    fn error(
        about: impl Into<String>,
        error: &anyhow::Error,
        repair_without_hint: impl Into<String>,
    ) -> Self {
        let Explained { causes, hints } = Explained::of(error);
        let hint = hints.into_iter().next();
        Finding {
            level: Level::Error,
            repair: Some(hint.unwrap_or_else(|| repair_without_hint.into())),
            ..Finding::ok(about, causes.join(": "))
        }
    }

    fn warning(
        about: impl Into<String>,
        what: impl Into<String>,
        repair: impl Into<String>,
    ) -> Self {
        Finding {
            level: Level::Warning,
            repair: Some(repair.into()),
            ..Finding::ok(about, what)
        }
    }

    fn fixed_by(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    fn show(&self) {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let what = self.what.replace('\n', "\n                       ");
        print_lines(format!("{level:<8} {:<13} {what}", self.about).split('\n'));
        if let Some(repair) = &self.repair {
            print_line(format_args!("           repair: {repair}"));
        }
    }
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut findings = self.look().await;
        if self.fix {
            let fixes: Vec<Fix> = findings
                .iter_mut()
                .filter_map(|found| found.fix.take())
                .collect();
            for fix in &fixes {
                match fix.apply().await {
                    Ok(done) => note(format_args!("fixed: {done}")),
                    Err(error) => note_text(format_args!("not fixed: {error:#}")),
                }
            }
            if !fixes.is_empty() {
                findings = self.look().await;
            }
        }
        match self.json {
            true => print_json(&json!(findings)),
            false => findings.iter().for_each(Finding::show),
        }
        let sound = findings.iter().all(|found| found.level != Level::Error);
        Ok(ExitCode::from(u8::from(!sound)))
    }

    async fn look(&self) -> Vec<Finding> {
        let source = Source {
            file: self.redis.config.clone(),
            overrides: Overrides {
                admin_token: std::env::var("TORIL_ADMIN_TOKEN").ok(),
                ..self.redis.overrides()
            },
        };
        let config = source.load();
        let mut findings = vec![about_config(&config)];
        // What cannot be read is not judged by its defaults: what the file says of it is unknown.
        if let Ok(queues) = source.load_queues() {
            findings.extend(machine::look(&queues.runtime));
        }
        if self.redis.source().is_ok() {
            findings.extend(redis::look(&self.redis).await);
        }
        if let Ok(config) = &config {
            findings.extend(processors::look(config).await);
        }
        findings
    }
}

fn about_config(config: &anyhow::Result<Config>) -> Finding {
    match config {
        Ok(config) if config.queues.is_empty() => Finding::warning(
            "config",
            "no queue is configured",
            "add a section `[queues.NAME]` to toril.toml; `toril new NAME` makes a project with one",
        ),
        Ok(config) => {
            let queues: Vec<&str> = config.queues.keys().map(String::as_str).collect();
            Finding::ok("config", format!("serves {}", queues.join(", ")))
        }
        Err(error) => Finding::error(
            "config",
            error,
            "correct the file; `toril config --schema` prints which keys there are",
        ),
    }
}

impl Fix {
    async fn apply(&self) -> anyhow::Result<String> {
        match self {
            Fix::Run(program, arguments) => {
                let command = format!("{program} {}", arguments.join(" "));
                let done = tokio::process::Command::new(program)
                    .args(*arguments)
                    .stdout(std::io::stderr())
                    .status()
                    .await?;
                anyhow::ensure!(done.success(), "`{command}` failed: {done}");
                Ok(command)
            }
            Fix::ClosedDir(dir) => {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
                Ok(format!("`{}` has mode 0700", dir.display()))
            }
            Fix::NoEviction(redis) => redis::forbid_eviction(redis).await,
        }
    }
}
