//! Arrays of one dimension in text (<https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>).

/// The elements of an array; none for one of several dimensions, with bounds of its own, or that is no array.
pub(crate) fn read(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    while !rest.is_empty() || !elements.is_empty() {
        let (element, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (text, after) = unquoted(quoted)?;
                (Some(text), after)
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (bare, after) = rest.split_at(end);
                if bare.is_empty() || bare.contains(['{', '}', '"', '\\']) {
                    return None;
                }
                (Some(bare.to_owned()).filter(|bare| bare != "NULL"), after)
            }
        };
        elements.push(element);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => break,
            None => return None,
        }
    }
    Some(elements)
}

/// The text up to the closing quote, and what comes after it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((text, &quoted[at + 1..])),
            (_, '\\') => text.push(characters.next()?.1),
            (_, character) => text.push(character),
        }
    }
}

/// The array with these elements.
pub(crate) fn write<T>(elements: &[Option<T>], text: impl Fn(&T) -> String) -> String {
    let mut array = String::from("{");
    for (number, element) in elements.iter().enumerate() {
        if number > 0 {
            array.push(',');
        }
        match element {
            None => array.push_str("NULL"),
            Some(element) => {
                array.push('"');
                for character in text(element).chars() {
                    if matches!(character, '"' | '\\') {
                        array.push('\\');
                    }
                    array.push(character);
                }
                array.push('"');
            }
        }
    }
    array.push('}');
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arrays_are_read_as_postgres_writes_them() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("{}"), Some(vec![]));
        assert_eq!(read("{1,NULL,3}"), Some(vec![some("1"), None, some("3")]));
        let quoted = r#"{"NULL","a \"b\" \\ c","","d,e"}"#;
        let expected = ["NULL", r#"a "b" \ c"#, "", "d,e"].map(some);
        assert_eq!(read(quoted), Some(expected.to_vec()));
        for other in [
            "",
            "{",
            "1",
            "{{1},{2}}",
            "[0:1]={1,2}",
            "{\"a}",
            "{1,}",
            "{\"a\"b}",
            "{,}",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(elements in prop::collection::vec(prop::option::of(".*"), 0..5)) {
            prop_assert_eq!(read(&write(&elements, String::clone)), Some(elements));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in r#"\{?[{},"\\aN]*\}?"#) {
            let _ = read(&text);
        }
    }
}
