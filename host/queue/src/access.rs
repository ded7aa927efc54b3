//! Which queues a call on behalf of somebody may reach beyond the job that it names.

use redis::Cmd;

/// Queues that were granted. A removal or a reading that would leave them is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAccess {
    /// The key of the job on whose behalf: it may be a parent wherever it is.
    pub own_job: String,
    /// All queues of this prefix.
    pub whole_prefix: Option<String>,
    /// The base keys of further queues, `prefix:queue`.
    pub bases: Vec<String>,
}

impl QueueAccess {
    /// True when jobs of this queue may be reached.
    pub fn admits(&self, base: &str) -> bool {
        let of_prefix = |prefix: &String| {
            let name = base
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_prefix(':'));
            name.is_some_and(|name| !name.is_empty() && !name.contains(':'))
        };
        self.bases.iter().any(|granted| granted == base)
            || self.whole_prefix.as_ref().is_some_and(of_prefix)
    }

    /// Adds the arguments that `lib/access.lua` reads.
    pub(crate) fn add_to(&self, call: &mut Cmd) {
        call.arg(&self.own_job)
            .arg(self.whole_prefix.as_deref().unwrap_or_default());
        for base in &self.bases {
            call.arg(base);
        }
    }
}
