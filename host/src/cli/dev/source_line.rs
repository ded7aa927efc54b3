//! Where in the source an error is, by its stack.

use std::path::{Path, PathBuf};

use toril::language::Language;
use toril::sandbox::regular_file::{self, LARGE_BYTES_MAX};

/// A place that a stack names.
#[derive(Debug, PartialEq)]
struct Place {
    file: PathBuf,
    line: usize,
    column: Option<usize>,
}

/// The line of the source at which an error was made, ready to be shown. `dirs` are those that its paths may be relative to.
pub(super) fn of(stack: &str, dirs: &[PathBuf]) -> Vec<String> {
    let is_python = stack.contains("Traceback (most recent call last)");
    let mut places: Vec<Place> = stack.lines().flat_map(places_in).collect();
    if is_python {
        // The innermost call comes last.
        places.reverse();
    }
    let mut shown = places.iter().filter_map(|place| show(place, dirs));
    shown.next().unwrap_or_default()
}

/// The places in a line: `file.ts:5:11`, or `File "file.py", line 5`.
fn places_in(line: &str) -> Vec<Place> {
    if let Some(place) = python_place(line) {
        return vec![place];
    }
    let words =
        line.split(|character: char| character.is_whitespace() || "()\"'`".contains(character));
    words.filter_map(place).collect()
}

fn python_place(line: &str) -> Option<Place> {
    let (file, rest) = line
        .trim()
        .strip_prefix("File \"")?
        .split_once("\", line ")?;
    let digits = rest.split(|character: char| !character.is_ascii_digit());
    Some(Place {
        file: file.into(),
        line: digits.into_iter().next()?.parse().ok()?,
        column: None,
    })
}

fn place(word: &str) -> Option<Place> {
    let mut parts = word.trim_start_matches("file://").split(':');
    let file = PathBuf::from(parts.next()?);
    Language::of(&file)?;
    Some(Place {
        line: parts.next()?.parse().ok()?,
        column: parts.next().and_then(|column| column.parse().ok()),
        file,
    })
}

fn show(place: &Place, dirs: &[PathBuf]) -> Option<Vec<String>> {
    let file = find(&place.file, dirs)?;
    let text = regular_file::read_text(&file, LARGE_BYTES_MAX).ok()?;
    let line = text.lines().nth(place.line.checked_sub(1)?)?;
    let number = place.line.to_string();
    let column = place
        .column
        .map_or(String::new(), |column| format!(":{column}"));
    let mut shown = vec![
        format!("  --> {}:{number}{column}", file.display()),
        format!("  {number} | {line}"),
    ];
    if let Some(before) = place.column.and_then(|column| column.checked_sub(1)) {
        // Tabs stay, so that the mark stands below its character.
        let before: String = line
            .chars()
            .take(before)
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        shown.push(format!("  {} | {before}^", " ".repeat(number.len())));
    }
    Some(shown)
}

/// The file that a path of a stack means. Tools write paths as seen from the project, or from above it.
fn find(named: &Path, dirs: &[PathBuf]) -> Option<PathBuf> {
    let is_library = |part: &std::ffi::OsStr| part == "node_modules" || part == "site-packages";
    if named.iter().any(is_library) {
        return None;
    }
    let parts: Vec<_> = named.iter().collect();
    let ends = (0..parts.len()).map(|skipped| parts[skipped..].iter().collect::<PathBuf>());
    let mut files = ends.flat_map(|end| dirs.iter().map(move |dir| dir.join(&end)));
    files.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(file: &str, stack: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "one\n\tthrow two;\nthree\n").unwrap();
        let root = format!("{}/", dir.path().display());
        let lines = of(stack, &[dir.path().to_owned()]);
        lines
            .into_iter()
            .map(|line| line.replace(&root, ""))
            .collect()
    }

    #[test]
    fn line_of_the_source_is_found_in_stacks_of_each_language() {
        let script = "Error: no\n    at next (node_modules/zod/two.js:2:2)\n    at paint (src/two.ts:2:2)\n    at src/two.ts:1:1";
        let expected = ["  --> src/two.ts:2:2", "  2 | \tthrow two;", "    | \t^"];
        assert_eq!(shown("src/two.ts", script), expected);
        let python = "Traceback (most recent call last):\n  File \"two.py\", line 1, in process\n  File \"two.py\", line 2, in two\nValueError: no";
        assert_eq!(
            shown("two.py", python),
            ["  --> two.py:2", "  2 | \tthrow two;"]
        );
        let go = "goroutine 1 [running]:\nmain.fail(...)\n\tpainter/main.go:2\n";
        assert_eq!(
            shown("main.go", go),
            ["  --> main.go:2", "  2 | \tthrow two;"]
        );
        let rust = "panicked at crates/painter/src/lib.rs:2:2:\nno luck";
        assert_eq!(shown("src/lib.rs", rust)[0], "  --> src/lib.rs:2:2");
        assert!(
            shown(
                "two.ts",
                "Error: no\n    at other.ts:2:2 at two.ts:99 at two.ts:x"
            )
            .is_empty()
        );
    }
}
