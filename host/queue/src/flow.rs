//! Flows: trees of jobs, added in one call and looked at as a whole.

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::add::{Entry, add_entries};
use crate::{DependenciesQuery, JobState, NewJob, Page, Queue, QueueError, Redis};

/// Deeper flows are refused: each level costs a round through every queue below it.
const DEPTH_MAX: usize = 100;
/// Redis takes about a million arguments in one call; this is half of what that admits.
const NODES_MAX: usize = 40_000;
/// A shown flow is cut here, whatever depth and breadth were asked for.
const SHOWN_MAX: usize = 10_000;

/// A node of a flow, as BullMQ's `FlowJob`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowNode {
    /// The job's name.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Any JSON; `{}` where absent.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// The prefix of its queue, where it is not the producer's.
    #[serde(default)]
    pub prefix: Option<String>,
    /// BullMQ's `JobsOptions`; `parent` on the root only.
    #[serde(default)]
    pub opts: Option<Map<String, Value>>,
    /// The jobs that it waits for.
    #[serde(default)]
    pub children: Option<Vec<FlowNode>>,
}

/// Options of adding flows, as BullMQ's `FlowOpts`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowOptions {
    /// By queue name. These are all the defaults there are: none are taken from elsewhere.
    pub queues_options: BTreeMap<String, FlowQueueOptions>,
}

/// Defaults for the jobs of one queue.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowQueueOptions {
    /// Laid under the options of each job.
    pub default_job_options: Map<String, Value>,
}

/// A job of a flow that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowJob {
    /// The job's id.
    pub id: String,
    /// `prefix:queue:id`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its queue.
    pub queue_name: String,
    /// Its children, in the order in which they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FlowJob>,
}

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
    /// JSON, where it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returnvalue: Option<Value>,
    /// Why it failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_reason: Option<String>,
    /// Its children.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FlowTree>,
}

/// Draws the tree, a line per job: its name, state, queue and id, and what came of it.
impl std::fmt::Display for FlowTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.draw(f, "", "")
    }
}

impl FlowTree {
    fn draw(&self, f: &mut std::fmt::Formatter<'_>, first: &str, rest: &str) -> std::fmt::Result {
        let FlowTree {
            name,
            state,
            queue_name,
            id,
            ..
        } = self;
        write!(f, "{first}{name} [{state}] {queue_name}:{id}")?;
        match (self.state, &self.returnvalue, &self.failed_reason) {
            (JobState::Completed, Some(value), _) => write!(f, " = {value}")?,
            (JobState::Failed, _, Some(reason)) => write!(f, " ! {reason}")?,
            _ => {}
        }
        for (at, child) in self.children.iter().enumerate() {
            let last = at + 1 == self.children.len();
            let (branch, stem) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            writeln!(f)?;
            child.draw(f, &format!("{rest}{branch}"), &format!("{rest}{stem}"))?;
        }
        Ok(())
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

/// Adds flows to, and reads them from, any queues.
#[derive(Clone)]
pub struct Flows {
    redis: Redis,
    prefix: String,
}

/// Reads a flow from JSON text. Depth is checked before anything recurses.
pub fn parse_flow<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, QueueError> {
    let invalid =
        |reason: String| QueueError::Invalid(format!("flow cannot be understood: {reason}"));
    // Two levels of JSON per level of the flow, and some for data.
    if nesting(json) > 2 * DEPTH_MAX + 100 {
        return Err(too_deep());
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let flow = T::deserialize(&mut deserializer).map_err(|error| invalid(error.to_string()))?;
    deserializer
        .end()
        .map_err(|error| invalid(error.to_string()))?;
    Ok(flow)
}

/// How deep brackets nest, outside of strings.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn too_deep() -> QueueError {
    QueueError::Invalid(format!("flow has more than {DEPTH_MAX} levels"))
}

impl Flows {
    /// Names the producer's prefix; nothing is sent to Redis.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Flows {
            redis,
            prefix: prefix.to_owned(),
        }
    }

    /// Adds flows in one call, all jobs or none, and returns the trees.
    pub async fn add(
        &self,
        roots: Vec<FlowNode>,
        options: &FlowOptions,
    ) -> Result<Vec<FlowJob>, QueueError> {
        self.plan(roots, options)?.add().await
    }

    /// Checks flows and gives each job its id. Adding the same plan again adds nothing twice.
    pub fn plan(
        &self,
        roots: Vec<FlowNode>,
        options: &FlowOptions,
    ) -> Result<FlowPlan, QueueError> {
        Ok(FlowPlan {
            redis: self.redis.clone(),
            plan: Plan::new(&self.prefix, roots, options)?,
        })
    }

    /// Reads a flow from its root, or from any job of it.
    pub async fn get(
        &self,
        queue: &str,
        id: &str,
        query: FlowQuery,
    ) -> Result<Option<FlowTree>, QueueError> {
        let queue = Queue::new(self.redis.clone(), &self.prefix, queue);
        let mut left = SHOWN_MAX;
        self.tree(
            queue,
            id.to_owned(),
            query.depth.min(DEPTH_MAX),
            query.max_children,
            &mut left,
        )
        .await
    }

    fn tree<'a>(
        &'a self,
        queue: Queue,
        id: String,
        depth: usize,
        max_children: u64,
        left: &'a mut usize,
    ) -> Pin<Box<dyn Future<Output = Result<Option<FlowTree>, QueueError>> + Send + 'a>> {
        Box::pin(async move {
            if *left == 0 {
                return Ok(None);
            }
            // In this order: a job shown as completed has its value.
            let state = queue.state(&id).await?;
            let Some(mut record) = queue.job(&id).await? else {
                return Ok(None);
            };
            *left -= 1;
            let mut children = Vec::new();
            if depth > 1 {
                for key in self.children_of(&queue, &id, max_children).await? {
                    let Some((child_queue, child_id)) = self.locate(&key) else {
                        continue;
                    };
                    children.extend(
                        self.tree(child_queue, child_id, depth - 1, max_children, left)
                            .await?,
                    );
                }
            }
            Ok(Some(FlowTree {
                key: queue.keys().job(&id),
                state,
                name: record.remove("name").unwrap_or_default(),
                queue_name: queue.keys().name().to_owned(),
                returnvalue: record
                    .remove("returnvalue")
                    .and_then(|value| serde_json::from_str(&value).ok()),
                failed_reason: record.remove("failedReason"),
                id,
                children,
            }))
        })
    }

    async fn children_of(
        &self,
        queue: &Queue,
        id: &str,
        count: u64,
    ) -> Result<Vec<String>, QueueError> {
        let page = Some(Page { cursor: 0, count });
        let query = DependenciesQuery {
            processed: page,
            unprocessed: page,
            ignored: page,
            failed: page,
        };
        let dependencies = queue.dependencies(id, &query).await?;
        let mut keys: Vec<String> = dependencies
            .processed
            .unwrap_or_default()
            .into_keys()
            .collect();
        keys.extend(dependencies.unprocessed.unwrap_or_default());
        keys.extend(dependencies.failed.unwrap_or_default());
        keys.extend(dependencies.ignored.unwrap_or_default().into_keys());
        Ok(keys)
    }

    fn locate(&self, key: &str) -> Option<(Queue, String)> {
        let (base, id) = key.rsplit_once(':')?;
        let (prefix, name) = base.rsplit_once(':')?;
        Some((Queue::new(self.redis.clone(), prefix, name), id.to_owned()))
    }
}

/// Flows that were checked and are ready to be added.
pub struct FlowPlan {
    redis: Redis,
    plan: Plan,
}

impl FlowPlan {
    /// Adds the flows in one call, all jobs or none, and returns the trees.
    pub async fn add(&self) -> Result<Vec<FlowJob>, QueueError> {
        let entries = self.plan.jobs.iter().map(|planned| Entry {
            base: &planned.base,
            job: &planned.job,
            waits_for_children: planned.waits_for_children,
        });
        add_entries(&self.redis, entries).await?;
        Ok(self.plan.trees())
    }
}

struct Planned {
    base: String,
    job: NewJob,
    name: String,
    queue_name: String,
    waits_for_children: bool,
    /// Where its parent stands in the plan.
    parent: Option<usize>,
}

/// The jobs of flows, level by level, parents before children: the order in which BullMQ adds them.
struct Plan {
    jobs: Vec<Planned>,
}

impl Plan {
    fn new(prefix: &str, roots: Vec<FlowNode>, options: &FlowOptions) -> Result<Self, QueueError> {
        let mut plan = Plan { jobs: Vec::new() };
        let mut level: Vec<(FlowNode, Option<usize>)> =
            roots.into_iter().map(|root| (root, None)).collect();
        for _ in 0..DEPTH_MAX {
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
        Err(too_deep())
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
        let base = base_key(node.prefix.as_deref().unwrap_or(prefix), &node.queue_name)
            .map_err(in_node)?;
        let opts = self.node_options(&node, parent, options).map_err(in_node)?;
        let data = node.data.as_ref().map_or("{}", |data| data.get());
        let job = NewJob::new(&node.name, data, opts)
            .map_err(in_node)?
            .with_some_id();
        let FlowNode {
            name, queue_name, ..
        } = node;
        self.jobs.push(Planned {
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
            if opts.contains_key(refused) {
                return invalid(&format!("`{refused}` cannot be used in a flow"));
            }
        }
        let has_colon = |id: &Value| id.as_str().is_some_and(|id| id.contains(':'));
        if opts.get("jobId").is_some_and(has_colon) {
            return invalid("Custom Id cannot contain :");
        }
        if let Some(parent) = parent {
            if opts.contains_key("parent") {
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
    fn trees(&self) -> Vec<FlowJob> {
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

fn base_key(prefix: &str, queue: &str) -> Result<String, QueueError> {
    if queue.is_empty() || queue.contains(':') {
        return Err(QueueError::Invalid(format!(
            "queue name `{queue}` is empty or contains `:`"
        )));
    }
    Ok(format!("{prefix}:{queue}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn trees_are_drawn_with_states_and_values() {
        let tree = |name: &str, state, children| FlowTree {
            id: "1".into(),
            key: "bull:q:1".into(),
            name: name.into(),
            queue_name: "q".into(),
            state,
            returnvalue: Some(json!(7)),
            failed_reason: Some("no".into()),
            children,
        };
        let leaf = tree("leaf", JobState::Failed, vec![]);
        let branch = tree("branch", JobState::WaitingChildren, vec![leaf]);
        let other = tree("other", JobState::Completed, vec![]);
        let drawn = tree("root", JobState::Active, vec![branch, other]).to_string();
        let expected = "root [active] q:1\n├─ branch [waiting-children] q:1\n│  └─ leaf [failed] q:1 ! no\n└─ other [completed] q:1 = 7";
        assert_eq!(drawn, expected);
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
