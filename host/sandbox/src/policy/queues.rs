//! In which queues an attempt may add, look at and remove jobs.

use crate::names::QueueRef;

/// The queues that an attempt may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAccess {
    /// All queues of this prefix.
    pub whole_prefix: Option<String>,
    /// These queues.
    pub queues: Vec<QueueRef>,
}

impl QueueAccess {
    /// What `grants.queues` says: names, `prefix:name` for one of another prefix, `*` for all of the prefix of
    /// the host, which is that of the job.
    pub fn of(granted: &[String], own_prefix: &str) -> Self {
        let mut access = QueueAccess {
            whole_prefix: None,
            queues: Vec::new(),
        };
        for name in granted {
            if name == "*" {
                access.whole_prefix = Some(own_prefix.to_owned());
            } else if name.contains(':') {
                access.queues.extend(QueueRef::parse(name));
            } else {
                access.queues.extend(QueueRef::new(own_prefix, name));
            }
        }
        access
    }

    /// True when jobs of this queue may be reached.
    pub fn admits(&self, queue: &QueueRef) -> bool {
        self.whole_prefix.as_deref() == Some(queue.prefix()) || self.queues.contains(queue)
    }
}
