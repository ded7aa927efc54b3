//! What is said of a config file that cannot be read: where and what is wrong, and nothing that is written there, since a
//! password may be.

use std::ops::Range;

use crate::unknown_key;

/// Shorter pieces of the file may be in any text.
const PIECE_BYTES_MIN: usize = 4;

/// Says where an error is, in which section, and what it is.
pub(crate) fn explain(error: &toml::de::Error, text: &str) -> String {
    let message = without_values(error.message(), error.span(), text);
    let at = error.span().map_or_else(String::new, |span| {
        let (line, column) = position(text, span.start);
        format!("line {line}, column {column}")
    });
    let section = section(error).map_or_else(String::new, |keys| format!("in `{keys}`"));
    let place = [at, section];
    let place = place.iter().filter(|part| !part.is_empty());
    let place = place.map(String::as_str).collect::<Vec<_>>().join(", ");
    let said = unknown_key::with_hint(&message, error.message());
    match place.is_empty() {
        true => said,
        false => format!("{place}: {said}"),
    }
}

/// The keys that lead to what is wrong. The error says them only where it cannot show the line.
fn section(error: &toml::de::Error) -> Option<String> {
    let mut error = error.clone();
    error.set_input(None);
    let said = error.to_string();
    let keys = said.trim_end().rsplit_once("\nin `")?.1;
    Some(keys.strip_suffix('`')?.to_owned())
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// What serde says, without the value that it says it of, and in words of the file.
fn without_values(message: &str, span: Option<Range<usize>>, text: &str) -> String {
    let said = without_values_in(message, span, text);
    match said.split_once("expected struct ") {
        // The name is that of a type of this program.
        Some((before, _)) => format!("{before}expected a section"),
        None => in_words_of_people(&said).unwrap_or(said),
    }
}

/// What an address to listen at looks like.
pub const ADDRESS_AND_PORT: &str = "an IP address and a port, such as `127.0.0.1:7717`";

/// What is said instead of a name of a type: people who write a config need not know any.
fn in_words_of_people(said: &str) -> Option<String> {
    if said == "invalid socket address syntax" {
        return Some(format!("expected {ADDRESS_AND_PORT}"));
    }
    let (before, kind) = said.rsplit_once("expected ")?;
    let expected = match kind.strip_prefix("a nonzero ").unwrap_or(kind) {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" if kind.starts_with('u') => "a whole number, 0 or more",
        "u64" | "usize" | "u128" => "a whole number, 1 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ => return None,
    };
    Some(format!("{before}expected {expected}"))
}

/// Keys stay: they are no secrets, and help.
fn without_values_in(message: &str, span: Option<Range<usize>>, text: &str) -> String {
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = split(message, kind, ", expected ") {
            let found = found.split(['`', '"']).next().unwrap_or_default().trim();
            return format!("{kind}{found}, expected {expected}");
        }
    }
    if let Some((_, expected)) = split(message, "unknown variant `", "`, expected ") {
        return format!("unknown word, expected {expected}");
    }
    let names_a_key = ["unknown field `", "missing field `", "duplicate field `"];
    if names_a_key.iter().any(|begin| message.starts_with(begin)) {
        return message.to_owned();
    }
    let written = span.and_then(|span| text.get(span)).unwrap_or(text);
    without_pieces(message, written)
}

/// What is between two parts of a text, and what follows. A value may have the second one in it, too.
fn split<'a>(message: &'a str, begin: &str, then: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(begin)?.rsplit_once(then)
}

/// Leaves out what is quoted in a text and written in the file.
fn without_pieces(message: &str, written: &str) -> String {
    let mut said = String::new();
    for (number, piece) in message.split_inclusive(['`', '"', '\'']).enumerate() {
        let inner = piece.trim_end_matches(['`', '"', '\'']);
        let is_value = inner.len() >= PIECE_BYTES_MIN && written.contains(inner);
        match number > 0 && is_value {
            true => said.extend(["…", &piece[inner.len()..]]),
            false => said.push_str(piece),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Overrides, parse};

    fn said(text: &str) -> String {
        let config = parse(Path::new("toril.toml"), text);
        let config = config.and_then(|file| file.into_config(Overrides::default()));
        format!("{:#}", config.unwrap_err())
    }

    #[test]
    fn nothing_that_is_written_in_a_config_is_in_an_error() {
        for (text, expected) in [
            (
                "redis = \"redis://:pass-9@a/0\n[queues.a]",
                "line 1, column ",
            ),
            (
                "prefix = \"x\"\nredis = \"redis://:pass-9@a/0\" x",
                "line 2, column 31",
            ),
            (
                "redis = [\"redis://:pass-9@a/0\"]",
                "in `redis`: invalid type: sequence, expected a string",
            ),
            (
                "redis = 'a'\nredis = 'redis://:pass-9@a'",
                "line 2, column 1: duplicate key",
            ),
            (
                "grace_ms = \"pass-9, expected pass-9\"",
                "in `grace_ms`: invalid type: string, expected a whole number, 0 or more",
            ),
            (
                "local_redis_port = 70000",
                "in `local_redis_port`: invalid value: integer, expected a whole number from 0 to 65535",
            ),
            (
                "[queues.a.grants]\nsecrets = { K = \"pass-9\" }",
                "in `queues.a.grants.secrets.K`: ",
            ),
            (
                "[queues]\na = \"pass-9\"",
                "in `queues.a`: invalid type: string, expected a section",
            ),
            (
                "[queues.a]\nlimits = 7 # pass-9",
                "in `queues.a.limits`: invalid type: integer, expected a section",
            ),
            ("[admin]\ntoken = \"pass-9\"", "line 2, column 1, in `admin"),
            (
                "[admin]\nlisten = \"u:pass-9@h\"",
                "in `admin.listen`: expected an IP address and a port, such as `127.0.0.1:7717`",
            ),
            (
                "redis_url = \"redis://:pass-9@a\"",
                "line 1, column 1: unknown field `redis_url`",
            ),
        ] {
            let said = said(text);
            assert!(!said.contains("pass-9"), "{said}");
            let place = said.strip_prefix("config `toril.toml` is invalid: line ");
            assert!(
                place.is_some() && said.contains(expected),
                "{said} for {text}"
            );
        }
    }

    /// Grants are read when the file as a whole is known to be valid.
    #[test]
    fn nothing_that_is_written_in_grants_is_in_an_error() {
        for (section, written) in [
            ("postgres.shop", "url = \"postgres://u:pass-9@h/d\""),
            ("http", "hosts = []\nproxy = [\"http://u:pass-9@h:1\"]"),
            ("http", "hosts = \"u:pass-9@h:1\""),
        ] {
            let said = said(&format!("[queues.a.grants.{section}]\n{written}"));
            assert!(!said.contains("pass-9"), "{said}");
            assert!(said.contains("queue `a`: `grants` is invalid: "), "{said}");
        }
    }

    #[test]
    fn unknown_keys_and_words_have_hints() {
        for (text, hint) in [
            (
                "[queues.a]\nprocesor = \"a\"",
                "hint: did you mean `processor`?",
            ),
            ("otlp_protocol = \"grcp\"", "hint: did you mean `grpc`?"),
        ] {
            let said = said(text);
            assert!(said.ends_with(hint), "{said}");
        }
    }
}
