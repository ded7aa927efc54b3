//! What the terminal can show. Logs, errors and progress go to stderr, and so it is stderr that is asked.

use std::io::IsTerminal as _;

/// Columns where a terminal does not say how many it has.
const COLUMNS: u16 = 80;

/// True where a line can be taken away again.
pub(super) fn redraws() -> bool {
    std::io::stderr().is_terminal() && understands_escapes()
}

/// True where colours are shown, and nobody asked for none: <https://no-color.org>.
pub(super) fn shows_colours() -> bool {
    let is_asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    redraws() && !is_asked_for_none
}

/// A terminal that does not say what it is, such as one of a build server, is taken for one that understands none.
fn understands_escapes() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// As much of a line as fits into one of the terminal's: a line that is broken in two could not be taken away.
pub(super) fn fitting(line: &str) -> &str {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col);
    let columns = if columns == 0 { COLUMNS } else { columns };
    // In the last column the cursor of some terminals goes on to the next line.
    within(line, usize::from(columns) - 1)
}

/// The first character that may take two columns: from here on some do, and a line that is too short does no harm.
const FIRST_WIDE: char = '\u{1100}';

fn within(line: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = line.char_indices().find(|&(_, character)| {
        taken += if character < FIRST_WIDE { 1 } else { 2 };
        taken > columns
    });
    &line[..end.map_or(line.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_takes_no_more_columns_than_there_are() {
        assert_eq!(within("building", 8), "building");
        assert_eq!(within("building", 5), "build");
        assert_eq!(within("闘牛場", 5), "闘牛");
        assert_eq!(within("a · é", 5), "a · é");
        assert_eq!(within("é", 0), "");
    }
}
