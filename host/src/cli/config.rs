//! `toril config`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use toml_writer::ToTomlKey as _;
use toril::config::{DEFAULT_FILE, Origin, Setting, Source, schema};

use super::queue_config::not_configured;
use super::{RedisArgs, print_json, print_lines};

/// Shows the effective config: every setting, its value, and where the value comes from.
///
/// What is printed is a config file with the same meaning. Secrets are not read.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  toril config --queue paint\n  toril config --changed\n  toril config --schema > toril.schema.json"
)]
pub(super) struct Config {
    /// Only the settings of this queue.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only settings that are not defaults.
    #[arg(long)]
    changed: bool,
    /// Prints JSON: an array of objects with `path`, `value` and `origin`.
    #[arg(long)]
    json: bool,
    /// Prints the JSON schema of toril.toml, for editors.
    #[arg(long, conflicts_with_all = ["queue", "changed", "json"])]
    schema: bool,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.schema {
            print_lines(format!("{:#}", schema()).lines());
            return Ok(ExitCode::SUCCESS);
        }
        let source = Source {
            file: self.redis.config.clone(),
            overrides: self.redis.overrides(),
        };
        let mut settings = source.settings()?;
        if let Some(queue) = &self.queue
            && !settings.iter().any(|setting| is_of(queue, setting))
        {
            let file = source.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
            return Err(not_configured(queue, file, source.redis().ok()));
        }
        settings.retain(|setting| self.shows(setting));
        match self.json {
            true => print_json(&json!(settings)),
            false => show(&settings),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn shows(&self, setting: &Setting) -> bool {
        let mut queue = self.queue.iter();
        let is_wanted = queue.all(|queue| is_of(queue, setting));
        is_wanted && !(self.changed && setting.origin == Origin::Default)
    }
}

fn is_of(queue: &str, setting: &Setting) -> bool {
    matches!(&setting.path[..], [all, name, ..] if all == "queues" && name == queue)
}

/// A line for each, under the heads of their sections.
fn show(settings: &[Setting]) {
    let mut shown: &[String] = &[];
    for setting in settings {
        let Some((key, section)) = setting.path.split_last() else {
            continue;
        };
        if section != shown {
            let keys: Vec<String> = section.iter().map(|key| key.to_toml_key()).collect();
            print_lines([String::new(), format!("[{}]", keys.join("."))]);
            shown = section;
        }
        let line = format!("{} = {}", key.to_toml_key(), setting.value);
        print_lines(format!("{line:<40} # {}", setting.origin).split('\n'));
    }
}
