//! `toril new`.

mod languages;
mod name;
mod project;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};

use self::languages::Lang;
use self::project::Project;
use super::output::{print_line, say};

/// Makes a project: one processor, a case for `toril test`, a config and what the language's tools need.
///
/// The directory is named after the project, and so is the queue. On a terminal the command asks for the language if
/// `--lang` is missing; otherwise it is TypeScript. Nothing is installed, and nothing is fetched.
#[derive(Args)]
#[command(after_help = "Examples:\n  toril new paint\n  toril new paint --lang rust")]
pub(super) struct New {
    /// The name: lower-case letters, digits, `-` and `_`.
    name: String,
    /// What the processor is written in.
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<Lang>,
    /// A checkout of Toril's `sdk` directory, to depend on instead of the published packages.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

impl New {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let dir = PathBuf::from(&self.name);
        name::check(&self.name)?;
        project::check_place(&dir)?;
        let lang = match self.lang {
            Some(lang) => lang,
            None => asked()?,
        };
        name::check_for(&self.name, lang)?;
        let project = Project::new(&self.name, lang, self.sdk.as_deref())?;
        project
            .write(&dir)
            .with_context(|| format!("failed to make `{}`", dir.display()))?;
        print_line(format_args!(
            "made {} in {}",
            dir.display(),
            lang.details().name
        ));
        for file in project.files() {
            print_line(format_args!("  {file}"));
        }
        print_line("next:");
        print_line(format_args!("  cd {}", dir.display()));
        for command in [project.install(), "toril dev", "toril test"] {
            print_line(format_args!("  {command}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The language that a person chooses, if one is there to be asked.
fn asked() -> anyhow::Result<Lang> {
    let default = Lang::Typescript;
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(default);
    }
    let all = Lang::value_variants();
    say("Which language?");
    for (at, lang) in all.iter().enumerate() {
        say(format_args!("  {}  {}", at + 1, lang.details().name));
    }
    loop {
        say("A number or a name [1]:");
        let mut line = String::new();
        let is_end = std::io::stdin().lock().read_line(&mut line)? == 0;
        let answer = line.trim();
        if answer.is_empty() {
            anyhow::ensure!(!is_end, "no language was chosen");
            return Ok(default);
        }
        let by_number = answer.parse::<usize>().ok();
        let by_number = by_number.and_then(|number| all.get(number.checked_sub(1)?));
        let by_name = || Lang::from_str(answer, true).ok();
        if let Some(lang) = by_number.copied().or_else(by_name) {
            return Ok(lang);
        }
        say(format_args!("`{answer}` is not one of them."));
    }
}
