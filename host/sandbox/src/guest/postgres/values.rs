//! Values, rows and errors as guests see them.

use toril_postgres::{Column, Error, Rows, Value};

use crate::bindings::postgres::toril::postgres::client as raw;

/// The cases are the same on both sides.
macro_rules! values {
    ($($case:ident),+) => {
        impl From<raw::Value> for Value {
            fn from(value: raw::Value) -> Self {
                match value {
                    raw::Value::Null => Value::Null,
                    $(raw::Value::$case(value) => Value::$case(value),)+
                }
            }
        }

        impl From<Value> for raw::Value {
            fn from(value: Value) -> Self {
                match value {
                    Value::Null => raw::Value::Null,
                    $(Value::$case(value) => raw::Value::$case(value),)+
                }
            }
        }
    };
}

values! {
    Boolean, Int16, Int32, Int64, Float32, Float64, Text, Bytes, Numeric, Timestamp, Timestamptz, Date, Time, Uuid, Json,
    Booleans, Integers, Floats, Texts, Other
}

impl From<Rows> for raw::Rows {
    fn from(rows: Rows) -> Self {
        let column = |column: &Column| raw::Column {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
        };
        let row = |row: Vec<Value>| row.into_iter().map(raw::Value::from).collect();
        raw::Rows {
            columns: rows.columns.iter().map(column).collect(),
            rows: rows.rows.into_iter().map(row).collect(),
            affected: rows.affected,
        }
    }
}

impl From<Error> for raw::Error {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::Server(error) => raw::Error::Server(raw::ServerError {
                is_transient: error.is_transient(),
                code: error.code,
                message: error.message,
                detail: error.detail,
                hint: error.hint,
                constraint: error.constraint,
                table: error.table,
                column: error.column,
            }),
            Error::Unavailable(_) => raw::Error::Unavailable(said),
            Error::Exhausted(_) => raw::Error::Exhausted(said),
            Error::TimedOut(_) => raw::Error::TimedOut(said),
            Error::Limit(_) => raw::Error::Limit(said),
            Error::Refused(_) => raw::Error::Refused(said),
        }
    }
}
