//! JSON in a case: written as TOML, or as text under `KEY_json` where TOML has no such value, as for `null`.

use serde_json::{Map, Number, Value};

/// The end of keys whose values are JSON as text.
pub(super) const JSON_SUFFIX: &str = "_json";

/// The JSON of a TOML value. Times become texts.
pub(super) fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        toml::Value::Boolean(yes) => Value::Bool(yes),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            let members = table.into_iter();
            Value::Object(members.map(|(key, value)| (key, to_json(value))).collect())
        }
    }
}

/// The value of a key that is written as TOML or, with the suffix, as JSON text.
pub(super) fn of_key(
    key: &str,
    value: Option<toml::Value>,
    text: Option<&str>,
) -> anyhow::Result<Option<Value>> {
    match (value, text) {
        (Some(_), Some(_)) => {
            anyhow::bail!("`{key}` and `{key}{JSON_SUFFIX}` exclude each other")
        }
        (Some(value), None) => Ok(Some(to_json(value))),
        (None, Some(text)) => {
            let value = toril_queue::json::read(text);
            let value = value
                .map_err(|error| anyhow::anyhow!("`{key}{JSON_SUFFIX}` is not JSON: {error}"))?;
            Ok(Some(value))
        }
        (None, None) => Ok(None),
    }
}

/// The TOML of a JSON value. None: TOML has no such value.
pub(super) fn to_toml(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(yes) => (*yes).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None if number.is_f64() => number.as_f64()?.into(),
            None => return None,
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            let items: Option<toml_edit::Array> = items.iter().map(to_toml).collect();
            items?.into()
        }
        Value::Object(members) => {
            let mut table = toml_edit::InlineTable::new();
            for (key, value) in members {
                table.insert(key, to_toml(value)?);
            }
            table.into()
        }
    })
}

/// True where two values are the same to JavaScript: 4 and 4.0 are one number.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => same_members(one, other),
        _ => one == other,
    }
}

fn same_members(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let in_other = |(key, value): (&String, &Value)| {
        other
            .get(key)
            .is_some_and(|other_value| same(value, other_value))
    };
    one.len() == other.len() && one.iter().all(in_other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_toml_has_no_value_for_is_said() {
        for has in [json!({ "a": [1, "b", true, 1.5] }), json!(""), json!([])] {
            let toml = to_toml(&has).unwrap();
            let text = format!("value = {toml}");
            let read: toml::Table = toml::from_str(&text).unwrap();
            assert!(same(&to_json(read["value"].clone()), &has), "{text}");
        }
        for has_not in [
            json!(null),
            json!([{ "a": null }]),
            json!(18_446_744_073_709_551_615_u64),
        ] {
            assert!(to_toml(&has_not).is_none());
        }
    }

    #[test]
    fn numbers_are_compared_as_javascript_does() {
        assert!(same(&json!({ "a": [4] }), &json!({ "a": [4.0] })));
        assert!(!same(&json!({ "a": 4 }), &json!({ "a": 4, "b": 1 })));
        assert!(!same(&json!(4), &json!("4")));
    }
}
