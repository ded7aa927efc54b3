//! A stored flow, as it is shown.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::job_state::JobState;

/// A job of a stored flow.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowTree {
    /// The job's id.
    pub id: String,
    /// `prefix:queue:id`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Its state.
    pub state: JobState,
    /// JSON as it is stored, where it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returnvalue: Option<Box<RawValue>>,
    /// Why it failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_reason: Option<String>,
    /// Its children.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FlowTree>,
}

impl FlowTree {
    /// Draws the tree, an item per job: its name, state, queue and id, and what came of it. A name or a reason may have
    /// line breaks in it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.draw(&mut lines, "", "");
        lines
    }

    fn draw(&self, lines: &mut Vec<String>, first: &str, rest: &str) {
        let FlowTree {
            name,
            state,
            queue_name,
            id,
            ..
        } = self;
        let job = format!("{first}{name} [{state}] {queue_name}:{id}");
        lines.push(match (self.state, &self.returnvalue, &self.failed_reason) {
            (JobState::Completed, Some(value), _) => format!("{job} = {value}"),
            (JobState::Failed, _, Some(reason)) => format!("{job} ! {reason}"),
            _ => job,
        });
        for (at, child) in self.children.iter().enumerate() {
            let last = at + 1 == self.children.len();
            let (branch, stem) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            child.draw(lines, &format!("{rest}{branch}"), &format!("{rest}{stem}"));
        }
    }
}

/// How much of a flow to look at.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowQuery {
    /// Levels, the root included.
    pub depth: usize,
    /// Children of each kind per job.
    pub max_children: u64,
}

impl Default for FlowQuery {
    fn default() -> Self {
        FlowQuery {
            depth: 10,
            max_children: 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use toril_options::json::raw;

    use super::*;

    #[test]
    fn trees_are_drawn_with_states_and_values() {
        let tree = |name: &str, state, children| FlowTree {
            id: "1".into(),
            key: "bull:q:1".into(),
            name: name.into(),
            queue_name: "q".into(),
            state,
            returnvalue: Some(raw(&7)),
            failed_reason: Some("no".into()),
            children,
        };
        let leaf = tree("leaf", JobState::Failed, vec![]);
        let branch = tree("branch", JobState::WaitingChildren, vec![leaf]);
        let other = tree("other", JobState::Completed, vec![]);
        let drawn = tree("root", JobState::Active, vec![branch, other]).lines();
        let expected = [
            "root [active] q:1",
            "├─ branch [waiting-children] q:1",
            "│  └─ leaf [failed] q:1 ! no",
            "└─ other [completed] q:1 = 7",
        ];
        assert_eq!(drawn, expected);
    }
}
