//! The one place that prints. Ids, names, logs and reasons come from anybody who can add a job: what is printed as a line
//! is one line, whatever is in it, and on a terminal, characters that would control it are shown escaped, too. JSON and
//! bytes go to a file or a pipe as they are.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{ErrorKind, IsTerminal, StdoutLock, Write};
use std::sync::OnceLock;

use parking_lot::Mutex;
use serde::Serialize;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{self, Writer};

use super::terminal;

/// What stays below all lines on a terminal that can take a line away again. Empty: nothing does.
static STATUS: Mutex<String> = Mutex::new(String::new());

/// A word in a command that people copy. The config, or a file, may be somebody else's.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    shlex::try_quote(word).unwrap_or(Cow::Borrowed("''"))
}

/// Shows a line below all others until it is replaced. Empty: none any more. Only where `terminal::redraws`.
pub(super) fn set_status(status: &str) {
    let mut shown = STATUS.lock();
    hide(&shown);
    status.clone_into(&mut shown);
    show(&shown);
}

/// Writes where the status line stands, which moves on. `write` must end its line.
fn above_status(write: impl FnOnce() -> std::io::Result<()>) {
    let status = STATUS.lock();
    hide(&status);
    // Nothing can be said of the log where it cannot be written; for data, see `lost`.
    let _ = write();
    show(&status);
}

fn hide(status: &str) {
    if !status.is_empty() {
        let _ = std::io::stderr().write_all(b"\r\x1b[2K");
    }
}

fn show(status: &str) {
    if status.is_empty() {
        return;
    }
    let status = in_line(status);
    let status = visible(&status);
    let fitting = terminal::fitting(&status);
    // In one write: another process may write to the terminal, too.
    let shown = match terminal::shows_colours() {
        true => format!("\x1b[2m{fitting}\x1b[0m"),
        false => fitting.to_owned(),
    };
    let _ = std::io::stderr().write_all(shown.as_bytes());
}

/// Where the log goes: to stderr, and above the status line.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        above_status(|| std::io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Why data could not be written to stdout, the first time.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Why data of this command was lost, if some was. A reader that went away wanted no more of it.
pub(super) fn lost() -> Option<&'static std::io::Error> {
    LOST.get()
}

fn to_stdout(write: impl FnOnce(&mut StdoutLock<'_>) -> std::io::Result<()>) {
    above_status(|| {
        let mut stdout = std::io::stdout().lock();
        let written = write(&mut stdout).and_then(|()| stdout.flush());
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
        {
            let _ = LOST.set(error);
        }
        Ok(())
    });
}

/// Writes what the parser of arguments says: an error, or to stdout what was asked for, the help or the version.
pub(super) fn print_of_parser(said: &clap::Error) -> std::io::Result<()> {
    match said.print().and_then(|()| std::io::stdout().flush()) {
        // A reader that went away wanted no more of it; an error that nobody can see is one still.
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !said.use_stderr() => Err(error),
        _ => Ok(()),
    }
}

/// Writes a line of data for people. A line break in it is escaped: it would make two lines of one.
pub(super) fn print_line(line: impl Display) {
    print_lines([line]);
}

/// Writes a text of data for people that may have several lines.
pub(super) fn print_text(text: impl Display) {
    print_lines(text_lines(text));
}

/// Writes lines of data for people, together. Each item is one.
pub(super) fn print_lines(lines: impl IntoIterator<Item = impl Display>) {
    let lines: Vec<String> = lines.into_iter().map(|line| line.to_string()).collect();
    to_stdout(|stdout| {
        let is_terminal = stdout.is_terminal();
        for line in &lines {
            let line = in_line(line);
            match is_terminal {
                true => writeln!(stdout, "{}", visible(&line))?,
                false => writeln!(stdout, "{line}")?,
            }
        }
        Ok(())
    });
}

/// The lines of a text that may have several. Those below the first are indented, so that none looks like a line of the
/// command's own.
pub(super) fn text_lines(text: impl Display) -> Vec<String> {
    let text = text.to_string();
    let indent = text.len() - text.trim_start_matches(' ').len() + TEXT_INDENT;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let rest = lines.map(|line| format!("{:indent$}{line}", ""));
    std::iter::once(first).chain(rest).collect()
}

/// How much farther in the lines of a text begin below its first one.
const TEXT_INDENT: usize = 4;

/// A number with what it counts: `1 key`, `2 keys`.
pub(super) fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn in_line(line: &str) -> Cow<'_, str> {
    replaced(
        line,
        |character| matches!(character, '\n' | '\r'),
        in_braces,
    )
}

/// Writes bytes as they are, for a file or a pipe.
pub(super) fn print_bytes(bytes: &[u8]) {
    to_stdout(|stdout| stdout.write_all(bytes));
}

/// Writes a line of JSON. On a terminal, too, it says exactly the same.
pub(super) fn print_json(value: &impl Serialize) {
    // Plain data, which can always be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    to_stdout(|stdout| match stdout.is_terminal() {
        true => writeln!(stdout, "{}", visible_json(&text)),
        false => writeln!(stdout, "{text}"),
    });
}

/// Says something that is no data. It may have several lines: of an error, the hint is below it.
pub(super) fn say(line: impl Display) {
    let line = line.to_string();
    above_status(|| match std::io::stderr().is_terminal() {
        true => writeln!(std::io::stderr(), "{}", visible(&line)),
        false => writeln!(std::io::stderr(), "{line}"),
    });
}

static QUIET: OnceLock<bool> = OnceLock::new();

/// Whether `note` says nothing; false until it is set, once.
pub(super) fn set_quiet(quiet: bool) {
    let _ = QUIET.set(quiet);
}

/// Says something that is good to know, in a line, unless nobody wants to.
pub(super) fn note(line: impl Display) {
    if !is_quiet() {
        say(in_line(&line.to_string()));
    }
}

/// The same of a text that may have several lines: of an error, the hint is below it.
pub(super) fn note_text(text: impl Display) {
    if !is_quiet() {
        say(text_lines(text).join("\n"));
    }
}

/// True where nobody wants more than data and errors.
pub(super) fn is_quiet() -> bool {
    QUIET.get() == Some(&true)
}

/// How the log for people writes fields, whatever it is written to: a file may be shown on a terminal later.
pub(super) fn log_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    format::debug_fn(write_field).delimited(" ")
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    // A line of the log's own begins with its time: no other one does.
    let value = replaced(&value, controls_or_breaks, |character| match character {
        '\n' => "\n    ".to_owned(),
        other => in_braces(other),
    });
    match field.name() {
        "message" => write!(writer, "{value}"),
        // What the `log` crate says of itself was shown before.
        name if name.starts_with("log.") => Ok(()),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}")
        }
        name => write!(writer, "{name}={value}"),
    }
}

/// True for what controls a terminal, the direction of its text or its lines, and for what nobody sees on it, line ends
/// and tabs aside. Joiners are shown: scripts and emoji need them.
fn controls(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // Spaces without width, invisible operators, annotations, and the tag characters, which repeat ASCII unseen.
    let hides = matches!(
        character,
        '\u{200b}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    turns || hides || character.is_control() && !matches!(character, '\n' | '\t')
}

fn controls_or_breaks(character: char) -> bool {
    character == '\n' || controls(character)
}

fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, controls, in_braces)
}

/// In JSON such characters stand in texts only.
fn visible_json(text: &str) -> Cow<'_, str> {
    replaced(text, controls, |character| {
        let mut units = [0; 2];
        let units = character.encode_utf16(&mut units);
        units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
    })
}

fn in_braces(character: char) -> String {
    character.escape_unicode().to_string()
}

fn replaced(
    text: &str,
    is_escaped: impl Fn(char) -> bool,
    escaped: impl Fn(char) -> String,
) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_escaped(character) {
            true => shown.push_str(&escaped(character)),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_escaped_and_the_text_stays() {
        for (text, shown) in [
            ("plain – ünïcode 🐂\n\tstays", "plain – ünïcode 🐂\n\tstays"),
            ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m\u{9d}", "\\u{9b}31m\\u{9d}"),
            (
                "over\rwritten\x08\x7f\0",
                "over\\u{d}written\\u{8}\\u{7f}\\u{0}",
            ),
            ("\u{202e}gnirts", "\\u{202e}gnirts"),
            ("\u{61c}\u{2028}\u{2029}", "\\u{61c}\\u{2028}\\u{2029}"),
            ("a\u{e0041}\u{200b}b", "a\\u{e0041}\\u{200b}b"),
            ("👩\u{200d}🔧 क\u{200d}ष", "👩\u{200d}🔧 क\u{200d}ष"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn one_thing_is_not_several() {
        let counts = [0, 1, 2, 11].map(|count| counted(count, "key"));
        assert_eq!(counts, ["0 keys", "1 key", "2 keys", "11 keys"]);
    }

    #[test]
    fn lines_of_a_text_below_the_first_are_indented() {
        assert_eq!(text_lines("one"), ["one"]);
        assert_eq!(text_lines(""), [""]);
        assert_eq!(
            text_lines("one\r\ntwo\n  three"),
            ["one", "    two", "      three"]
        );
        assert_eq!(text_lines("  one\ntwo"), ["  one", "      two"]);
    }

    #[test]
    fn json_says_the_same_when_it_is_escaped() {
        let value =
            serde_json::json!({ "id": "\x1b[31m\u{9b}2J\u{7f}\u{202e}\u{e0041}", "n": 1.5 });
        let text = value.to_string();
        let shown = visible_json(&text);
        assert!(!shown.contains(controls), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }

    /// A log that is kept.
    #[derive(Clone, Default)]
    struct Kept(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn log_for_people_has_no_escapes_of_others() {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .fmt_fields(log_fields())
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(log.finish(), || {
            let hostile = "\x1b[2J\u{9b}2J\r\n2026 INFO forged";
            tracing::warn!(error = %hostile, reason = hostile, "message of {hostile}");
        });
        let text = String::from_utf8(kept.0.lock().clone()).unwrap();
        assert!(!text.contains(controls), "{text:?}");
        assert!(
            text.contains(
                "message of \\u{1b}[2J\\u{9b}2J\\u{d}\n    2026 INFO forged error=\\u{1b}[2J"
            ),
            "{text}"
        );
        assert!(!text.contains("\n2026"), "{text}");
    }
}
