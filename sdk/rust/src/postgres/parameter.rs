//! Parameters of a statement.

use super::Value;

/// A parameter of a statement, as in `&[&id, &name]`. Postgres infers its type from the statement. If Postgres cannot infer the type,
/// the statement must state it: `$1::bigint`.
pub trait Parameter {
    /// What is sent.
    fn value(&self) -> Value;
}

impl Parameter for Value {
    fn value(&self) -> Value {
        self.clone()
    }
}

/// Types that become a case as they are.
macro_rules! parameters {
    ($($of:ty => |$value:ident| $into:expr;)+) => {
        $(impl Parameter for $of {
            fn value(&self) -> Value {
                let $value = self;
                $into
            }
        })+
    };
}

parameters! {
    bool => |value| Value::Boolean(*value);
    i8 => |value| Value::Int16((*value).into());
    i16 => |value| Value::Int16(*value);
    i32 => |value| Value::Int32(*value);
    i64 => |value| Value::Int64(*value);
    u8 => |value| Value::Int16((*value).into());
    u16 => |value| Value::Int32((*value).into());
    u32 => |value| Value::Int64((*value).into());
    u64 => |value| Value::Numeric(value.to_string());
    usize => |value| Value::Numeric(value.to_string());
    f32 => |value| Value::Float32(*value);
    f64 => |value| Value::Float64(*value);
    str => |value| Value::Text(value.to_owned());
    String => |value| Value::Text(value.clone());
    [u8] => |value| Value::Bytes(value.to_vec());
    Vec<u8> => |value| Value::Bytes(value.clone());
    serde_json::Value => |value| Value::Json(value.to_string());
    [bool] => |value| Value::Booleans(value.iter().map(|value| Some(*value)).collect());
    Vec<bool> => |value| value.as_slice().value();
    [i32] => |value| Value::Integers(value.iter().map(|value| Some((*value).into())).collect());
    Vec<i32> => |value| value.as_slice().value();
    [i64] => |value| Value::Integers(value.iter().map(|value| Some(*value)).collect());
    Vec<i64> => |value| value.as_slice().value();
    [f64] => |value| Value::Floats(value.iter().map(|value| Some(*value)).collect());
    Vec<f64> => |value| value.as_slice().value();
    [String] => |value| Value::Texts(value.iter().map(|value| Some(value.clone())).collect());
    Vec<String> => |value| value.as_slice().value();
    [&str] => |value| Value::Texts(value.iter().map(|value| Some((*value).to_owned())).collect());
    Vec<&str> => |value| value.as_slice().value();
}

impl<T: Parameter + ?Sized> Parameter for &T {
    fn value(&self) -> Value {
        (**self).value()
    }
}

impl<T: Parameter> Parameter for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::value)
    }
}
