//! JSON as JavaScript reads it. Its strings may hold half of a surrogate pair, its values may be nested deeper than
//! `serde_json` admits, and its numbers may be beyond those of a double: none of them is a reason to fail a job.
//!
//! The host and the SDK read here whatever a producer, a guest or Redis may have written. Where a value need not be
//! looked into, it is better kept as text: text has no depth.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};

/// Values that are nested deeper are not taken apart: reading recurses, and a guest's stack is small.
pub const DEPTH_MAX: usize = 1000;
/// The depth that `serde_json` admits by itself.
const ORDINARY_DEPTH_MAX: usize = 127;
/// Deeper flows are refused: each level costs a round through every queue below it.
pub const FLOW_LEVELS_MAX: usize = 100;

/// Reads JSON as JavaScript does: up to [`DEPTH_MAX`] levels, and half of a surrogate pair as U+FFFD. A number beyond
/// those of a double is the largest double: what JavaScript reads, an infinity, is no JSON.
pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).or_else(|error| {
        let depth = depth(json);
        let well_formed = finite(well_formed(json));
        if depth > DEPTH_MAX {
            return Err(Error::custom(format!(
                "nested more than {DEPTH_MAX} levels"
            )));
        }
        if depth <= ORDINARY_DEPTH_MAX && matches!(well_formed, Cow::Borrowed(_)) {
            return Err(error);
        }
        unbounded(&well_formed)
    })
}

/// An object whose values stay text: those pass as they are, whatever they hold.
pub type Fields = BTreeMap<String, Box<RawValue>>;

/// A value as text among [`Fields`].
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    // What the host writes has texts as names, and no numbers that JSON does not have.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A text that somebody stored as JSON, or as a JSON string where it is none.
pub fn raw_or_text(text: &str) -> Box<RawValue> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => value.to_owned(),
        Err(_) => raw(text),
    }
}

/// Reads flows, whose depth [`children`] bounds. The error is for people.
pub fn read_flow<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    unbounded(json).map_err(|error| {
        let (reason, too_deep) = (error.to_string(), too_many_levels());
        match reason.starts_with(&too_deep) {
            true => too_deep,
            false => format!("flow is invalid: {reason}"),
        }
    })
}

fn unbounded<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A field that is a text.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    field(deserializer)
}

/// A field that may be an object.
pub fn object<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Map<String, Value>>, D::Error> {
    field(deserializer)
}

fn field<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    read(json.get()).map_err(D::Error::custom)
}

/// The children of a flow's node, each of which may have children. Deeper than [`FLOW_LEVELS_MAX`] they are refused
/// while they are read.
pub fn children<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let level = Level::enter();
    // The root is a level, too.
    if level.0 < FLOW_LEVELS_MAX {
        return Option::deserialize(deserializer);
    }
    Option::<Vec<Refused>>::deserialize(deserializer).map(|_| None)
}

/// A node that is refused before it is read.
struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(too_many_levels()))
    }
}

/// Why a flow is refused that is too deep.
pub fn too_many_levels() -> String {
    format!("flow has more than {FLOW_LEVELS_MAX} levels")
}

thread_local! {
    static LEVEL: Cell<usize> = const { Cell::new(0) };
}

/// A level of a tree that this thread reads, the root's children being level 1.
struct Level(usize);

impl Level {
    fn enter() -> Self {
        let level = LEVEL.get() + 1;
        LEVEL.set(level);
        Level(level)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        LEVEL.set(self.0 - 1);
    }
}

/// How deep brackets nest, outside of strings.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The same text with U+FFFD in place of each half of a surrogate pair that stands alone.
fn well_formed(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut text = String::new();
    let (mut done, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let (length, is_alone) = match (unit(bytes, at), unit(bytes, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
            (Some(0xd800..=0xdfff), _) => (6, true),
            _ => (2, false),
        };
        if is_alone {
            text.push_str(&json[done..at]);
            text.push_str("\\ufffd");
            done = at + length;
        }
        at += length;
    }
    match done {
        0 => Cow::Borrowed(json),
        _ => Cow::Owned(text + &json[done..]),
    }
}

/// The same text with the largest double of the same sign in place of each number beyond it.
fn finite(json: Cow<'_, str>) -> Cow<'_, str> {
    let mut text = String::new();
    let (mut done, mut at, mut in_string) = (0, 0, false);
    let bytes = json.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let rest = &json[at..];
                let number = &rest[..rest.find(is_no_digit).unwrap_or(rest.len())];
                if let Some(largest) = largest_for(number) {
                    text.push_str(&json[done..at]);
                    text.push_str(&largest.to_string());
                    done = at + number.len();
                }
                at += number.len();
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    match done {
        0 => json,
        _ => Cow::Owned(text + &json[done..]),
    }
}

fn is_no_digit(character: char) -> bool {
    !matches!(character, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')
}

/// The largest double of the same sign, if the text is a JSON number and beyond it.
fn largest_for(number: &str) -> Option<Value> {
    let read: f64 = number.parse().ok()?;
    // Not everything that Rust reads as a number is one in JSON.
    let is_json = || serde_json::from_str::<&RawValue>(number).is_ok();
    (read.is_infinite() && is_json()).then(|| Value::from(f64::MAX.copysign(read)))
}

/// The UTF-16 unit that is escaped here, if one is.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn values_are_read_up_to_a_depth() {
        for levels in [1, 127, 128, 129, DEPTH_MAX] {
            let value: Value = read(&nested(levels)).unwrap();
            assert_eq!(value.to_string(), nested(levels));
        }
        for levels in [DEPTH_MAX + 1, 1_000_000] {
            let error = read::<Value>(&nested(levels)).unwrap_err();
            assert_eq!(error.to_string(), "nested more than 1000 levels");
        }
        // Brackets in a text are no levels.
        let text = json!("[".repeat(5000) + "\"").to_string();
        assert_eq!(read::<String>(&text).unwrap().len(), 5001);
    }

    #[test]
    fn half_of_a_surrogate_pair_is_a_replacement_character() {
        for (json, text) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\uDFFFb""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00\ud83d""#, "😀\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\\ud800\ud800""#, "\\ud800\u{fffd}"),
            (r#""\ud800\n""#, "\u{fffd}\n"),
        ] {
            assert_eq!(read::<String>(json).unwrap(), text, "{json}");
        }
        let value: Value = read(r#"{"\ud800":["\udc00",1]}"#).unwrap();
        assert_eq!(value, json!({ "\u{fffd}": ["\u{fffd}", 1] }));
    }

    #[test]
    fn number_beyond_a_double_is_the_largest_one() {
        let long = "9".repeat(400);
        for (json, number) in [
            ("1e400", f64::MAX),
            ("-1.5E+309", -f64::MAX),
            (&long, f64::MAX),
            (&format!("-{long}"), -f64::MAX),
            ("1e-400", 0.0),
        ] {
            assert_eq!(read::<f64>(json).unwrap(), number, "{json}");
            assert_eq!(read::<Value>(json).unwrap(), json!(number), "{json}");
        }
        let value: Value = read(r#"{"\"1e400":["1e400\\",1e400,-1e400,7],"d":"\ud800"}"#).unwrap();
        let expected = json!({ "\"1e400": ["1e400\\", f64::MAX, -f64::MAX, 7], "d": "\u{fffd}" });
        assert_eq!(value, expected);
        // A whole number of a type that cannot hold it is refused, as any other one.
        assert!(read::<u64>("1e400").is_err());
        for json in ["01e400", "1.e400", "1e400.", "--1e400", "[1e400", "1e400 1"] {
            assert!(read::<Value>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_own_reason() {
        for json in ["", "{", "[1", r#""\ud80""#, r#""\u"#, "nul", "\"\\", "[]]"] {
            let expected = serde_json::from_str::<Value>(json).unwrap_err().to_string();
            assert_eq!(
                read::<Value>(json).unwrap_err().to_string(),
                expected,
                "{json}"
            );
        }
        let broken = nested(500) + "]";
        assert!(read::<Value>(&broken).is_err());
    }

    #[test]
    fn trees_are_bounded_by_their_levels_alone() {
        #[derive(Debug, serde::Deserialize)]
        struct Node {
            #[serde(default, deserialize_with = "object")]
            opts: Option<Map<String, Value>>,
            #[serde(default, deserialize_with = "children")]
            children: Option<Vec<Node>>,
        }

        let tree = |levels: usize| {
            let begin = r#"{"children":["#.repeat(levels - 1);
            let leaf = format!(r#"{{"opts":{{"a":{}}},"children":[]}}"#, nested(500));
            format!("{begin}{leaf}{}", "]}".repeat(levels - 1))
        };
        let mut node: Node = read_flow(&tree(FLOW_LEVELS_MAX)).unwrap();
        let mut levels = 1;
        while let Some(child) = node.children.take().and_then(|mut children| children.pop()) {
            (node, levels) = (child, levels + 1);
        }
        assert_eq!((levels, node.opts.unwrap().len()), (FLOW_LEVELS_MAX, 1));
        for levels in [FLOW_LEVELS_MAX + 1, 100_000] {
            let error = read_flow::<Node>(&tree(levels)).unwrap_err();
            assert_eq!(error, "flow has more than 100 levels");
        }
        // A tree that was refused leaves no trace.
        assert!(read_flow::<Node>(&tree(FLOW_LEVELS_MAX)).is_ok());
    }
}
