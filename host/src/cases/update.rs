//! Writes what was seen into a case, and leaves all else in the file as it is: order, comments, white space.

use anyhow::Context as _;
use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table};

use super::expectation::{Expectation, Fields, as_far_as_expected};
use super::values::{JSON_SUFFIX, same, to_toml};

/// Longer values are written in several lines.
const LINE_CHARS_MAX: usize = 80;
/// Keys of an added job that come first.
const FIRST_KEYS: [&str; 3] = ["queue", "name", "id"];

/// The text of a case that expects what was seen. Keys that it mentions stay those that it mentions; where it expects
/// nothing, or its outcome is another one, all that is telling is written.
pub(super) fn updated(text: &str, expected: &Expectation, seen: &Fields) -> anyhow::Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let before = expected.fields()?;
    let root = document.as_table_mut();
    if !root.contains_key("expect") {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        root.insert("expect", Item::Table(table));
    }
    let table = root.get_mut("expect").and_then(Item::as_table_mut);
    let table = table.context("`expect` is not written as a table `[expect]`")?;
    let gone = before
        .0
        .iter()
        .filter(|field| seen.get(field.key).is_none());
    let gone: Vec<&str> = gone.map(|field| field.key).collect();
    for key in &gone {
        remove(table, key);
    }
    for field in &seen.0 {
        match before.get(field.key) {
            Some(value) => {
                let found = as_far_as_expected(value, &field.value);
                if !same(value, &found) {
                    write(table, field.key, &found);
                }
            }
            None if field.is_telling && (before.0.is_empty() || !gone.is_empty()) => {
                write(table, field.key, &field.value);
            }
            None => {}
        }
    }
    Ok(document.to_string())
}

/// The fields as they are written in `[expect]`.
pub(super) fn rendered(fields: &Fields) -> String {
    let mut document = DocumentMut::new();
    for field in &fields.0 {
        write(document.as_table_mut(), field.key, &field.value);
    }
    document.to_string()
}

fn remove(table: &mut Table, key: &str) {
    table.remove(key);
    table.remove(&format!("{key}{JSON_SUFFIX}"));
}

/// Puts a value into a table, where the one before was.
fn write(table: &mut Table, key: &str, value: &Value) {
    let Some(mut item) = item(value) else {
        table.remove(key);
        let text = toml_edit::value(value.to_string());
        table.insert(&format!("{key}{JSON_SUFFIX}"), text);
        return;
    };
    table.remove(&format!("{key}{JSON_SUFFIX}"));
    match table.get_mut(key) {
        // Comments in the line stay.
        Some(old) if old.is_value() && item.is_value() => {
            if let (Some(old), Some(new)) = (old.as_value(), item.as_value_mut()) {
                *new.decor_mut() = old.decor().clone();
            }
            *old = item;
        }
        Some(Item::ArrayOfTables(old)) if item.is_array_of_tables() => replace_tables(old, item),
        _ => {
            table.remove(key);
            table.insert(key, item);
        }
    }
}

/// Keeps the comments of tables that stay.
fn replace_tables(old: &mut ArrayOfTables, new: Item) {
    let new = new.into_array_of_tables().unwrap_or_default();
    while old.len() > new.len() {
        old.remove(old.len() - 1);
    }
    for (at, table) in new.into_iter().enumerate() {
        let Some(kept) = old.get_mut(at) else {
            old.push(table);
            continue;
        };
        let gone: Vec<String> = kept.iter().map(|(key, _)| key.to_owned()).collect();
        for key in gone.iter().filter(|key| !table.contains_key(key)) {
            kept.remove(key);
        }
        for (key, mut item) in table {
            match (kept.get(&key).and_then(Item::as_value), item.as_value_mut()) {
                (Some(old), Some(new)) => *new.decor_mut() = old.decor().clone(),
                _ => drop(kept.remove(&key)),
            }
            match kept.get_mut(&key) {
                Some(place) => *place = item,
                None => drop(kept.insert(&key, item)),
            }
        }
    }
}

/// The TOML of a value. None: it has none.
fn item(value: &Value) -> Option<Item> {
    if let Value::Array(items) = value
        && let Some(objects) = objects(items)
    {
        let tables: ArrayOfTables = objects.into_iter().map(ordered_table).collect();
        return Some(Item::ArrayOfTables(tables));
    }
    let toml = to_toml(value)?;
    let is_long = toml.to_string().chars().count() > LINE_CHARS_MAX;
    Some(match (value, toml) {
        (Value::Object(members), _) if is_long => Item::Table(table(members)),
        (Value::Array(items), toml_edit::Value::Array(array)) if is_long || items.len() > 1 => {
            toml_edit::value(one_by_line(array))
        }
        (_, toml) => toml_edit::value(toml),
    })
}

/// The objects of a list that has nothing else, and has some.
fn objects(items: &[Value]) -> Option<Vec<&Map<String, Value>>> {
    let objects: Option<Vec<_>> = items.iter().map(Value::as_object).collect();
    objects.filter(|objects| !objects.is_empty())
}

fn table(members: &Map<String, Value>) -> Table {
    let mut table = Table::new();
    for (key, value) in members {
        write(&mut table, key, value);
    }
    table
}

/// A table whose first keys are those that say what it is about.
fn ordered_table(members: &Map<String, Value>) -> Table {
    let mut members: Vec<_> = members.iter().collect();
    let place = |key: &str| FIRST_KEYS.iter().position(|first| *first == key);
    members.sort_by_key(|(key, _)| place(key).unwrap_or(FIRST_KEYS.len()));
    let mut table = Table::new();
    for (key, value) in members {
        write(&mut table, key, value);
    }
    table
}

fn one_by_line(mut array: Array) -> Array {
    for item in array.iter_mut() {
        item.decor_mut().set_prefix("\n  ");
    }
    array.set_trailing("\n");
    array.set_trailing_comma(true);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Case;
    use serde_json::json;

    fn update(case: &str, seen: &[(&'static str, Value)]) -> String {
        let mut fields = Fields::default();
        for (key, value) in seen {
            fields.push(key, value.clone(), true);
        }
        let expected = Case::parse(case).unwrap().expect;
        let text = updated(case, &expected, &fields).unwrap();
        let again = Case::parse(&text).unwrap().expect;
        assert_eq!(again.diff(&fields), "", "{text}");
        text
    }

    #[test]
    fn case_that_expects_nothing_gets_all_that_is_telling() {
        let long = json!({ "one": "x".repeat(50), "two": ["y".repeat(50)] });
        let added = json!([{ "queue": "parts", "data": { "n": null } }]);
        let seen = [
            ("outcome", json!("completed")),
            ("value", json!(null)),
            ("data", long),
            ("calls", json!(["log(\"a\")", "update-progress(1)"])),
            ("added", added),
        ];
        insta::assert_snapshot!(update("# A job.\n[job]\nname = \"a\"   # short\n", &seen), @r#"
        # A job.
        [job]
        name = "a"   # short

        [expect]
        outcome = "completed"
        value_json = "null"
        calls = [
          'log("a")',
          "update-progress(1)",
        ]

        [expect.data]
        one = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        two = ["yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"]

        [[expect.added]]
        queue = "parts"
        data_json = '{"n":null}'
        "#);
    }

    #[test]
    fn comments_and_keys_stay_and_only_values_change() {
        let case = "[job]\n\n# What it costs.\n[expect]\n# in euros\nvalue = { cost = 1 }  # rounded\n[[expect.added]]\n# the first\nname = \"a\" # yes\n";
        let seen = [
            ("outcome", json!("completed")),
            ("value", json!({ "cost": 2 })),
            (
                "added",
                json!([{ "name": "b", "queue": "q" }, { "name": "c" }]),
            ),
        ];
        insta::assert_snapshot!(update(case, &seen), @r##"
        [job]

        # What it costs.
        [expect]
        # in euros
        value = { cost = 2 }  # rounded
        [[expect.added]]
        # the first
        name = "b" # yes

        [[expect.added]]
        name = "c"
        "##);
    }

    #[test]
    fn another_outcome_brings_its_keys() {
        let case = "[job]\n[expect]\noutcome = \"completed\"\nvalue = 1\n";
        let seen = [
            ("outcome", json!("failed")),
            ("failed_reason", json!("no paint")),
        ];
        let text = update(case, &seen);
        assert!(
            text.ends_with("outcome = \"failed\"\nfailed_reason = \"no paint\"\n"),
            "{text}"
        );
    }
}
