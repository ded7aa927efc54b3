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
        let opts = self.node_options(&node, parent, options);
        let data = node.data.as_ref().map_or("{}", |data| data.get());
        let job = NewJob::of_node(&node.name, data, &opts, waits_for_children).map_err(in_node)?;
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

    /// A node's options over the defaults of its queue. Its place in the flow says what its parent is; only a root may name
    /// one, and defaults name none.
    fn node_options(
        &self,
        node: &FlowNode,
        parent: Option<usize>,
        options: &FlowOptions,
    ) -> Map<String, Value> {
        let defaults = options.queues_options.get(&node.queue_name);
        let mut opts = defaults
            .map(|queue| queue.default_job_options.clone())
            .unwrap_or_default();
        opts.remove("parent");
        opts.extend(node.opts.clone().unwrap_or_default());
        if let Some(parent) = parent {
            let parent = &self.jobs[parent];
            opts.insert(
                "parent".into(),
                json!({ "id": parent.job.id(), "queue": parent.base }),
            );
        }
        opts
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

    /// Folds the plan into trees, from its end: children stand after their parents. `ids` are those that the jobs have: that
    /// of another one where the job was a duplicate.
    pub(super) fn trees(&self, ids: Vec<String>) -> Vec<FlowJob> {
        let mut children: Vec<Vec<FlowJob>> = self.jobs.iter().map(|_| Vec::new()).collect();
        let mut roots = Vec::new();
        for ((at, planned), id) in self.jobs.iter().enumerate().zip(ids).rev() {
            let mut own = std::mem::take(&mut children[at]);
            own.reverse();
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
        let planned = plan.jobs.iter().filter_map(|job| job.job.id());
        let trees = plan.trees(planned.map(str::to_owned).collect());
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
        let duplicate = || json!({ "deduplication": { "id": "x" } });
        assert_eq!(
            refused(duplicate(), json!({})),
            "job `root` of the flow: Deduplication options cannot be used on flow nodes with children"
        );
        assert_eq!(
            refused(json!({}), duplicate()),
            "job `child` of the flow: Deduplication and parent options cannot be used together"
        );
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
    fn parent_of_a_node_is_the_one_above_it() {
        let other = json!({ "parent": { "id": 7 }, "repeat": { "every": 1 } });
        let child = json!({ "name": "child", "queueName": "q", "opts": other });
        let root = json!({ "name": "root", "queueName": "q", "opts": { "jobId": "r" }, "children": [child] });
        let plan = plan(root).unwrap();
        let (key, _) = plan.jobs[1].job.parent.as_ref().unwrap();
        assert_eq!(key, "bull:q:r");
        assert!(plan.jobs[1].job.opts_json().contains("\"every\":1"));
        assert!(plan.jobs[0].job.parent.is_none());
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
