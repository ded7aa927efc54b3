//! Values, as Postgres writes and reads them in text: exact for numbers of any size, and known for each type there is.

use std::borrow::Cow;

use crate::array;

/// A parameter of a statement, or a value of a row.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each is named like its type")]
pub enum Value {
    Null,
    Boolean(bool),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Digits, or `NaN`, `Infinity`, `-Infinity`.
    Numeric(String),
    /// `2026-11-29 14:40:00.25`.
    Timestamp(String),
    /// `2026-11-29 14:40:00.25+01`.
    Timestamptz(String),
    /// `2026-11-29`.
    Date(String),
    /// `14:40:00.25`.
    Time(String),
    Uuid(String),
    /// Of either type, `json` or `jsonb`.
    Json(String),
    Booleans(Vec<Option<bool>>),
    /// Elements of two, four or eight bytes.
    Integers(Vec<Option<i64>>),
    /// Elements of four or eight bytes.
    Floats(Vec<Option<f64>>),
    /// Elements of any other type, each as text.
    Texts(Vec<Option<String>>),
    /// Any other type, as text: enums, intervals, addresses, ranges.
    Other(String),
}

/// Types that Postgres has from the start, by number (`pg_type.dat`).
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const OID: u32 = 26;
    pub(super) const JSON: u32 = 114;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIME: u32 = 1083;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const NUMERIC: u32 = 1700;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

/// Names of types by their numbers.
const NAMES: &[(u32, &str)] = &[
    (oid::BOOL, "boolean"),
    (oid::BYTEA, "bytea"),
    (18, "\"char\""),
    (19, "name"),
    (oid::INT8, "bigint"),
    (oid::INT2, "smallint"),
    (oid::INT4, "integer"),
    (25, "text"),
    (oid::OID, "oid"),
    (oid::JSON, "json"),
    (650, "cidr"),
    (oid::FLOAT4, "real"),
    (oid::FLOAT8, "double precision"),
    (705, "unknown"),
    (869, "inet"),
    (1042, "character"),
    (1043, "character varying"),
    (oid::DATE, "date"),
    (oid::TIME, "time"),
    (oid::TIMESTAMP, "timestamp"),
    (oid::TIMESTAMPTZ, "timestamptz"),
    (1186, "interval"),
    (1266, "timetz"),
    (oid::NUMERIC, "numeric"),
    (2249, "record"),
    (2278, "void"),
    (oid::UUID, "uuid"),
    (oid::JSONB, "jsonb"),
    (199, "json[]"),
    (1000, "boolean[]"),
    (1001, "bytea[]"),
    (1005, "smallint[]"),
    (1007, "integer[]"),
    (1009, "text[]"),
    (1014, "character[]"),
    (1015, "character varying[]"),
    (1016, "bigint[]"),
    (1021, "real[]"),
    (1022, "double precision[]"),
    (1115, "timestamp[]"),
    (1182, "date[]"),
    (1183, "time[]"),
    (1185, "timestamptz[]"),
    (1231, "numeric[]"),
    (2951, "uuid[]"),
    (3807, "jsonb[]"),
];

/// The name of a type; that of one which a database made itself is not known.
pub(crate) fn type_name(oid: u32) -> Cow<'static, str> {
    match NAMES.iter().find(|(number, _)| *number == oid) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("oid {oid}")),
    }
}

/// How many elements a value may have, if its type is that of an array.
pub(crate) fn elements_max(oid: u32, text: &[u8]) -> usize {
    match is_array(oid) {
        true => 1 + text.iter().filter(|byte| **byte == b',').count(),
        false => 0,
    }
}

fn is_array(oid: u32) -> bool {
    let named = |(number, name): &(u32, &str)| *number == oid && name.ends_with("[]");
    NAMES.iter().any(named)
}

impl Value {
    /// Reads what the server sent for a column of this type. None: it is no such value, as it may be after a guest changed
    /// how values are written (`bytea_output`, say) or where the text is not UTF-8.
    pub(crate) fn read(oid: u32, bytes: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(bytes).ok()?;
        let owned = || text.to_owned();
        Some(match oid {
            oid::BOOL => Value::Boolean(boolean(text)?),
            oid::BYTEA => Value::Bytes(unhex(text)?),
            oid::INT2 => Value::Int16(text.parse().ok()?),
            oid::INT4 => Value::Int32(text.parse().ok()?),
            oid::INT8 | oid::OID => Value::Int64(text.parse().ok()?),
            oid::FLOAT4 => Value::Float32(text.parse().ok()?),
            oid::FLOAT8 => Value::Float64(text.parse().ok()?),
            18 | 19 | 25 | 705 | 1042 | 1043 => Value::Text(owned()),
            oid::NUMERIC => Value::Numeric(owned()),
            oid::TIMESTAMP => Value::Timestamp(owned()),
            oid::TIMESTAMPTZ => Value::Timestamptz(owned()),
            oid::DATE => Value::Date(owned()),
            oid::TIME => Value::Time(owned()),
            oid::UUID => Value::Uuid(owned()),
            oid::JSON | oid::JSONB => Value::Json(owned()),
            _ if is_array(oid) => array_of(oid, text).unwrap_or_else(|| Value::Other(owned())),
            _ => Value::Other(owned()),
        })
    }

    /// How the parameter is sent: bytes as they are, all else as text.
    pub(crate) fn format(&self) -> i16 {
        i16::from(matches!(self, Value::Bytes(_)))
    }

    /// What is sent for the parameter; nothing for null.
    pub(crate) fn written(&self) -> Option<Cow<'_, [u8]>> {
        let text = |text: String| Some(Cow::Owned(text.into_bytes()));
        match self {
            Value::Null => None,
            Value::Boolean(value) => text(value.to_string()),
            Value::Int16(value) => text(value.to_string()),
            Value::Int32(value) => text(value.to_string()),
            Value::Int64(value) => text(value.to_string()),
            Value::Float32(value) => text(float(*value)),
            Value::Float64(value) => text(float(*value)),
            Value::Text(value)
            | Value::Numeric(value)
            | Value::Timestamp(value)
            | Value::Timestamptz(value)
            | Value::Date(value)
            | Value::Time(value)
            | Value::Uuid(value)
            | Value::Json(value)
            | Value::Other(value) => Some(Cow::Borrowed(value.as_bytes())),
            Value::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Value::Booleans(values) => text(array::write(values, |value| value.to_string())),
            Value::Integers(values) => text(array::write(values, |value| value.to_string())),
            Value::Floats(values) => text(array::write(values, |value| float(*value))),
            Value::Texts(values) => text(array::write(values, String::clone)),
        }
    }

    /// The bytes that it holds beside its place in a row.
    pub(crate) fn bytes(&self) -> usize {
        let of_texts = |values: &[Option<String>]| {
            let texts = values.iter().flatten().map(String::len);
            size_of_val(values) + texts.sum::<usize>()
        };
        match self {
            Value::Null
            | Value::Boolean(_)
            | Value::Int16(_)
            | Value::Int32(_)
            | Value::Int64(_)
            | Value::Float32(_)
            | Value::Float64(_) => 0,
            Value::Text(value)
            | Value::Numeric(value)
            | Value::Timestamp(value)
            | Value::Timestamptz(value)
            | Value::Date(value)
            | Value::Time(value)
            | Value::Uuid(value)
            | Value::Json(value)
            | Value::Other(value) => value.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Booleans(values) => size_of_val(&**values),
            Value::Integers(values) => size_of_val(&**values),
            Value::Floats(values) => size_of_val(&**values),
            Value::Texts(values) => of_texts(values),
        }
    }
}

/// Postgres writes `inf` as `Infinity` and reads both.
fn float(value: impl std::fmt::Display) -> String {
    value.to_string()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" => Some(true),
        "f" => Some(false),
        _ => None,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs.iter().map(|[high, low]| {
        let value = digit(*high)? << 4 | digit(*low)?;
        u8::try_from(value).ok()
    });
    bytes.collect()
}

fn array_of(oid: u32, text: &str) -> Option<Value> {
    let elements = array::read(text)?;
    fn each<T>(
        elements: Vec<Option<String>>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<Option<T>>> {
        let elements = elements.iter().map(|element| match element {
            Some(text) => read(text).map(Some),
            None => Some(None),
        });
        elements.collect()
    }
    Some(match oid {
        1000 => Value::Booleans(each(elements, boolean)?),
        1005 | 1007 | 1016 => Value::Integers(each(elements, |text| text.parse().ok())?),
        1021 | 1022 => Value::Floats(each(elements, |text| text.parse().ok())?),
        _ => Value::Texts(elements),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_value_of_its_type_is_none() {
        for (oid, text) in [
            (oid::BOOL, "true"),
            (oid::BYTEA, "\\x0"),
            (oid::BYTEA, "\\xzz"),
            (oid::BYTEA, "abc"),
            (oid::INT2, "40000"),
            (oid::FLOAT8, "one"),
        ] {
            assert_eq!(Value::read(oid, text.as_bytes()), None, "{text}");
        }
        assert_eq!(Value::read(25, &[0xff]), None);
        let nested = Value::read(1007, b"{{1,2},{3,4}}");
        assert_eq!(nested, Some(Value::Other("{{1,2},{3,4}}".into())));
        let bytes = Value::read(oid::BYTEA, b"\\x00fF10");
        assert_eq!(bytes, Some(Value::Bytes(vec![0, 255, 16])));
    }
}
