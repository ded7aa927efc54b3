//! What a processor may do beyond its own job. Nothing, unless the operator says so.

use serde::Deserialize;

/// The rights of one queue's processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Queues in which it may add, look at and remove jobs: names, `prefix:name` for one of another prefix,
    /// `*` for all of the host's prefix.
    pub queues: Vec<String>,
}

impl Grants {
    /// True when jobs of this queue may be touched. `prefix` is given where it is not the host's.
    pub fn admits_queue(&self, prefix: Option<&str>, name: &str) -> bool {
        self.queues.iter().any(|granted| match prefix {
            None => granted == "*" || granted == name,
            Some(prefix) => {
                granted
                    .strip_prefix(prefix)
                    .and_then(|rest| rest.strip_prefix(':'))
                    == Some(name)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_unless_named() {
        assert!(!Grants::default().admits_queue(None, "paint"));
        let grants = Grants {
            queues: vec!["paint".into(), "other:fix".into()],
        };
        assert!(grants.admits_queue(None, "paint") && grants.admits_queue(Some("other"), "fix"));
        assert!(!grants.admits_queue(None, "fix") && !grants.admits_queue(Some("other"), "paint"));
        let all = Grants {
            queues: vec!["*".into()],
        };
        assert!(all.admits_queue(None, "any") && !all.admits_queue(Some("other"), "any"));
    }
}
