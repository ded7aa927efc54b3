//! The children of a job: pending, processed, ignored, failed.

use std::collections::BTreeMap;

use redis::Value as Reply;
use serde::{Deserialize, Serialize};
use toril_options::json::{Fields, raw_or_text};

use crate::error::QueueError;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::redis::text;

/// Which kinds of children to read. None at all means all of every kind.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DependenciesQuery {
    /// Children that completed.
    pub processed: Option<Page>,
    /// Children that are pending.
    pub unprocessed: Option<Page>,
    /// Children whose failure does not fail the parent.
    pub ignored: Option<Page>,
    /// Children whose failure fails the parent.
    pub failed: Option<Page>,
}

/// A part of the children of one kind. Redis may return somewhat more than `count`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// 0, or what the last page gave as its next cursor.
    pub cursor: u64,
    /// About how many.
    pub count: u64,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            cursor: 0,
            count: 20,
        }
    }
}

/// Children by kind, as BullMQ's `getDependencies` returns them. A cursor of 0 means there are no more,
/// except for `failed`, where the next page is simply empty.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependencies {
    /// Child key → value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processed: Option<Fields>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_processed_cursor: Option<u64>,
    /// Child keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unprocessed: Option<Vec<String>>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_unprocessed_cursor: Option<u64>,
    /// Child key → error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<BTreeMap<String, String>>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ignored_cursor: Option<u64>,
    /// Child keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Vec<String>>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_failed_cursor: Option<u64>,
}

/// Which counts to read. None at all means all.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DependencyKinds {
    /// Children that completed.
    pub processed: bool,
    /// Children that are pending.
    pub unprocessed: bool,
    /// Children whose failure does not fail the parent.
    pub ignored: bool,
    /// Children whose failure fails the parent.
    pub failed: bool,
}

/// Kind → count, as BullMQ's `getDependenciesCount` returns them.
pub type DependencyCounts = BTreeMap<&'static str, u64>;

type Pairs = BTreeMap<String, String>;

impl Queue {
    /// Child key → value, JSON text, of the children that completed.
    pub async fn children_values(&self, id: &str) -> Result<Pairs, QueueError> {
        self.children_values_within(id, usize::MAX).await
    }

    /// Reads what [`Queue::children_values`] does, if it has no more bytes than that.
    pub async fn children_values_within(
        &self,
        id: &str,
        bytes_max: usize,
    ) -> Result<Pairs, QueueError> {
        let (_, pairs) = self.child_map(id, "processed", None, bytes_max).await?;
        Ok(pairs)
    }

    /// Child key → error of the children whose failure does not fail the parent.
    pub async fn ignored_children_failures(&self, id: &str) -> Result<Pairs, QueueError> {
        self.ignored_children_failures_within(id, usize::MAX).await
    }

    /// Reads what [`Queue::ignored_children_failures`] does, if it has no more bytes than that.
    pub async fn ignored_children_failures_within(
        &self,
        id: &str,
        bytes_max: usize,
    ) -> Result<Pairs, QueueError> {
        let (_, pairs) = self.child_map(id, "failed", None, bytes_max).await?;
        Ok(pairs)
    }

    /// A page, or all, and where the next page begins.
    async fn child_map(
        &self,
        id: &str,
        kind: &str,
        page: Option<Page>,
        bytes_max: usize,
    ) -> Result<(u64, Pairs), QueueError> {
        let script = script!("read_children", "ids");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(kind).arg(bytes_max);
        match page {
            Some(Page { cursor, count }) => call.arg(cursor).arg(count.max(1)),
            None => call.arg("").arg(""),
        };
        match self.redis.run(script, &call).await? {
            Reply::Int(0) => Err(QueueError::TooLarge {
                what: "results of the children",
                bytes_max,
            }),
            reply => text::read(reply).map_err(|_| QueueError::Reply("read_children")),
        }
    }

    fn child_key(&self, id: &str, kind: &str) -> String {
        format!("{}:{kind}", self.keys.job(id))
    }

    /// Reads the children of a job, by kind and page.
    pub async fn dependencies(
        &self,
        id: &str,
        query: &DependenciesQuery,
    ) -> Result<Dependencies, QueueError> {
        self.dependencies_within(id, query, usize::MAX).await
    }

    /// Reads what [`Queue::dependencies`] does, if the results of no kind have more bytes than that.
    pub async fn dependencies_within(
        &self,
        id: &str,
        query: &DependenciesQuery,
        bytes_max: usize,
    ) -> Result<Dependencies, QueueError> {
        let DependenciesQuery {
            processed,
            unprocessed,
            ignored,
            failed,
        } = *query;
        if self.is_foreign(id).await? {
            return Ok(Dependencies::default());
        }
        if processed.is_none() && unprocessed.is_none() && ignored.is_none() && failed.is_none() {
            return self.all_dependencies(id, bytes_max).await;
        }
        let mut found = Dependencies::default();
        if let Some(page) = processed {
            let (next, pairs) = self
                .child_map(id, "processed", Some(page), bytes_max)
                .await?;
            found.processed = Some(values(pairs));
            found.next_processed_cursor = Some(next);
        }
        if let Some(page) = unprocessed {
            let (next, keys) = self.pending_page(id, page).await?;
            found.unprocessed = Some(keys);
            found.next_unprocessed_cursor = Some(next);
        }
        if let Some(page) = ignored {
            let (next, pairs) = self.child_map(id, "failed", Some(page), bytes_max).await?;
            found.ignored = Some(pairs);
            found.next_ignored_cursor = Some(next);
        }
        if let Some(page) = failed {
            let next = page.cursor.saturating_add(page.count);
            found.failed = Some(
                self.failed_range(id, page.cursor, i64::try_from(next).unwrap_or(0) - 1)
                    .await?,
            );
            found.next_failed_cursor = Some(next);
        }
        Ok(found)
    }

    async fn all_dependencies(
        &self,
        id: &str,
        bytes_max: usize,
    ) -> Result<Dependencies, QueueError> {
        let mut command = redis::cmd("SMEMBERS");
        let pending = command.arg(self.child_key(id, "dependencies"));
        Ok(Dependencies {
            processed: Some(values(self.children_values_within(id, bytes_max).await?)),
            unprocessed: Some(self.redis.ask(pending).await?),
            ignored: Some(self.ignored_children_failures_within(id, bytes_max).await?),
            failed: Some(self.failed_range(id, 0, -1).await?),
            ..Dependencies::default()
        })
    }

    async fn pending_page(&self, id: &str, page: Page) -> Result<(u64, Vec<String>), QueueError> {
        let mut scan = redis::cmd("SSCAN");
        scan.arg(self.child_key(id, "dependencies"))
            .arg(page.cursor)
            .arg("COUNT")
            .arg(page.count.max(1));
        Ok(self.redis.ask(&scan).await?)
    }

    async fn failed_range(&self, id: &str, from: u64, to: i64) -> Result<Vec<String>, QueueError> {
        let mut command = redis::cmd("ZRANGE");
        command
            .arg(self.child_key(id, "unsuccessful"))
            .arg(from)
            .arg(to);
        Ok(self.redis.ask(&command).await?)
    }

    /// Counts the children of a job, by kind.
    pub async fn dependency_counts(
        &self,
        id: &str,
        kinds: DependencyKinds,
    ) -> Result<DependencyCounts, QueueError> {
        let DependencyKinds {
            processed,
            unprocessed,
            ignored,
            failed,
        } = kinds;
        let all = !(processed || unprocessed || ignored || failed);
        let wanted: Vec<_> = [
            (processed, "processed", "HLEN", "processed"),
            (unprocessed, "unprocessed", "SCARD", "dependencies"),
            (ignored, "ignored", "HLEN", "failed"),
            (failed, "failed", "ZCARD", "unsuccessful"),
        ]
        .into_iter()
        .filter(|(asked, ..)| all || *asked)
        .collect();
        if self.is_foreign(id).await? {
            return Ok(wanted.into_iter().map(|(_, name, ..)| (name, 0)).collect());
        }
        let mut pipeline = redis::pipe();
        for (_, _, command, kind) in &wanted {
            pipeline.cmd(command).arg(self.child_key(id, kind));
        }
        let counts: Vec<u64> = pipeline.query_async(&mut self.redis.shared()).await?;
        Ok(wanted
            .into_iter()
            .map(|(_, name, ..)| name)
            .zip(counts)
            .collect())
    }
}

/// Values are handed on as they are stored; what is no JSON is shown as the text that it is.
fn values(pairs: Pairs) -> Fields {
    let value = |(key, text): (String, String)| (key, raw_or_text(&text));
    pairs.into_iter().map(value).collect()
}
