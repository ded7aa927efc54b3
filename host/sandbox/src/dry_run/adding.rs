//! Adding jobs to a dry run, with the checks of BullMQ's `Queue.add` and `FlowProducer.add`.

use serde_json::{Map, Value, json};

use super::store::{Children, State, Store, StoredJob};
use crate::backend::{CallResult, FlowNode, JobError, NewJob};
use crate::names::{JobRef, QueueRef};

const PRIORITY_MAX: f64 = 2_097_151.0;
const FAILURE_POLICIES: [&str; 4] = [
    "removeDependencyOnFailure",
    "failParentOnFailure",
    "continueParentOnFailure",
    "ignoreDependencyOnFailure",
];

impl Store {
    /// Adds jobs to one queue, all or none; returns their ids.
    pub(super) fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        for job in &jobs {
            check(job)?;
            let id = job.options.get("jobId").and_then(Value::as_str);
            self.check_parent(queue, id, job.parent.as_ref())?;
        }
        let added = jobs
            .into_iter()
            .map(|job| self.add_one(queue, job, false).id);
        Ok(added.collect())
    }

    /// Adds flows, all jobs or none; returns the trees.
    pub(super) fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<Vec<Value>> {
        for flow in &flows {
            check_node(flow, true)?;
            let id = flow.job.options.get("jobId").and_then(Value::as_str);
            self.check_parent(&flow.queue, id, flow.job.parent.as_ref())?;
        }
        Ok(flows
            .into_iter()
            .map(|flow| self.add_node(flow, None))
            .collect())
    }

    fn add_node(&mut self, node: FlowNode, parent: Option<&JobRef>) -> Value {
        let FlowNode {
            queue,
            mut job,
            children,
        } = node;
        if let Some(parent) = parent {
            job.parent = Some(parent.clone());
        }
        if !job.options.contains_key("jobId") {
            // As in BullMQ, a job of a flow never gets a number.
            self.ids_made += 1;
            let id = format!("flow-job-{}", self.ids_made);
            job.options.insert("jobId".into(), json!(id));
        }
        let name = job.name.clone();
        let id = self.add_one(&queue, job, !children.is_empty());
        let children: Vec<Value> = children
            .into_iter()
            .map(|child| self.add_node(child, Some(&id)))
            .collect();
        let mut tree =
            json!({ "id": id.id, "key": id.to_string(), "name": name, "queueName": queue.name() });
        if !children.is_empty() {
            tree["children"] = Value::Array(children);
        }
        tree
    }

    fn check_parent(
        &self,
        queue: &QueueRef,
        id: Option<&str>,
        parent: Option<&JobRef>,
    ) -> CallResult<()> {
        let Some(parent) = parent else { return Ok(()) };
        if !self.jobs.contains_key(parent) {
            return Err(JobError::NotFound(format!(
                "Missing key for parent job {parent}. addJob"
            )));
        }
        let Some(id) = id else { return Ok(()) };
        let job = JobRef {
            queue: queue.clone(),
            id: id.to_owned(),
        };
        let other = self.jobs.get(&job).and_then(|job| job.parent.as_ref());
        if let Some(other) = other.filter(|other| *other != parent && self.jobs.contains_key(other))
        {
            return Err(JobError::Invalid(format!(
                "The parent job {other} cannot be replaced. addJob"
            )));
        }
        let mut above = Some(parent);
        while let Some(ancestor) = above {
            if *ancestor == job {
                return Err(JobError::Invalid(format!(
                    "The parent job {parent} is a descendant of its new child. addJob"
                )));
            }
            above = self
                .jobs
                .get(ancestor)
                .and_then(|above| above.parent.as_ref());
        }
        Ok(())
    }

    fn add_one(&mut self, queue: &QueueRef, new: NewJob, waits_for_children: bool) -> JobRef {
        let now_ms = self.now_ms;
        let state = self.queue(queue);
        state.counter += 1;
        let id = match new.options.get("jobId").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => state.counter.to_string(),
        };
        let deduplication = new.options.get("deduplication").cloned();
        if let Some(holder) =
            deduplication.and_then(|wanted| state.deduplicate(&wanted, &id, now_ms))
            && holder != id
        {
            return JobRef {
                queue: queue.clone(),
                id: holder,
            };
        }
        let id = JobRef {
            queue: queue.clone(),
            id,
        };
        if self.jobs.contains_key(&id) {
            self.adopt(&id, new.parent);
            return id;
        }
        let job = self.stored(new);
        if let Some(parent) = &job.parent
            && let Some(parent) = self.jobs.get_mut(parent)
        {
            parent.children.pending.insert(id.clone());
        }
        self.jobs.insert(id.clone(), job);
        if !waits_for_children {
            self.enqueue(&id);
        }
        id
    }

    /// A job of this id is there: it becomes the child of this parent, and nothing is added.
    fn adopt(&mut self, id: &JobRef, parent: Option<JobRef>) {
        let (Some(parent), Some(job)) = (parent, self.jobs.get_mut(id)) else {
            return;
        };
        job.parent = Some(parent.clone());
        let value = job.returnvalue.clone().unwrap_or_else(|| "null".into());
        let is_completed = job.state == State::Completed;
        let Some(parent_job) = self.jobs.get_mut(&parent) else {
            return;
        };
        if is_completed {
            parent_job.children.processed.insert(id.clone(), value);
            self.release_if_free(&parent);
        } else {
            parent_job.children.pending.insert(id.clone());
        }
    }

    fn stored(&mut self, new: NewJob) -> StoredJob {
        let number = |name: &str| new.options.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let timestamp = match number("timestamp") as u64 {
            0 => self.now_ms,
            timestamp => timestamp,
        };
        let (delay_ms, priority) = (number("delay") as u64, number("priority") as u32);
        StoredJob {
            name: new.name,
            data: new.data,
            options: new.options,
            state: State::WaitingChildren,
            progress: "0".into(),
            logs: Vec::new(),
            returnvalue: None,
            failed_reason: None,
            stacktrace: Vec::new(),
            attempts_made: 0,
            attempts_started: 0,
            timestamp,
            parent: new.parent,
            delay_ms,
            priority,
            deferred_failure: None,
            children: Children::default(),
            rank: self.next_rank(),
        }
    }
}

impl super::store::QueueState {
    /// Claims a deduplication id, or returns the job that holds it.
    fn deduplicate(&mut self, wanted: &Value, id: &str, now_ms: u64) -> Option<String> {
        let name = wanted.get("id")?.as_str()?;
        let ttl = wanted
            .get("ttl")
            .and_then(Value::as_u64)
            .filter(|ttl| *ttl > 0);
        let until = ttl.map(|ttl| now_ms.saturating_add(ttl));
        let extends = wanted.get("extend").and_then(Value::as_bool) == Some(true);
        match self.deduplicated.get_mut(name) {
            Some((holder, held_until)) if held_until.is_none_or(|until| until > now_ms) => {
                if extends && until.is_some() {
                    *held_until = until;
                }
                Some(holder.clone())
            }
            _ => {
                self.deduplicated
                    .insert(name.to_owned(), (id.to_owned(), until));
                None
            }
        }
    }
}

fn invalid(reason: impl Into<String>) -> CallResult<()> {
    Err(JobError::Invalid(reason.into()))
}

fn check_node(node: &FlowNode, is_root: bool) -> CallResult<()> {
    let in_node = |error: JobError| match error {
        JobError::Invalid(reason) => {
            JobError::Invalid(format!("job `{}` of the flow: {reason}", node.job.name))
        }
        other => other,
    };
    check_flow_options(node, is_root).map_err(in_node)?;
    check(&node.job).map_err(in_node)?;
    node.children
        .iter()
        .try_for_each(|child| check_node(child, false))
}

fn check_flow_options(node: &FlowNode, is_root: bool) -> CallResult<()> {
    for refused in ["repeat", "deduplication", "debounce"] {
        if node.job.options.contains_key(refused) {
            return invalid(format!("`{refused}` cannot be used in a flow"));
        }
    }
    let id = node.job.options.get("jobId").and_then(Value::as_str);
    if id.is_some_and(|id| id.contains(':')) {
        return invalid("Custom Id cannot contain :");
    }
    if !is_root && node.job.parent.is_some() {
        return invalid("`parent` belongs on the root only");
    }
    Ok(())
}

fn check(job: &NewJob) -> CallResult<()> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&job.data) {
        return invalid(format!("data is not JSON: {error}"));
    }
    check_id(&job.options)?;
    check_numbers(&job.options)?;
    let set = |name: &&str| job.options.get(*name) == Some(&Value::Bool(true));
    let policies: Vec<&str> = FAILURE_POLICIES.into_iter().filter(set).collect();
    if policies.len() > 1 {
        return invalid(format!(
            "The following options cannot be used together: {}",
            policies.join(", ")
        ));
    }
    if job.options.contains_key("debounce") {
        return invalid("Debounce option has been removed. Use deduplication option instead");
    }
    if job.options.contains_key("repeat") {
        return invalid("`repeat` is no option of a job, use a job scheduler");
    }
    let Some(deduplication) = job.options.get("deduplication") else {
        return Ok(());
    };
    let id = deduplication.get("id").and_then(Value::as_str);
    if id.is_none_or(str::is_empty) {
        return invalid("Deduplication id must be provided");
    }
    if job.parent.is_some() {
        return invalid("Deduplication and parent options cannot be used together");
    }
    Ok(())
}

fn check_id(options: &Map<String, Value>) -> CallResult<()> {
    let Some(id) = options.get("jobId") else {
        return Ok(());
    };
    let Some(id) = id.as_str().filter(|id| !id.is_empty()) else {
        return invalid("`jobId` must be a text");
    };
    if id == "0" || id.starts_with("0:") {
        return invalid("JobId cannot be '0' or start with '0:'");
    }
    if id
        .parse::<i64>()
        .is_ok_and(|number| number.to_string() == id)
    {
        return invalid("Custom Id cannot be integers");
    }
    if id.contains(':') && id.split(':').count() != 3 {
        return invalid("Custom Id cannot contain :");
    }
    Ok(())
}

fn check_numbers(options: &Map<String, Value>) -> CallResult<()> {
    for name in ["delay", "priority", "timestamp"] {
        let value = options.get(name);
        if value.is_some_and(|value| value.as_f64().is_none_or(|number| number < 0.0)) {
            return invalid(format!("`{name}` must be a number, 0 or more"));
        }
    }
    let priority = options.get("priority").and_then(Value::as_f64);
    if priority.is_some_and(|priority| priority.fract() != 0.0) {
        return invalid("Priority should not be float");
    }
    if priority.is_some_and(|priority| priority > PRIORITY_MAX) {
        return invalid(format!("Priority should be between 0 and {PRIORITY_MAX}"));
    }
    Ok(())
}
