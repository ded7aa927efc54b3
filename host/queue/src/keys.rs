//! The names of a queue's keys.

use std::sync::Arc;

use base64::Engine as _;

/// The keys of one queue: `prefix:queue:…`.
#[derive(Clone, Debug)]
pub struct QueueKeys {
    base: Arc<str>,
    name: Arc<str>,
}

impl QueueKeys {
    pub(super) fn new(prefix: &str, name: &str) -> Self {
        QueueKeys {
            base: format!("{prefix}:{name}").into(),
            name: name.into(),
        }
    }

    /// `prefix:queue`, which BullMQ calls the qualified name.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The prefix, `bull` unless configured.
    pub fn prefix(&self) -> &str {
        &self.base[..self.base.len() - self.name.len() - 1]
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name and its qualified name, for those who keep them.
    pub fn names(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.name), Arc::clone(&self.base))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_bullmq() {
        let keys = QueueKeys::new("{bull}", "paint");
        assert_eq!(keys.base(), "{bull}:paint");
        assert_eq!((keys.prefix(), keys.name()), ("{bull}", "paint"));
        assert_eq!(keys.job("7"), "{bull}:paint:7");
        assert_eq!(keys.client_name(None), "{bull}:cGFpbnQ=");
        assert_eq!(keys.client_name(Some("w1")), "{bull}:cGFpbnQ=:w:w1");
    }
}
