//! Rows as values of serde.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use toril_options::json;

use super::{Column, Value};

type Error = serde_json::Error;

/// Reads a row: its columns by name or in order, or the value of its only column.
pub(super) fn read<T: DeserializeOwned>(
    columns: &[Column],
    values: Vec<Value>,
) -> Result<T, Error> {
    T::deserialize(Row { columns, values })
}

struct Row<'a> {
    columns: &'a [Column],
    values: Vec<Value>,
}

impl Row<'_> {
    /// A row stands for its value where a single one is wanted.
    fn single(mut self) -> Result<Cell, Error> {
        match (self.values.pop(), self.values.is_empty()) {
            (Some(value), true) => Ok(Cell(value)),
            _ => Err(serde::de::Error::custom(format!(
                "row has {} columns, and one value is wanted",
                self.columns.len()
            ))),
        }
    }
}

macro_rules! single {
    ($($method:ident),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.single()?.$method(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        let cells = self.values.into_iter().map(Cell);
        visitor.visit_map(MapDeserializer::new(names.zip(cells)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// The only column if it is an array, or all columns.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let [
            Value::Booleans(_)
            | Value::Integers(_)
            | Value::Floats(_)
            | Value::Texts(_)
            | Value::Bytes(_)
            | Value::Json(_),
        ] = &*self.values
        {
            return self.single()?.deserialize_seq(visitor);
        }
        visitor.visit_seq(SeqDeserializer::new(self.values.into_iter().map(Cell)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(self.values.into_iter().map(Cell)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
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
        self.single()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    single! {
        deserialize_bool, deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64, deserialize_u8, deserialize_u16,
        deserialize_u32, deserialize_u64, deserialize_f32, deserialize_f64, deserialize_char, deserialize_str,
        deserialize_string, deserialize_bytes, deserialize_byte_buf, deserialize_option
    }

    forward_to_deserialize_any! { i128 u128 unit_struct identifier ignored_any }
}

/// One value.
struct Cell(Value);

impl<'de> IntoDeserializer<'de, Error> for Cell {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Numbers that are kept as text, as far as the wanted type can hold them.
macro_rules! numbers {
    ($($method:ident $of:ty, $visit:ident;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if let Value::Numeric(text) = &self.0
                && let Ok(number) = text.parse::<$of>()
            {
                return visitor.$visit(number);
            }
            self.deserialize_any(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Cell {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Int16(value) => visitor.visit_i16(value),
            Value::Int32(value) => visitor.visit_i32(value),
            Value::Int64(value) => visitor.visit_i64(value),
            Value::Float32(value) => visitor.visit_f32(value),
            Value::Float64(value) => visitor.visit_f64(value),
            Value::Json(text) => {
                let value: serde_json::Value = json::read(&text)?;
                value.deserialize_any(visitor)
            }
            Value::Text(text)
            | Value::Numeric(text)
            | Value::Timestamp(text)
            | Value::Timestamptz(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Other(text) => visitor.visit_string(text),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::Booleans(values) => {
                visitor.visit_seq(SeqDeserializer::new(cells(values, Value::Boolean)))
            }
            Value::Integers(values) => {
                visitor.visit_seq(SeqDeserializer::new(cells(values, Value::Int64)))
            }
            Value::Floats(values) => {
                visitor.visit_seq(SeqDeserializer::new(cells(values, Value::Float64)))
            }
            Value::Texts(values) => {
                visitor.visit_seq(SeqDeserializer::new(cells(values, Value::Text)))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
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
        match self.0 {
            Value::Json(text) => {
                let value: serde_json::Value = json::read(&text)?;
                value.deserialize_enum(name, variants, visitor)
            }
            Value::Text(text) | Value::Other(text) => {
                let text: serde_json::Value = text.into();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8 i8, visit_i8;
        deserialize_i16 i16, visit_i16;
        deserialize_i32 i32, visit_i32;
        deserialize_i64 i64, visit_i64;
        deserialize_i128 i128, visit_i128;
        deserialize_u8 u8, visit_u8;
        deserialize_u16 u16, visit_u16;
        deserialize_u32 u32, visit_u32;
        deserialize_u64 u64, visit_u64;
        deserialize_u128 u128, visit_u128;
        deserialize_f32 f32, visit_f32;
        deserialize_f64 f64, visit_f64;
    }

    forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

fn cells<T>(values: Vec<Option<T>>, of: fn(T) -> Value) -> impl Iterator<Item = Cell> {
    values
        .into_iter()
        .map(move |value| Cell(value.map_or(Value::Null, of)))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn columns(names: &[&str]) -> Vec<Column> {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            type_name: String::new(),
        };
        names.iter().map(column).collect()
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mood {
        Happy,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        id: u64,
        total: f64,
        note: Option<String>,
        tags: Vec<String>,
        mood: Mood,
        extra: serde_json::Value,
        picture: Vec<u8>,
    }

    #[test]
    fn row_is_a_struct_by_the_names_of_its_columns() {
        let names = [
            "unused", "id", "total", "note", "tags", "mood", "extra", "picture",
        ];
        let values = vec![
            Value::Timestamp("2026-01-01".into()),
            Value::Int32(7),
            Value::Numeric("1.50".into()),
            Value::Null,
            Value::Texts(vec![Some("a".into())]),
            Value::Other("happy".into()),
            Value::Json(r#"{"a": [1]}"#.into()),
            Value::Bytes(vec![1, 2]),
        ];
        let order: Order = read(&columns(&names), values).unwrap();
        let expected = Order {
            id: 7,
            total: 1.5,
            note: None,
            tags: vec!["a".into()],
            mood: Mood::Happy,
            extra: serde_json::json!({ "a": [1] }),
            picture: vec![1, 2],
        };
        assert_eq!(order, expected);
    }

    #[test]
    fn row_is_a_tuple_or_its_only_value() {
        let two = columns(&["a", "b"]);
        let values = || vec![Value::Int64(1), Value::Text("x".into())];
        assert_eq!(
            read::<(i64, String)>(&two, values()).unwrap(),
            (1, "x".into())
        );
        let map: serde_json::Value = read(&two, values()).unwrap();
        assert_eq!(map, serde_json::json!({ "a": 1, "b": "x" }));
        let error = read::<i64>(&two, values()).unwrap_err();
        assert!(error.to_string().contains("row has 2 columns"), "{error}");
        let one = columns(&["a"]);
        assert_eq!(read::<i64>(&one, vec![Value::Int16(3)]).unwrap(), 3);
        assert_eq!(read::<Option<i64>>(&one, vec![Value::Null]).unwrap(), None);
        assert_eq!(read::<(i64,)>(&one, vec![Value::Int16(3)]).unwrap(), (3,));
        let array = Value::Integers(vec![Some(1), None]);
        assert_eq!(
            read::<Vec<Option<i64>>>(&one, vec![array]).unwrap(),
            [Some(1), None]
        );
        assert!(read::<i8>(&one, vec![Value::Int32(1000)]).is_err());
    }

    #[test]
    fn json_that_postgres_admits_is_read() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        let text = format!(r#"{{"n":1e400,"deep":{deep}}}"#);
        let found: serde_json::Value = read(&columns(&["v"]), vec![Value::Json(text)]).unwrap();
        assert_eq!(found["v"]["n"], serde_json::json!(f64::MAX));
        assert_eq!(found["v"]["deep"].to_string(), deep);
    }
}
