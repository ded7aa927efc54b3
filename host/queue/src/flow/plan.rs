//! Plans flows: checks each node, gives each job its id and puts parents before their children.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use toril_options::json;

use super::node::{FlowJob, FlowNode, FlowOptions};
use crate::error::QueueError;
use crate::keys::{QueueKeys, QueueName};
use crate::new_job::NewJob;

/// Redis takes about a million arguments in one call; this is half of what that admits.
const NODES_MAX: usize = 40_000;

pub(super) struct PlannedJob {
    pub(super) base: String,
    pub(super) job: NewJob,
    name: String,
    queue_name: String,
    pub(super) waits_for_children: bool,
    /// Where its parent stands in the plan.
    parent: Option<usize>,
}

/// The jobs of flows, level by level, parents before children: the order in which BullMQ adds them.
pub(super) struct Plan {
    pub(super) jobs: Vec<PlannedJob>,
}

impl Plan {
    pub(super) fn new(
        prefix: &str,
        roots: Vec<FlowNode>,
        options: &FlowOptions,
    ) -> Result<Self, QueueError> {
        let mut plan = Plan { jobs: Vec::new() };
        let mut level: Vec<(FlowNode, Option<usize>)> =
            roots.into_iter().map(|root| (root, None)).collect();
        for _ in 0..json::FLOW_LEVELS_MAX {
            let mut next = Vec::new();
            for (mut node, parent) in level {
                let children = node.children.take().unwrap_or_default();
                let at = plan.push(prefix, node, parent, !children.is_empty(), options)?;
                next.extend(children.into_iter().map(|child| (child, Some(at))));
            }
            if next.is_empty() {
                plan.check_circles()?;
                return Ok(plan);
            }
            level = next;
        }
        Err(QueueError::Invalid(json::too_many_levels()))
    }

    fn push(
        &mut self,
        prefix: &str,
        node: FlowNode,
        parent: Option<usize>,
        waits_for_children: bool,
        options: &FlowOptions,
    ) -> Result<usize, QueueError> {
        if self.jobs.len() == NODES_MAX {
            return Err(QueueError::Invalid(format!(
                "flow has more than {NODES_MAX} jobs"
            )));
        }
        let in_node = |error: QueueError| match error {
            QueueError::Invalid(reason) => {
                QueueError::Invalid(format!("job `{}` of the flow: {reason}", node.name))
            }
            other => other,
        };
        let name = QueueName::new(&node.queue_name).map_err(in_node)?;
        let keys = QueueKeys::new(node.prefix.as_deref().unwrap_or(prefix), &name);
        let base = keys.base().to_owned();
        let opts = self.node_options(&node, parent, options).map_err(in_node)?;
        let data = node.data.as_ref().map_or("{}", |data| data.get());
        let job = NewJob::new(&node.name, data, opts)
            .map_err(in_node)?
            .with_some_id();
        let FlowNode {
            name, queue_name, ..
        } = node;
        self.jobs.push(PlannedJob {
            base,
            job,
            name,
            queue_name,
            waits_for_children,
            parent,
        });
        Ok(self.jobs.len() - 1)
    }

    fn node_options(
        &self,
        node: &FlowNode,
        parent: Option<usize>,
        options: &FlowOptions,
    ) -> Result<Map<String, Value>, QueueError> {
        let invalid = |reason: &str| Err(QueueError::Invalid(reason.to_owned()));
        let defaults = options.queues_options.get(&node.queue_name);
        let mut opts = defaults
            .map(|queue| queue.default_job_options.clone())
            .unwrap_or_default();
        opts.extend(node.opts.clone().unwrap_or_default());
        for refused in ["repeat", "deduplication", "debounce"] {
            if opts.get(refused).is_some_and(|option| !option.is_null()) {
                return invalid(&format!("`{refused}` cannot be used in a flow"));
            }
        }
        let has_colon = |id: &Value| id.as_str().is_some_and(|id| id.contains(':'));
        if opts.get("jobId").is_some_and(has_colon) {
            return invalid("Custom Id cannot contain :");
        }
        if let Some(parent) = parent {
            if opts.get("parent").is_some_and(|parent| !parent.is_null()) {
                return invalid("`parent` belongs on the root only");
            }
            let parent = &self.jobs[parent];
            opts.insert(
                "parent".into(),
                json!({ "id": parent.job.id(), "queue": parent.base }),
            );
        }
        Ok(opts)
    }

    /// A job cannot be its own ancestor. Two nodes with one id elsewhere are one job, as in BullMQ.
    fn check_circles(&self) -> Result<(), QueueError> {
        for planned in &self.jobs {
            let mut seen = HashSet::from([(planned.base.as_str(), planned.job.id())]);
            let mut above = planned.parent;
            while let Some(at) = above {
                let parent = &self.jobs[at];
                if !seen.insert((&parent.base, parent.job.id())) {
                    let id = parent.job.id().unwrap_or_default();
                    return Err(QueueError::Invalid(format!(
                        "job `{id}` of queue `{}` is its own ancestor in the flow",
                        parent.queue_name
                    )));
                }
                above = parent.parent;
            }
        }
        Ok(())
    }

    /// Folds the plan into trees, from its end: children stand after their parents.
    pub(super) fn trees(&self) -> Vec<FlowJob> {
        let mut children: Vec<Vec<FlowJob>> = self.jobs.iter().map(|_| Vec::new()).collect();
        let mut roots = Vec::new();
        for (at, planned) in self.jobs.iter().enumerate().rev() {
            let mut own = std::mem::take(&mut children[at]);
            own.reverse();
            let id = planned.job.id().unwrap_or_default().to_owned();
            let tree = FlowJob {
                key: format!("{}:{id}", planned.base),
                id,
                name: planned.name.clone(),
                queue_name: planned.queue_name.clone(),
                children: own,
            };
            match planned.parent {
                Some(parent) => children[parent].push(tree),
                None => roots.push(tree),
            }
        }
        roots.reverse();
        roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::node::parse_flow;

    fn plan(flow: Value) -> Result<Plan, QueueError> {
        Plan::new(
            "bull",
            vec![parse_flow(&flow.to_string())?],
            &FlowOptions::default(),
        )
    }

    fn chain(levels: usize) -> Value {
        let leaf = json!({ "name": "n", "queueName": "q" });
        (1..levels).fold(
            leaf,
            |child, _| json!({ "name": "n", "queueName": "q", "children": [child] }),
        )
    }

    #[test]
    fn jobs_are_planned_level_by_level() {
        let node = |name: &str, children: Value| json!({ "name": name, "queueName": "q", "children": children });
        let flow = node(
            "r",
            json!([
                node("a", json!([node("a1", json!([]))])),
                node("b", json!([]))
            ]),
        );
        let plan = plan(flow).unwrap();
        let names: Vec<_> = plan
            .jobs
            .iter()
            .map(|planned| planned.name.as_str())
            .collect();
        assert_eq!(names, ["r", "a", "b", "a1"]);
        let trees = plan.trees();
        assert_eq!(trees.len(), 1);
        assert_eq!(
            trees[0]
                .children
                .iter()
                .map(|child| child.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(trees[0].children[0].children[0].name, "a1");
    }

    #[test]
    fn flows_are_limited_in_depth_without_recursing() {
        assert_eq!(plan(chain(100)).unwrap().jobs.len(), 100);
        for levels in [101, 1000] {
            assert_eq!(
                plan(chain(levels)).err().unwrap().to_string(),
                "flow has more than 100 levels"
            );
        }
        let open = "{\"children\":[".repeat(1_000_000);
        assert_eq!(
            parse_flow::<FlowNode>(&open).unwrap_err().to_string(),
            "flow has more than 100 levels"
        );
    }

    #[test]
    fn what_a_flow_cannot_have_is_refused_by_name() {
        let refused = |opts: Value, child: Value| {
            let flow = json!({ "name": "root", "queueName": "q", "opts": opts,
                "children": [{ "name": "child", "queueName": "q", "opts": child }] });
            plan(flow).err().unwrap().to_string()
        };
        assert_eq!(
            refused(json!({ "jobId": "a:b" }), json!({})),
            "job `root` of the flow: Custom Id cannot contain :"
        );
        assert_eq!(
            refused(json!({ "jobId": "a:b:c" }), json!({})),
            "job `root` of the flow: Custom Id cannot contain :"
        );
        assert!(
            refused(json!({}), json!({ "repeat": { "every": 1 } }))
                .contains("`repeat` cannot be used")
        );
        assert!(
            refused(json!({ "deduplication": { "id": "x" } }), json!({}))
                .contains("`deduplication` cannot")
        );
        assert!(refused(json!({}), json!({ "parent": {} })).contains("root only"));
        assert_eq!(
            refused(json!({ "jobId": "x" }), json!({ "jobId": "x" })),
            "job `x` of queue `q` is its own ancestor in the flow"
        );
        let typo = parse_flow::<FlowNode>(r#"{"name":"a","queue":"q"}"#)
            .unwrap_err()
            .to_string();
        assert!(typo.contains("unknown field `queue`"), "{typo}");
    }

    #[test]
    fn defaults_are_those_of_the_queue_given_with_the_flow() {
        let options: FlowOptions =
            serde_json::from_value(json!({ "queuesOptions": { "q": { "defaultJobOptions": { "attempts": 7, "lifo": true } } } }))
                .unwrap();
        let flow = parse_flow(r#"{"name":"n","queueName":"q","opts":{"attempts":2}}"#).unwrap();
        let plan = Plan::new("bull", vec![flow], &options).unwrap();
        let stored: Value = serde_json::from_str(plan.jobs[0].job.opts_json()).unwrap();
        assert_eq!(stored, json!({ "attempts": 2, "lifo": true }));
    }
}
