//! What a case expects, and how what was seen differs. A key that a case does not mention is not compared.

use serde::Deserialize;
use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use super::update::rendered;
use super::values::{of_key, same};

/// Unchanged lines that are shown around a difference.
const CONTEXT_LINES: usize = 3;

/// What came of an attempt, or should come of it: keys of `[expect]` and their values, in the order in which they are shown.
#[derive(Debug, Clone, Default)]
pub struct Fields(pub(super) Vec<Field>);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) value: Value,
    /// Written into a case that expects nothing yet.
    pub(super) is_telling: bool,
}

/// `[expect]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Expectation {
    outcome: Option<OutcomeName>,
    value: Option<toml::Value>,
    value_json: Option<String>,
    failed_reason: Option<String>,
    unrecoverable: Option<bool>,
    state: Option<String>,
    delay_ms: Option<u64>,
    progress: Option<toml::Value>,
    progress_json: Option<String>,
    data: Option<toml::Value>,
    data_json: Option<String>,
    logs: Option<Vec<String>>,
    calls: Option<Vec<String>>,
    added: Option<Vec<Added>>,
}

/// A job that the attempt added.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Added {
    queue: Option<String>,
    name: Option<String>,
    id: Option<String>,
    data: Option<toml::Value>,
    data_json: Option<String>,
    opts: Option<toml::Value>,
    opts_json: Option<String>,
    parent: Option<String>,
    state: Option<String>,
}

/// What came of an attempt, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(super) enum OutcomeName {
    Completed,
    Failed,
    Delayed,
    WaitingChildren,
    Waiting,
    RateLimited,
}

impl Fields {
    pub(super) fn push(&mut self, key: &'static str, value: impl Into<Value>, is_telling: bool) {
        let value = value.into();
        self.0.push(Field {
            key,
            value,
            is_telling,
        });
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let field = self.0.iter().find(|field| field.key == key)?;
        Some(&field.value)
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> Value {
        let members = self.0.iter();
        Value::Object(
            members
                .map(|field| (field.key.to_owned(), field.value.clone()))
                .collect(),
        )
    }
}

impl Expectation {
    /// True where nothing is expected.
    pub(super) fn is_empty(&self) -> bool {
        self.fields().is_ok_and(|fields| fields.0.is_empty())
    }

    pub(super) fn is_a_failure(&self) -> bool {
        self.outcome == Some(OutcomeName::Failed)
    }

    pub(super) fn is_a_completion(&self) -> bool {
        self.outcome == Some(OutcomeName::Completed)
    }

    /// Refuses what cannot be compared.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.fields().map(drop)
    }

    /// What is mentioned.
    pub(super) fn fields(&self) -> anyhow::Result<Fields> {
        let outcome = self.outcome.map(<&'static str>::from).map(Value::from);
        let reason = self.failed_reason.clone().map(Value::from);
        let value = of_key("value", self.value.clone(), self.value_json.as_deref())?;
        let progress = self.progress.clone();
        let progress = of_key("progress", progress, self.progress_json.as_deref())?;
        let data = of_key("data", self.data.clone(), self.data_json.as_deref())?;
        let added = self.added.as_ref().map(|added| {
            let added: anyhow::Result<Vec<Value>> = added.iter().map(Added::to_json).collect();
            added.map(Value::from)
        });
        let mut fields = Fields::default();
        for (key, value) in [
            ("outcome", outcome),
            ("value", value),
            ("failed_reason", reason),
            ("unrecoverable", self.unrecoverable.map(Value::from)),
            ("state", self.state.clone().map(Value::from)),
            ("delay_ms", self.delay_ms.map(Value::from)),
            ("progress", progress),
            ("data", data),
            ("logs", self.logs.clone().map(Value::from)),
            ("calls", self.calls.clone().map(Value::from)),
            ("added", added.transpose()?),
        ] {
            if let Some(value) = value {
                fields.push(key, value, true);
            }
        }
        Ok(fields)
    }

    /// How what was seen differs, line by line; empty where it does not.
    pub(super) fn diff(&self, seen: &Fields) -> String {
        let Ok(expected) = self.fields() else {
            return String::new();
        };
        let mut compared = Fields::default();
        let mut differs = false;
        for Field { key, value, .. } in &expected.0 {
            let Some(found) = seen.get(key) else {
                differs = true;
                continue;
            };
            let found = as_far_as_expected(value, found);
            // Two forms of one number are no difference.
            let is_same = same(value, &found);
            differs |= !is_same;
            compared.push(key, if is_same { value.clone() } else { found }, true);
        }
        if !differs {
            return String::new();
        }
        // Another outcome is shown with what it says.
        if compared.get("outcome") != expected.get("outcome") {
            for key in ["value", "failed_reason"] {
                if let (Some(value), None) = (seen.get(key), compared.get(key)) {
                    // After the outcome, which comes first.
                    compared.0.insert(
                        1,
                        Field {
                            key,
                            value: value.clone(),
                            is_telling: true,
                        },
                    );
                }
            }
        }
        lines(&rendered(&expected), &rendered(&compared))
    }
}

impl Added {
    fn to_json(&self) -> anyhow::Result<Value> {
        let data = of_key("data", self.data.clone(), self.data_json.as_deref())?;
        let opts = of_key("opts", self.opts.clone(), self.opts_json.as_deref())?;
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let members = [
            ("queue", text(&self.queue)),
            ("name", text(&self.name)),
            ("id", text(&self.id)),
            ("data", data),
            ("opts", opts),
            ("parent", text(&self.parent)),
            ("state", text(&self.state)),
        ];
        let members = members.into_iter();
        let given = members.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(Value::Object(given.collect()))
    }
}

/// Leaves out of the jobs that were seen what their counterparts do not mention.
pub(super) fn as_far_as_expected(expected: &Value, seen: &Value) -> Value {
    let (Value::Array(expected), Value::Array(seen)) = (expected, seen) else {
        return seen.clone();
    };
    let projected = seen.iter().enumerate().map(|(at, seen)| {
        let (Some(Value::Object(expected)), Value::Object(members)) = (expected.get(at), seen)
        else {
            return seen.clone();
        };
        let mentioned = members
            .iter()
            .filter(|(key, _)| expected.contains_key(*key));
        let mentioned: Map<String, Value> = mentioned
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Value::Object(mentioned)
    });
    projected.collect()
}

fn lines(expected: &str, seen: &str) -> String {
    let diff = TextDiff::from_lines(expected, seen);
    let mut shown = String::new();
    for (at, group) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if at > 0 {
            shown.push_str("  …\n");
        }
        for change in group.iter().flat_map(|change| diff.iter_changes(change)) {
            shown.push_str(match change.tag() {
                ChangeTag::Delete => "- ",
                ChangeTag::Insert => "+ ",
                ChangeTag::Equal => "  ",
            });
            shown.push_str(change.value().trim_end_matches('\n'));
            shown.push('\n');
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expectation(toml: &str) -> Expectation {
        toml::from_str(toml).unwrap()
    }

    fn seen() -> Fields {
        let mut seen = Fields::default();
        seen.push("outcome", "completed", true);
        seen.push("value", json!({ "cost": 400 }), true);
        seen.push("calls", json!(["log(\"a\")", "log(\"b\")"]), true);
        let added = json!([{ "queue": "parts", "name": "child", "id": "1", "data": {} }]);
        seen.push("added", added, true);
        seen
    }

    #[test]
    fn what_is_not_mentioned_is_not_compared() {
        for toml in [
            "outcome = \"completed\"",
            "value = { cost = 400.0 }",
            "[[added]]\nname = \"child\"",
        ] {
            assert_eq!(expectation(toml).diff(&seen()), "", "{toml}");
        }
        assert!(expectation("").is_empty());
    }

    #[test]
    fn difference_is_shown_by_line() {
        let expected = expectation("value = { cost = 500 }\ncalls = [\"log(\\\"a\\\")\"]");
        assert_eq!(
            expected.diff(&seen()),
            "- value = { cost = 500 }\n- calls = ['log(\"a\")']\n+ value = { cost = 400 }\n+ calls = [\n+   'log(\"a\")',\n+   'log(\"b\")',\n+ ]\n"
        );
    }

    #[test]
    fn another_outcome_is_shown_with_its_value() {
        let diff = expectation("outcome = \"failed\"\nfailed_reason = \"no paint\"").diff(&seen());
        assert_eq!(
            diff,
            "- outcome = \"failed\"\n- failed_reason = \"no paint\"\n+ outcome = \"completed\"\n+ value = { cost = 400 }\n"
        );
    }
}
