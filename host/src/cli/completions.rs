//! `toril completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

/// Prints a script that completes commands and flags in a shell.
#[derive(Args)]
#[command(after_help = "Examples:
  toril completions bash > ~/.local/share/bash-completion/completions/toril
  toril completions zsh > \"${fpath[1]}/_toril\"
  toril completions fish > ~/.config/fish/completions/toril.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> ExitCode {
        let mut script = Vec::new();
        let mut command = super::Cli::command();
        generate(self.shell, &mut command, "toril", &mut script);
        super::output::print_bytes(&script);
        ExitCode::SUCCESS
    }
}
