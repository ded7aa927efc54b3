//! A text as it reads once the encodings of URLs, forms, JSON and source code are taken away, however often they were put
//! on, and where each byte of it came from.
//!
//! A secret is decoded, too, so that the two need not be told apart where one text has several meanings: `+` is a space,
//! any number of backslashes before `n` is a line feed, and `%2541` is an `A`.

use std::ops::Range;

/// What was decoded.
pub(super) struct Decoded {
    pub(super) bytes: Vec<u8>,
    /// For each byte, what it stands for in the text.
    origins: Vec<Range<usize>>,
}

/// True if something may be encoded in it.
pub(super) fn is_encoded(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'%' | b'\\' | b'+'))
}

impl Decoded {
    pub(super) fn new(text: &[u8]) -> Self {
        // In this order: in a URL, the backslashes of JSON are encoded, too.
        without_backslashes(&without_percents(text))
    }

    fn with_capacity(capacity: usize) -> Self {
        Decoded {
            bytes: Vec::with_capacity(capacity),
            origins: Vec::with_capacity(capacity),
        }
    }

    fn push(&mut self, byte: u8, origin: Range<usize>) {
        self.bytes.push(byte);
        self.origins.push(origin);
    }

    /// What these decoded bytes stand for in the text.
    pub(super) fn origin(&self, decoded: Range<usize>) -> Range<usize> {
        let start = self.origins.get(decoded.start).map(|origin| origin.start);
        let end = decoded.end.checked_sub(1);
        let end = end.and_then(|last| Some(self.origins.get(last)?.end));
        match (start, end) {
            (Some(start), Some(end)) => start..end,
            _ => 0..0,
        }
    }
}

fn without_percents(text: &[u8]) -> Decoded {
    let mut decoded = Decoded::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let (byte, end) = match byte {
            b'%' => percent(text, at).unwrap_or((byte, at + 1)),
            // Forms write a space so.
            b'+' => (b' ', at + 1),
            _ => (byte, at + 1),
        };
        // That of base64 or of the secret itself.
        let byte = if byte == b'+' { b' ' } else { byte };
        decoded.push(byte, at..end);
        at = end;
    }
    decoded
}

/// The byte that is written as `%41`, or as `%2541` where that was encoded again, and where it ends.
fn percent(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut digits = at + 1;
    while text.get(digits..)?.starts_with(b"25") && hex(text, digits + 2, 2).is_some() {
        digits += 2;
    }
    let byte = u8::try_from(hex(text, digits, 2)?).ok()?;
    Some((byte, digits + 2))
}

fn without_backslashes(text: &Decoded) -> Decoded {
    let bytes = &text.bytes;
    let mut decoded = Decoded::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'\\' {
            decoded.push(byte, text.origin(at..at + 1));
            at += 1;
            continue;
        }
        let (char, end) = escaped(bytes, at);
        let origin = text.origin(at..end);
        match char {
            Escaped::Nothing => {}
            Escaped::Byte(byte) => decoded.push(byte, origin),
            Escaped::Char(char) => {
                let mut utf8 = [0; 4];
                for byte in char.encode_utf8(&mut utf8).bytes() {
                    decoded.push(byte, origin.clone());
                }
            }
        }
        at = end;
    }
    decoded
}

enum Escaped {
    Nothing,
    Byte(u8),
    Char(char),
}

/// What backslashes, of which one is here, and what follows them stand for, and where that ends.
fn escaped(text: &[u8], at: usize) -> (Escaped, usize) {
    let letter = after_backslashes(text, at);
    let Some(&byte) = text.get(letter) else {
        return (Escaped::Nothing, letter);
    };
    let end = letter + 1;
    let byte = match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'v' => 11,
        b'f' => 12,
        b'u' => match unit(text, letter) {
            Some(unit) => return code_point(text, unit, letter + 5),
            None => byte,
        },
        b'x' => match hex(text, end, 2).and_then(char::from_u32) {
            Some(char) => return (Escaped::Char(char), end + 2),
            None => byte,
        },
        _ => byte,
    };
    (Escaped::Byte(byte), end)
}

/// What a unit of UTF-16 stands for, with the other half of its pair if it is one of a pair.
fn code_point(text: &[u8], unit: u32, end: usize) -> (Escaped, usize) {
    if let Some(char) = char::from_u32(unit) {
        return (Escaped::Char(char), end);
    }
    let letter = after_backslashes(text, end);
    let low = if letter > end {
        self::unit(text, letter)
    } else {
        None
    };
    if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (unit, low) {
        let pair = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        let char = char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (Escaped::Char(char), letter + 5);
    }
    (Escaped::Char(char::REPLACEMENT_CHARACTER), end)
}

fn after_backslashes(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let backslashes = rest.iter().take_while(|byte| **byte == b'\\');
    at + backslashes.count()
}

/// What `uXXXX` says.
fn unit(text: &[u8], at: usize) -> Option<u32> {
    (text.get(at) == Some(&b'u')).then(|| hex(text, at + 1, 4))?
}

fn hex(text: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = text.get(at..at + digits)?;
    digits.iter().try_fold(0, |number, digit| {
        Some(number * 16 + char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        String::from_utf8(Decoded::new(text.as_bytes()).bytes).unwrap()
    }

    #[test]
    fn what_was_encoded_however_often_reads_as_before() {
        for (text, read) in [
            ("plain", "plain"),
            (r#"a\"b"#, "a\"b"),
            (r#"a\\\\\\\"b"#, "a\"b"),
            (r"a\\\nb\u0026\x26\/", "a\nb&&/"),
            (r"\u00fc\ud83d\ude00\ud83d", "ü😀\u{fffd}"),
            (r"\\ud83d\\ude00", "😀"),
            ("a%20b+c%2520d%252520", "a b c d "),
            ("%5C%22%5Cn", "\"\n"),
            ("100% %2 %zz %25", "100% %2 %zz %"),
            (r"\u00", "u00"),
            ("a\\", "a"),
        ] {
            assert_eq!(decoded(text), read, "{text}");
        }
    }

    #[test]
    fn each_byte_knows_where_it_came_from() {
        let text = r"a%5C\n%20\ud83d\ude00z";
        let decoded = Decoded::new(text.as_bytes());
        assert_eq!(decoded.bytes, "a\n 😀z".as_bytes());
        for (bytes, origin) in [
            (0..1, "a"),
            (1..2, r"%5C\n"),
            (2..3, "%20"),
            (3..4, r"\ud83d\ude00"),
            (6..8, r"\ud83d\ude00z"),
        ] {
            assert_eq!(&text[decoded.origin(bytes)], origin);
        }
    }
}
