//! JSON values as JavaScript sees them.

use serde_json::Value;

/// `Number.MAX_SAFE_INTEGER`. Lua and Redis write whole numbers up to it alike.
pub(crate) const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// `Boolean(value)`: what a condition makes of it.
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// `Number(value)`: what arithmetic and comparisons with a number make of it.
pub fn to_number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text_to_number(text),
        Value::Array(_) => text_to_number(&to_text(value)),
        Value::Object(_) => f64::NAN,
    }
}

/// `String(value)`.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number_to_text(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(item_text).collect::<Vec<_>>().join(","),
        Value::Object(_) => "[object Object]".into(),
    }
}

/// An item of an array that becomes text.
fn item_text(item: &Value) -> String {
    if item.is_null() {
        String::new()
    } else {
        to_text(item)
    }
}

/// `String(number)`.
pub fn number_to_text(number: f64) -> String {
    let size = number.abs();
    if number.is_infinite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    if size == 0.0 {
        return "0".into();
    }
    if number.is_nan() || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

/// `Number(text)`.
pub fn text_to_number(text: &str) -> f64 {
    let text = text.trim_matches(is_space);
    match text {
        "" => return 0.0,
        "Infinity" | "+Infinity" => return f64::INFINITY,
        "-Infinity" => return f64::NEG_INFINITY,
        _ => {}
    }
    for (radix, prefixes) in [(16, ["0x", "0X"]), (8, ["0o", "0O"]), (2, ["0b", "0B"])] {
        if let Some(digits) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            return digits_to_number(digits, radix).unwrap_or(f64::NAN);
        }
    }
    // Rust reads some words as numbers, too.
    let is_decimal = |byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if text.bytes().all(is_decimal) {
        text.parse().unwrap_or(f64::NAN)
    } else {
        f64::NAN
    }
}

/// JavaScript's white space, which is Unicode's but for two characters.
fn is_space(character: char) -> bool {
    character == '\u{feff}' || (character != '\u{85}' && character.is_whitespace())
}

/// Digits of one radix; none where there are none, or others.
pub(crate) fn digits_to_number(digits: &str, radix: u32) -> Option<f64> {
    if digits.is_empty() {
        return None;
    }
    let mut exact = Some(0u128);
    let mut rounded = 0.0;
    for character in digits.chars() {
        let digit = character.to_digit(radix)?;
        exact = exact
            .and_then(|sum| sum.checked_mul(u128::from(radix)))
            .and_then(|sum| sum.checked_add(u128::from(digit)));
        rounded = rounded * f64::from(radix) + f64::from(digit);
    }
    Some(exact.map_or(rounded, |exact| exact as f64))
}

/// `parseInt(text)`: the whole number that the text begins with, or NaN.
pub fn parse_int(text: &[u8]) -> f64 {
    // All that BullMQ itself writes.
    if (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let add = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        return text.iter().fold(0, add) as f64;
    }
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start_matches(is_space);
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1.0, text),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (radix, text) = hex.map_or((10, text), |text| (16, text));
    let end = text.find(|character: char| !character.is_digit(radix));
    let digits = &text[..end.unwrap_or(text.len())];
    let size = match radix {
        10 => digits.parse().ok(),
        _ => digits_to_number(digits, radix),
    };
    sign * size.unwrap_or(f64::NAN)
}

/// `Math.round(number)`: a half goes up, also below zero.
pub fn round(number: f64) -> f64 {
    let floor = number.floor();
    if number - floor >= 0.5 {
        floor + 1.0
    } else {
        floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (2.5, "2.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number_to_text(number), text);
        }
        assert_eq!(
            to_text(&json!([1, null, [true, {}]])),
            "1,,true,[object Object]"
        );
    }

    #[test]
    fn whole_numbers_are_read_from_the_start_of_a_text() {
        for (text, number) in [
            ("12", 12.0),
            ("-7.9", -7.0),
            (" +3px", 3.0),
            ("1e3", 1.0),
            ("0x1fz", 31.0),
            ("123456789012345678901", 123_456_789_012_345_680_000.0),
        ] {
            assert_eq!(parse_int(text.as_bytes()), number, "{text}");
        }
        for text in ["", "x1", "-", "0x", ".5"] {
            assert!(parse_int(text.as_bytes()).is_nan(), "{text}");
        }
    }

    #[test]
    fn half_is_rounded_up() {
        let rounded = [-2.5, -1.5, -0.4, 0.5, 2.4, 0.499_999_999_999_999_94].map(round);
        assert_eq!(rounded, [-2.0, -1.0, -0.0, 1.0, 2.0, 0.0]);
        assert_eq!(round(f64::INFINITY), f64::INFINITY);
    }
}
