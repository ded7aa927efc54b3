//! Adding jobs to a dry run, with the checks of BullMQ's `Queue.add` and `FlowProducer.add`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use toril_options::{JobOptions, NewOptions, js};

use super::store::{Children, State, Store, StoredJob};
use crate::backend::{CallResult, FlowNode, JobError, NewJob};
use crate::names::{JobRef, QueueRef};

impl Store {
    /// Adds jobs to one queue, all or none; returns their ids.
    pub(super) fn add(&mut self, queue: &QueueRef, jobs: Vec<NewJob>) -> CallResult<Vec<String>> {
        let read: Vec<NewOptions> = jobs.iter().map(read).collect::<Result<_, _>>()?;
        for (job, options) in jobs.iter().zip(&read) {
            self.check_parent(queue, options.id.as_deref(), job.parent.as_ref())?;
        }
        let added = jobs
            .into_iter()
            .zip(read)
            .map(|(job, options)| self.add_one(queue, job, options, false).id);
        Ok(added.collect())
    }

    /// Adds a job of a scheduler, whose id no producer may give.
    pub(super) fn add_scheduled(
        &mut self,
        queue: &QueueRef,
        mut job: NewJob,
        id: &str,
    ) -> CallResult<()> {
        // What a scheduler sets for each of its jobs, or does not check, says nothing in its template.
        job.parent = None;
        job.options
            .retain(|name, _| name != "jobId" && !name.ends_with("OnFailure"));
        if let Some(Value::Number(priority)) = job.options.get("priority") {
            let whole = priority.as_f64().unwrap_or(0.0).floor() as i64;
            job.options.insert("priority".into(), whole.into());
        }
        let mut options = read(&job)?;
        options.id = Some(id.to_owned());
        self.add_one(queue, job, options, false);
        Ok(())
    }

    /// Adds flows, all jobs or none; returns the trees.
    pub(super) fn add_flows(&mut self, flows: Vec<FlowNode>) -> CallResult<Vec<Value>> {
        for flow in &flows {
            let id = check_node(flow, true)?.id;
            self.check_parent(&flow.queue, id.as_deref(), flow.job.parent.as_ref())?;
        }
        flows
            .into_iter()
            .map(|flow| self.add_node(flow, None))
            .collect()
    }

    fn add_node(&mut self, node: FlowNode, parent: Option<&JobRef>) -> CallResult<Value> {
        let FlowNode {
            queue,
            mut job,
            children,
        } = node;
        if let Some(parent) = parent {
            job.parent = Some(parent.clone());
        }
        let options = job.options_with_parent();
        let mut options = read_node(&job, &options, !children.is_empty())?;
        if options.id.is_none() {
            // As in BullMQ, a job of a flow never gets a number.
            self.ids_made += 1;
            options.id = Some(format!("flow-job-{}", self.ids_made));
        }
        let name = job.name.clone();
        let id = self.add_one(&queue, job, options, !children.is_empty());
        let children: Vec<Value> = children
            .into_iter()
            .map(|child| self.add_node(child, Some(&id)))
            .collect::<Result<_, _>>()?;
        let mut tree =
            json!({ "id": id.id, "key": id.to_string(), "name": name, "queueName": queue.name() });
        if !children.is_empty() {
            tree["children"] = Value::Array(children);
        }
        Ok(tree)
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

    fn add_one(
        &mut self,
        queue: &QueueRef,
        new: NewJob,
        mut options: NewOptions,
        waits_for_children: bool,
    ) -> JobRef {
        let now_ms = self.now_ms;
        let state = self.queue(queue);
        state.counter += 1;
        let counted = || state.counter.to_string();
        let id = options.id.take().unwrap_or_else(counted);
        if let Some(holder) = options
            .deduplication
            .take()
            .and_then(|wanted| state.deduplicate(&wanted, &id, now_ms))
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
            let record = options.parent.map(|(_, record)| record.to_string());
            self.adopt(&id, new.parent, record);
            return id;
        }
        let lifo = options.lifo;
        let job = self.stored(new, options);
        if let Some(parent) = &job.parent
            && let Some(parent) = self.jobs.get_mut(parent)
        {
            parent.children.pending.insert(id.clone());
        }
        self.jobs.insert(id.clone(), job);
        if !waits_for_children {
            self.enqueue(&id, lifo);
        }
        id
    }

    /// A job of this id is there: it becomes the child of this parent, and nothing is added.
    fn adopt(&mut self, id: &JobRef, parent: Option<JobRef>, record: Option<String>) {
        let (Some(parent), Some(job)) = (parent, self.jobs.get_mut(id)) else {
            return;
        };
        (job.parent, job.parent_record) = (Some(parent.clone()), record);
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

    fn stored(&mut self, new: NewJob, options: NewOptions) -> StoredJob {
        let deduplication_id = new
            .options
            .get("deduplication")
            .and_then(|options| options.get("id"))
            .map(js::to_text);
        let given = options.timestamp.map(|time| time.max(0) as u64);
        StoredJob {
            name: new.name,
            data: new.data,
            options: new.options,
            state: State::WaitingChildren,
            progress: "0".into(),
            logs: Vec::new(),
            steps: BTreeMap::new(),
            returnvalue: None,
            failed_reason: None,
            stacktrace: Vec::new(),
            attempts_made: 0,
            attempts_started: 0,
            timestamp: given.unwrap_or(self.now_ms),
            parent: new.parent,
            processed_on: 0,
            deduplication_id,
            delay_ms: options.delay_ms.max(0) as u64,
            priority: options.priority,
            read_options: JobOptions::parse(&options.stored),
            stored_options: options.stored,
            parent_record: options.parent.map(|(_, record)| record.to_string()),
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
        let ttl = wanted.get("ttl").and_then(Value::as_f64);
        let ttl = ttl.filter(|ttl| *ttl > 0.0);
        let until = ttl.map(|ttl| now_ms.saturating_add(ttl as u64));
        // As Lua decides it.
        let extends = !matches!(wanted.get("extend"), None | Some(Value::Bool(false)));
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

/// Checks a node and all below it; reads its options.
fn check_node(node: &FlowNode, is_root: bool) -> CallResult<NewOptions> {
    let mut options = node.job.options_with_parent();
    if !is_root {
        // The one above it, which has no id yet.
        options.insert("parent".into(), json!({ "id": "0", "queue": "0:0" }));
    }
    let options = read_node(&node.job, &options, !node.children.is_empty());
    let options = options.map_err(|error| match error {
        JobError::Invalid(reason) => {
            JobError::Invalid(format!("job `{}` of the flow: {reason}", node.job.name))
        }
        other => other,
    })?;
    for child in &node.children {
        check_node(child, false)?;
    }
    Ok(options)
}

fn read_node(
    job: &NewJob,
    options: &Map<String, Value>,
    has_children: bool,
) -> CallResult<NewOptions> {
    check_data(job)?;
    NewOptions::of_node(&job.name, &job.data, options, has_children).map_err(JobError::Invalid)
}

fn check_data(job: &NewJob) -> CallResult<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(&job.data)
        .map(drop)
        .map_err(|error| JobError::Invalid(format!("data is not JSON: {error}")))
}

/// Checks a job and reads its options.
fn read(job: &NewJob) -> CallResult<NewOptions> {
    check_data(job)?;
    NewOptions::read(&job.name, &job.data, &job.options_with_parent()).map_err(JobError::Invalid)
}
