//! JSON values that stay text until somebody asks: options of the ordinary kinds are read without a copy.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{js, json};

/// A JSON value as text, without white space around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(&'a str);

/// What a value is, as far as its first character says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    Text,
    Array,
    Object,
}

impl<'a> Raw<'a> {
    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'f') => Kind::False,
            Some(b't') => Kind::True,
            Some(b'"') => Kind::Text,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    /// `Boolean(value)`.
    pub(crate) fn is_truthy(self) -> bool {
        match self.kind() {
            Kind::Null | Kind::False => false,
            Kind::Number => self.to_number() != 0.0,
            Kind::Text => self.0 != "\"\"",
            Kind::True | Kind::Array | Kind::Object => true,
        }
    }

    /// `Number(value)`.
    pub(crate) fn to_number(self) -> f64 {
        match self.kind() {
            Kind::Null | Kind::False => 0.0,
            Kind::True => 1.0,
            // Unlike `serde_json`, this takes numbers of any size, and rounds as JavaScript does.
            Kind::Number => self.0.parse().unwrap_or(f64::NAN),
            Kind::Text | Kind::Array => self.value().as_ref().map_or(f64::NAN, js::to_number),
            Kind::Object => f64::NAN,
        }
    }

    /// `String(value)`.
    pub(crate) fn to_text(self) -> String {
        match self.kind() {
            Kind::Number => js::number_to_text(self.to_number()),
            _ => self.value().as_ref().map(js::to_text).unwrap_or_default(),
        }
    }

    /// True for this text, written without escapes.
    pub(crate) fn is_plainly(self, text: &str) -> bool {
        let inner = self
            .0
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        inner == Some(text)
    }

    /// The text, if it is one.
    pub(crate) fn as_text(self) -> Option<String> {
        json::read(self.0).ok()
    }

    /// The values of an object under these names, each of which says where in the answer its value goes. As in
    /// JavaScript, the last one of a name counts. None where this is no object.
    pub(crate) fn fields<const N: usize>(
        self,
        names: &[(&str, usize)],
    ) -> Option<[Option<Raw<'a>>; N]> {
        fields(self.0, names)
    }

    /// Nothing where it holds a number that is too large.
    fn value(self) -> Option<Value> {
        json::read(self.0).ok()
    }
}

/// [`Raw::fields`] of a whole text.
pub(crate) fn fields<'a, const N: usize>(
    json: &'a str,
    names: &[(&str, usize)],
) -> Option<[Option<Raw<'a>>; N]> {
    let mut json = serde_json::Deserializer::from_str(json);
    let fields = json.deserialize_map(Fields { names }).ok()?;
    json.end().ok().map(|()| fields)
}

struct Fields<'n, const N: usize> {
    names: &'n [(&'n str, usize)],
}

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<Raw<'de>>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(place) = map.next_key_seed(Place { names: self.names })? {
            match place.and_then(|place| values.get_mut(place)) {
                Some(value) => *value = Some(Raw(map.next_value::<&RawValue>()?.get())),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

/// Where the value of a name goes. Read as bytes, since names need not be Unicode.
#[derive(Clone, Copy)]
struct Place<'n> {
    names: &'n [(&'n str, usize)],
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        let found = self
            .names
            .iter()
            .find(|(known, _)| known.as_bytes() == name);
        Ok(found.map(|(_, place)| *place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [(&str, usize); 2] = [("a", 0), ("b", 1)];

    fn read(json: &str) -> Option<[Option<&str>; 2]> {
        Some(fields::<2>(json, &NAMES)?.map(|value| value.map(|value| value.0)))
    }

    #[test]
    fn last_of_a_name_counts() {
        assert_eq!(
            read(r#" { "a" : [1, 2] , "c": null, "b":1, "b" : "x" } "#),
            Some([Some("[1, 2]"), Some("\"x\"")])
        );
    }

    #[test]
    fn what_stands_beside_a_value_does_not_lose_it() {
        for beside in [
            r#""\ud800": 1"#.to_owned(),
            r#""c": "\ud800""#.to_owned(),
            r#""b": "\ud800""#.to_owned(),
            r#""c": 1e999"#.to_owned(),
            format!(r#""c": {}{}"#, "[".repeat(10_000), "]".repeat(10_000)),
        ] {
            let json = format!(r#"{{ "a": 1, {beside} }}"#);
            assert_eq!(read(&json).unwrap()[0], Some("1"));
        }
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for json in ["[1]", "7", "null", "", "{", "{} x", "{\"a\":}"] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
