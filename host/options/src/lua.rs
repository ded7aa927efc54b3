//! What scripts in Redis make of a value that BullMQ hands to them.

use crate::js::digits_to_number;

/// Lua's `tonumber(text)`.
pub(crate) fn text_to_number(text: &str) -> Option<f64> {
    let text = text
        .trim_matches(|character: char| character.is_ascii_whitespace() || character == '\u{b}');
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1.0, size),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match size.strip_prefix("0x").or_else(|| size.strip_prefix("0X")) {
        Some(digits) => digits_to_number(digits, 16).map(|number| sign * number),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_number_or_none() {
        for (text, number) in [
            (" 10 ", 10.0),
            ("-2.5", -2.5),
            ("+1e2", 100.0),
            ("-0x10", -16.0),
            ("inf", f64::INFINITY),
        ] {
            assert_eq!(text_to_number(text), Some(number), "{text}");
        }
        for text in ["", " ", "abc", "1,2", "0x", "1 2", "true"] {
            assert_eq!(text_to_number(text), None, "{text}");
        }
    }
}
