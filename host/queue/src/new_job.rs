//! A job to be added.

use serde_json::{Map, Value};
use toril_options::NewOptions;

use crate::error::QueueError;
use crate::time::now_ms;

/// A job to be added, checked as BullMQ's `Queue.add` checks it.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub(super) name: String,
    pub(super) data: String,
    pub(super) timestamp: i64,
    /// Key, and record as JSON text.
    pub(super) parent: Option<(String, String)>,
    /// BullMQ's `DeduplicationOptions`, JSON text.
    pub(super) deduplication: Option<String>,
    pub(super) options: NewOptions,
}

impl NewJob {
    /// Checks and encodes a job. `data` is JSON text, `options` BullMQ's `JobsOptions`.
    pub fn new(name: &str, data: &str, options: Map<String, Value>) -> Result<Self, QueueError> {
        let options = NewOptions::read(name, data, &options);
        Self::of(name, data, options.map_err(QueueError::Invalid)?)
    }

    /// The template of a job scheduler, whose jobs get their options from it.
    pub fn of_template(
        name: &str,
        data: &str,
        options: &Map<String, Value>,
    ) -> Result<Self, QueueError> {
        let options = NewOptions::of_template(options);
        Self::of(name, data, options.map_err(QueueError::Invalid)?)
    }

    /// A node of a flow. Makes up an id where there is none: as in BullMQ, it does not appear in the stored options.
    pub(super) fn of_node(
        name: &str,
        data: &str,
        options: &Map<String, Value>,
        has_children: bool,
    ) -> Result<Self, QueueError> {
        let options = NewOptions::of_node(name, data, options, has_children);
        let mut options = options.map_err(QueueError::Invalid)?;
        let made_up = || uuid::Uuid::new_v4().to_string();
        options.id.get_or_insert_with(made_up);
        Self::of(name, data, options)
    }

    fn of(name: &str, data: &str, mut options: NewOptions) -> Result<Self, QueueError> {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(data) {
            return Err(QueueError::Invalid(format!("data is not JSON: {error}")));
        }
        let parent = options.parent.take();
        let deduplication = options.deduplication.take();
        Ok(NewJob {
            name: name.to_owned(),
            data: data.to_owned(),
            timestamp: options.timestamp.unwrap_or(now_ms() as i64),
            parent: parent.map(|(key, record)| (key, record.to_string())),
            deduplication: deduplication.map(|options| options.to_string()),
            options,
        })
    }

    /// The options as they are stored.
    pub fn opts_json(&self) -> &str {
        &self.options.stored
    }

    /// The id that it was given, if it was.
    pub fn id(&self) -> Option<&str> {
        self.options.id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_is_not_json_is_refused() {
        let refused = NewJob::new("paint", "{", Map::new()).unwrap_err();
        assert!(refused.to_string().contains("data is not JSON"));
    }
}
