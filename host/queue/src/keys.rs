//! The names of a queue's keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::error::QueueError;

/// The name of a queue: not empty, and without `:`, which separates the parts of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, QueueError> {
        if name.is_empty() || name.contains(':') {
            return Err(QueueError::Invalid(format!(
                "queue name `{name}` is empty or contains `:`"
            )));
        }
        Ok(QueueName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for QueueName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Hashes and compares as its text, so that a map by name is asked with a `&str`.
impl std::borrow::Borrow<str> for QueueName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for QueueName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for QueueName {
    type Err = QueueError;

    fn from_str(name: &str) -> Result<Self, QueueError> {
        QueueName::new(name)
    }
}

impl TryFrom<String> for QueueName {
    type Error = QueueError;

    fn try_from(name: String) -> Result<Self, QueueError> {
        QueueName::new(&name)
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> String {
        name.0.to_string()
    }
}

/// The keys of one queue: `prefix:queue:…`.
#[derive(Clone, Debug)]
pub struct QueueKeys {
    base: Arc<str>,
    /// Names the queue in each call of a script.
    meta: Arc<str>,
    name: QueueName,
}

impl QueueKeys {
    /// The keys of the queue of this name, under a prefix.
    pub fn new(prefix: &str, name: &QueueName) -> Self {
        QueueKeys {
            base: format!("{prefix}:{name}").into(),
            meta: format!("{prefix}:{name}:meta").into(),
            name: name.clone(),
        }
    }

    /// `prefix:queue`, which BullMQ calls the qualified name.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The key by which scripts know the queue: one that BullMQ names, too, so that rights for BullMQ's keys do.
    pub(crate) fn meta(&self) -> &str {
        &self.meta
    }

    /// The prefix, `bull` unless configured.
    pub fn prefix(&self) -> &str {
        &self.base[..self.base.len() - self.name.len() - 1]
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue's name, as it was checked.
    pub fn queue_name(&self) -> &QueueName {
        &self.name
    }

    /// Its name and its qualified name, for those who keep them.
    pub fn names(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.name.0), Arc::clone(&self.base))
    }

    /// The hash of a job, which is also its key in flows: `prefix:queue:id`.
    pub fn job(&self, id: &str) -> String {
        format!("{}:{id}", self.base)
    }

    /// Any other key of the queue, such as `marker`.
    pub fn of(&self, name: &str) -> String {
        format!("{}:{name}", self.base)
    }

    /// The name that BullMQ's `getWorkers` looks for in `CLIENT LIST`.
    pub fn client_name(&self, worker: Option<&str>) -> String {
        let queue = base64::engine::general_purpose::STANDARD.encode(self.name());
        match worker {
            Some(worker) => format!("{}:{queue}:w:{worker}", self.prefix()),
            None => format!("{}:{queue}", self.prefix()),
        }
    }
}

/// The part of a key that decides where a cluster keeps it, if it has one.
pub(crate) fn hash_tag(key: &str) -> Option<&str> {
    let (_, behind) = key.split_once('{')?;
    let (tag, _) = behind.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_bullmq() {
        let keys = QueueKeys::new("{bull}", &QueueName::new("paint").unwrap());
        assert_eq!(keys.base(), "{bull}:paint");
        assert_eq!((keys.prefix(), keys.name()), ("{bull}", "paint"));
        assert_eq!(keys.job("7"), "{bull}:paint:7");
        assert_eq!(keys.client_name(None), "{bull}:cGFpbnQ=");
        assert_eq!(keys.client_name(Some("w1")), "{bull}:cGFpbnQ=:w:w1");
    }

    #[test]
    fn names_that_would_reach_other_keys_are_refused() {
        for name in ["", ":", "a:b"] {
            let error = QueueName::new(name).unwrap_err().to_string();
            assert!(error.contains("is empty or contains `:`"), "{error}");
        }
        assert!(serde_json::from_str::<QueueName>("\"a:b\"").is_err());
        assert_eq!(
            serde_json::from_str::<QueueName>("\"a\"").unwrap().as_str(),
            "a"
        );
    }

    #[test]
    fn tag_is_what_a_cluster_takes_for_it() {
        for (key, tag) in [
            ("bull:paint", None),
            ("{bull}:paint", Some("bull")),
            ("a{b}{c}", Some("b")),
            ("{}a{b}", None),
            ("{a", None),
        ] {
            assert_eq!(hash_tag(key), tag, "{key}");
        }
    }
}
