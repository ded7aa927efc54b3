//! The names by which a guest speaks of queues and jobs. `prefix:queue` is split here and nowhere else.

use std::fmt;

/// A queue by prefix and name. Its name is not empty and has no `:`, its prefix is not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueRef {
    prefix: String,
    name: String,
}

/// A job by queue and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobRef {
    /// Its queue.
    pub queue: QueueRef,
    /// Its id.
    pub id: String,
}

/// Why a name names no queue or no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It is not the name of a queue.
    #[error("queue name `{0}` is empty or contains `:`")]
    Queue(String),
    /// It is not `prefix:queue`.
    #[error("`{0}` is not a queue: it must be `prefix:queue`")]
    QualifiedName(String),
}

impl QueueRef {
    /// The queue of this prefix and name.
    pub fn new(prefix: &str, name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() || name.contains(':') {
            return Err(InvalidName::Queue(name.to_owned()));
        }
        if prefix.is_empty() {
            return Err(InvalidName::QualifiedName(format!(":{name}")));
        }
        Ok(QueueRef {
            prefix: prefix.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Splits `prefix:queue`. The prefix may contain `:`, the name cannot, so there is one way to do it.
    pub fn parse(qualified: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::QualifiedName(qualified.to_owned());
        let (prefix, name) = qualified.rsplit_once(':').ok_or_else(invalid)?;
        QueueRef::new(prefix, name).map_err(|_| invalid())
    }

    /// Its prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `prefix:queue`.
impl fmt::Display for QueueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.prefix, self.name)
    }
}

/// `prefix:queue:id`.
impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.queue, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualified_names_are_split_in_one_way() {
        let queue = QueueRef::parse("a:b:paint").unwrap();
        assert_eq!((queue.prefix(), queue.name()), ("a:b", "paint"));
        assert_eq!(queue.to_string(), "a:b:paint");
        for invalid in ["session", "bull:", ":paint", "", ":"] {
            let error = QueueRef::parse(invalid).unwrap_err();
            assert_eq!(error, InvalidName::QualifiedName(invalid.to_owned()));
        }
        assert!(QueueRef::new("bull", "a:b").is_err() && QueueRef::new("bull", "").is_err());
    }
}
