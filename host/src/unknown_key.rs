//! Hints for keys that nobody knows: the nearest one that is known.

/// Adds a hint to what is said of an error of serde, if it is about an unknown key or word and a known one is like it.
pub(crate) fn with_hint(said: &str, error: &str) -> String {
    match hint(error) {
        Some(hint) => format!("{}\n{hint}", without_known_keys(said)),
        None => said.to_owned(),
    }
}

/// The list of all keys, which may be long, hides the hint that names one of them.
fn without_known_keys(said: &str) -> String {
    let parts = said.rsplit_once("unknown field `").and_then(|(_, error)| {
        let (key, list) = error.split_once("`, expected ")?;
        let (_, place) = list.rsplit_once('`')?;
        let before = &said[..said.len() - error.len()];
        Some(format!("{before}{key}`{place}"))
    });
    parts.unwrap_or_else(|| said.to_owned())
}

/// A hint for an error of serde about an unknown key or word, if it is one and a known one is like it.
fn hint(error: &str) -> Option<String> {
    let unknown_word = || error.split_once("unknown variant ");
    let (_, list) = error.split_once("unknown field ").or_else(unknown_word)?;
    // The words in backticks: the unknown key, then those that are known.
    let mut words = list.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    nearest(unknown, words)
}

/// A hint that names the known word that is nearest to an unknown one, if one is like it.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let nearest = nearest_word(unknown, known)?;
    Some(format!("hint: did you mean `{nearest}`?"))
}

/// The known word that is nearest to an unknown one, if one is like it.
pub(crate) fn nearest_word<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let known = known.into_iter();
    let nearest = known.min_by_key(|known| distance(unknown, known))?;
    // Half of it may be wrong; a key that has nothing in common would only confuse.
    let near = distance(unknown, nearest) <= nearest.chars().count().div_ceil(2);
    near.then_some(nearest)
}

/// The word that was meant, where others than the known ones are right, too: one that differs by a slip of the fingers.
pub(crate) fn misspelt<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let slips = if given.chars().count() < 4 { 1 } else { 2 };
    nearest_word(given, known).filter(|known| distance(given, known) <= slips)
}

/// The edits from one word to another: characters added, removed or exchanged.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let exchanged = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_key_is_named() {
        let error =
            |unknown: &str, known: &str| format!("unknown field `{unknown}`, expected {known}");
        let known = "one of `processor`, `lock_duration_ms`, `concurrency` at line 1";
        for (unknown, nearest) in [
            ("procesor", "processor"),
            ("lockDuration", "lock_duration_ms"),
            ("concurency", "concurrency"),
        ] {
            let hint = hint(&error(unknown, known)).unwrap();
            assert_eq!(hint, format!("hint: did you mean `{nearest}`?"));
        }
        assert_eq!(hint(&error("zzz", known)), None);
        assert_eq!(hint(&error("x", "there are no fields")), None);
        assert_eq!(hint("expected a number"), None);
    }

    #[test]
    fn hint_stands_in_place_of_the_keys_that_it_is_one_of() {
        let keys = "expected one of `processor`, `limits`";
        let error = format!("line 2: unknown field `procesor`, {keys} at line 2");
        assert_eq!(
            with_hint(&error, &error),
            "line 2: unknown field `procesor` at line 2\nhint: did you mean `processor`?"
        );
        for error in [
            format!("unknown field `zzz`, {keys}"),
            "unknown field `x`, there are no fields".to_owned(),
            "expected a number".to_owned(),
        ] {
            assert_eq!(with_hint(&error, &error), error);
        }
        let word = "unknown variant `grcp`, expected `grpc` or `http`";
        assert_eq!(
            with_hint(word, word),
            format!("{word}\nhint: did you mean `grpc`?")
        );
    }

    #[test]
    fn distance_counts_edits() {
        for (from, to, edits) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "adc", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(from, to), edits, "{from} {to}");
        }
    }
}
