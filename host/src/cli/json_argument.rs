//! JSON that a user gives to a command: as the argument itself, in a file, or on standard input.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use serde::de::IgnoredAny;
use toril::queue::json;
use toril::sandbox::regular_file::{self, LARGE_BYTES_MAX};

/// Reads the JSON of an option: no JSON begins with `@`, and none is `-`.
pub(super) fn read(option: &str, given: &str) -> anyhow::Result<String> {
    let text = match given.strip_prefix('@') {
        Some("-") => standard_input()?,
        Some(file) => regular_file::read_text(Path::new(file), LARGE_BYTES_MAX)
            .with_context(|| format!("failed to read `{file}`, the file of `{option}`"))?,
        None if given == "-" => standard_input()?,
        None => given.to_owned(),
    };
    match json::read::<IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(anyhow!(
            "`{option}` is not JSON: {error}\nhint: {}",
            hint(option, given)
        )),
    }
}

/// Standard input is there once.
pub(super) fn ensure_one_reads_input<const N: usize>(given: [&str; N]) -> anyhow::Result<()> {
    let readers = given.iter().filter(|given| matches!(**given, "-" | "@-"));
    ensure!(
        readers.count() < 2,
        "standard input can be read only once\nhint: give one of the options as `@FILE`"
    );
    Ok(())
}

fn hint(option: &str, given: &str) -> String {
    if given.starts_with('@') || given == "-" {
        return "the file is read as it is, so it needs no quotes for the shell".to_owned();
    }
    format!(
        "keys and texts need double quotes, and the whole needs single quotes, so that the shell keeps them: \
         `{option} '{{\"key\":\"text\"}}'`; `{option} @FILE` reads a file, and `{option} -` standard input"
    )
}

/// All of standard input, as text.
pub(super) fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(LARGE_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .context("failed to read standard input")?;
    ensure!(
        text.len() <= LARGE_BYTES_MAX,
        "standard input has more than {LARGE_BYTES_MAX} bytes"
    );
    Ok(text)
}
