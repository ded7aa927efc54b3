//! The children of a job, by what became of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// 0, or what the last page gave as its next cursor.
    pub cursor: u64,
    /// About how many.
    pub count: u64,
}

/// Children by kind; `None` where a kind was not asked for. A next cursor of 0 means there are no more.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Dependencies {
    /// Child key → value.
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
