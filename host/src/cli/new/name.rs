//! Names of projects: each is the name of a directory, of a queue, and of a package in its language.

use anyhow::ensure;

use super::languages::Lang;

/// Longer ones do not fit on a line.
const LENGTH_MAX: usize = 64;

/// What a crate cannot be called: words of the language, and crates that it depends on.
const NO_CRATES: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "toril-sdk",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Refuses a name that no package can have.
pub(super) fn check(name: &str) -> anyhow::Result<()> {
    let is_inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    let ends = name.ends_with(|last: char| last.is_ascii_lowercase() || last.is_ascii_digit());
    ensure!(
        begins && ends && name.bytes().all(is_inner) && name.len() <= LENGTH_MAX,
        "`{name}` cannot be the name of a queue and of a package\nhint: a name has up to {LENGTH_MAX} characters: lower-case \
         letters, digits, `-` and `_`; it begins with a letter, and ends with a letter or a digit"
    );
    Ok(())
}

/// Refuses a name that means something else in this language.
pub(super) fn check_for(name: &str, lang: Lang) -> anyhow::Result<()> {
    let is_taken = match lang {
        Lang::Rust => NO_CRATES.contains(&name),
        Lang::Python => ["toril", "componentize-py"].contains(&name),
        _ => false,
    };
    ensure!(
        !is_taken,
        "`{name}` cannot be the name of a package in {}: the name is reserved there\nhint: choose another name, such as `{name}-jobs`",
        lang.details().name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_queues_and_packages() {
        for name in ["paint", "paint-walls", "p", "paint_2"] {
            check(name).unwrap();
        }
        let long = "a".repeat(LENGTH_MAX + 1);
        for name in [
            "", "Paint", "2paint", "-p", "p-", "a:b", "a/b", "..", "a b", "färben", &long,
        ] {
            let error = check(name).unwrap_err().to_string();
            assert!(error.contains("hint: a name has"), "{error}");
        }
        check_for("match", Lang::Go).unwrap();
        check_for("match", Lang::Rust).unwrap_err();
        check_for("toril", Lang::Python).unwrap_err();
    }
}
