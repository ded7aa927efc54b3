//! JSON whose structs are objects. Those that `serde` derives are read from arrays, too: field by field, in the order in
//! which the source has them, which is nobody's contract.

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// A value of which each struct is read from an object.
pub(super) struct Objects(pub(super) Value);

impl<'de> IntoDeserializer<'de, Error> for Objects {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Objects {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name, Objects(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            Value::Array(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Objects)))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // By their visitors, errors would name types of this program.
        let unexpected = match &self.0 {
            Value::Object(_) => return self.deserialize_any(visitor),
            Value::Array(_) => Unexpected::Seq,
            Value::String(text) => Unexpected::Str(text),
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(_) => Unexpected::Other("number"),
            Value::Null => Unexpected::Unit,
        };
        Err(Error::invalid_type(unexpected, &"an object"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        share: f64,
        names: Vec<String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        inner: Option<Inner>,
        all: BTreeMap<String, Inner>,
        pair: (u64, i32),
    }

    #[test]
    fn structs_are_objects_at_any_depth() {
        let good = json!({
            "inner": { "share": 1, "names": ["a"] }, "all": { "x": { "share": 0.5 } }, "pair": [1, -2],
        });
        let expected: Outer = serde_json::from_value(good.clone()).unwrap();
        assert_eq!(Outer::deserialize(Objects(good)).unwrap(), expected);
        assert!(Outer::deserialize(Objects(json!({ "inner": null }))).is_ok());
        for bad in [
            json!([]),
            json!([null, {}, [1, 2]]),
            json!({ "inner": [1, []] }),
            json!({ "all": { "x": [1, []] } }),
        ] {
            assert!(serde_json::from_value::<Outer>(bad.clone()).is_ok());
            assert!(Outer::deserialize(Objects(bad.clone())).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_no_type_of_this_program() {
        for bad in [
            json!([]),
            json!("text"),
            json!(1.5),
            json!(null),
            json!({ "inner": true }),
            json!({ "all": { "x": null } }),
        ] {
            let error = Outer::deserialize(Objects(bad)).unwrap_err().to_string();
            assert!(error.ends_with("expected an object"), "{error}");
        }
    }
}
