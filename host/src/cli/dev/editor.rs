//! A text in the editor of the user.

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// Looked for in this order, as other programs do.
const VARIABLES: [&str; 2] = ["VISUAL", "EDITOR"];
const DEFAULT: &str = "vi";

/// Lets the user change a text. Nothing else may read the terminal meanwhile.
pub(super) async fn edit(text: &str) -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("data.json");
    std::fs::write(&file, text)?;
    let mut named = VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
    let editor = named
        .find(|editor| !editor.trim().is_empty())
        .unwrap_or_else(|| DEFAULT.to_owned());
    // A shell splits it into the program and its arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$@\""));
    let status = command.arg(&editor).arg(&file).status().await?;
    ensure!(status.success(), "editor `{editor}` failed: {status}");
    std::fs::read_to_string(&file).context("failed to read what was edited")
}
