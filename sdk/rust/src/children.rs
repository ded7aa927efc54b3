//! The children of a job, by what became of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use toril_options::json::{self, Fields};

/// Which children to read, by kind and page. The default reads all of every kind.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct DependenciesQuery {
    /// Children that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processed: Option<Page>,
    /// Children that are pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unprocessed: Option<Page>,
    /// Children whose failure does not fail the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<Page>,
    /// Children whose failure fails the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Page>,
}

/// A part of the children of one kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Page {
    /// 0, or the next cursor of the previous page.
    pub cursor: u64,
    /// About how many children to read.
    pub count: u64,
}

/// Children by kind; `None` for a kind that the query does not have. A next cursor of 0 means there are no more.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Dependencies {
    /// Child key → value. A value that no `Value` can hold, such as a number beyond those of `f64`, is its text.
    #[serde(default, deserialize_with = "values")]
    pub processed: Option<BTreeMap<String, Value>>,
    /// Where the next page begins.
    pub next_processed_cursor: Option<u64>,
    /// Child keys.
    pub unprocessed: Option<Vec<String>>,
    /// Where the next page begins.
    pub next_unprocessed_cursor: Option<u64>,
    /// Child key → error.
    pub ignored: Option<BTreeMap<String, String>>,
    /// Where the next page begins.
    pub next_ignored_cursor: Option<u64>,
    /// Child keys.
    pub failed: Option<Vec<String>>,
    /// Where the next page begins.
    pub next_failed_cursor: Option<u64>,
}

/// Reads each value by itself: an odd one hides no other.
fn values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, Value>>, D::Error> {
    let values = Option::<Fields>::deserialize(deserializer)?;
    let read = |text: &str| json::read(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let values = values.map(|values| {
        values
            .into_iter()
            .map(|(key, value)| (key, read(value.get())))
    });
    Ok(values.map(Iterator::collect))
}

/// How many children there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DependencyCounts {
    /// Children that completed.
    pub processed: u64,
    /// Children that are pending.
    pub unprocessed: u64,
    /// Children whose failure does not fail the parent.
    pub ignored: u64,
    /// Children whose failure fails the parent.
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn value_that_is_odd_hides_no_other() {
        let deep = "[".repeat(2_000) + &"]".repeat(2_000);
        let text = format!(r#"{{"processed":{{"a":1e400,"b":[1],"c":"\ud800","d":{deep}}}}}"#);
        let read: Dependencies = json::read(&text).unwrap();
        let processed = read.processed.unwrap();
        assert_eq!(processed["a"], json!(f64::MAX));
        assert_eq!(processed["b"], json!([1]));
        assert_eq!(processed["c"], json!("\u{fffd}"));
        assert_eq!(processed["d"], json!(deep));
        assert!(read.failed.is_none());
    }
}
