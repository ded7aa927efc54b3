//! The tokens of SQL, as far as `statement.rs` tells them apart.

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// In lower case.
    Word(String),
    /// A name in quotes.
    Quoted,
    Dot,
    Open,
    Other,
}

/// The tokens of a statement (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html>).
pub(super) struct Tokens<'a> {
    pub(super) rest: &'a str,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_space();
        let first = self.rest.chars().next()?;
        if is_word_start(first) {
            return Some(self.word());
        }
        match first {
            '"' => {
                self.skip_quoted('"', false);
                return Some(Token::Quoted);
            }
            '\'' => {
                self.skip_quoted('\'', false);
                return Some(Token::Other);
            }
            '$' if self.skip_dollar_quoted() => return Some(Token::Other),
            _ => self.rest = &self.rest[first.len_utf8()..],
        }
        Some(match first {
            '.' => Token::Dot,
            '(' => Token::Open,
            _ => Token::Other,
        })
    }
}

pub(super) fn is_word_start(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || !character.is_ascii()
}

fn is_word(character: char) -> bool {
    is_word_start(character) || character.is_ascii_digit() || character == '$'
}

/// White space of Postgres, which is not that of Unicode.
const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

impl Tokens<'_> {
    /// Before a statement there may be empty ones.
    pub(super) fn skip_semicolons(&mut self) {
        self.skip_space();
        while let Some(rest) = self.rest.strip_prefix(';') {
            self.rest = rest;
            self.skip_space();
        }
    }

    fn word(&mut self) -> Token {
        let end = self.rest.find(|character| !is_word(character));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let word = word.to_ascii_lowercase();
        // Prefixes of strings. With `u&` the quote comes after the other character.
        match &*word {
            "e" if rest.starts_with('\'') => {
                self.skip_quoted('\'', true);
                Token::Other
            }
            _ => Token::Word(word),
        }
    }

    pub(super) fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(SPACE);
            if let Some(comment) = self.rest.strip_prefix("--") {
                self.rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
            } else if self.rest.starts_with("/*") {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    /// Such comments nest.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while !self.rest.is_empty() {
            let step = match self.rest {
                rest if rest.starts_with("/*") => {
                    depth += 1;
                    2
                }
                rest if rest.starts_with("*/") => {
                    depth -= 1;
                    2
                }
                rest => rest.chars().next().map_or(1, char::len_utf8),
            };
            self.rest = &self.rest[step..];
            if depth == 0 {
                return;
            }
        }
    }

    /// A doubled quote ends one string and begins the next, which comes to the same.
    fn skip_quoted(&mut self, quote: char, escapes: bool) {
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.rest = &self.rest[at + 1..];
                return;
            }
            if escapes && character == '\\' {
                characters.next();
            }
        }
        self.rest = "";
    }

    /// `$tag$ … $tag$`; false if it is none.
    fn skip_dollar_quoted(&mut self) -> bool {
        let Some(end) = self.rest[1..].find('$') else {
            return false;
        };
        let tag = &self.rest[..end + 2];
        let name = &tag[1..end + 1];
        let is_tag =
            name.chars().all(is_word) && !name.starts_with(|first: char| first.is_ascii_digit());
        if !is_tag {
            return false;
        }
        let body = &self.rest[tag.len()..];
        self.rest = body.find(tag).map_or("", |end| &body[end + tag.len()..]);
        true
    }
}
