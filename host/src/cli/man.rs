//! `toril man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

/// Writes the manual pages of all commands into a directory.
///
/// `toril.1` is the page of the program, and `toril-serve.1`, for example, that of `toril serve`. The directory is made if it
/// does not exist.
#[derive(Args)]
#[command(after_help = "Example:
  toril man ~/.local/share/man/man1 && man toril-serve")]
pub(super) struct Man {
    /// The directory, such as `/usr/local/share/man/man1`.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let written = || {
            std::fs::create_dir_all(&self.dir)?;
            clap_mangen::generate_to(super::Cli::command(), &self.dir)
        };
        written().with_context(|| format!("failed to write pages to `{}`", self.dir.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
