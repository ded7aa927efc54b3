//! `toril:processor/producer`: other jobs and other queues, as far as they were granted.

use serde_json::{Map, Value, json};

use super::bindings::toril::processor::producer::{Host, JobError, NewJob as GuestJob};
use super::job::{CallResult, job_error, options, to_json, until_answered};
use super::{Backing, JobState};
use toril_queue::{
    FlowNode, FlowOptions, FlowQuery, NewJob, Queue, QueueError, QueueName, parse_flow,
};

impl JobState {
    /// The queue of this name, if the processor may use it. None: it runs without queues.
    fn granted_queue(&self, name: &str) -> Result<Option<Queue>, JobError> {
        self.check_grant(None, name)?;
        let Backing::Queue(own) = &self.backing else {
            return Ok(None);
        };
        let name = QueueName::new(name).map_err(job_error)?;
        Ok(Some(own.sibling(&name)))
    }

    fn check_grant(&self, prefix: Option<&str>, name: &str) -> Result<(), JobError> {
        if name.is_empty() || name.contains(':') {
            return Err(JobError::Invalid(format!(
                "queue name `{name}` is empty or contains `:`"
            )));
        }
        if matches!(self.backing, Backing::Rehearsal(_))
            || self.rights.grants.admits_queue(prefix, name)
        {
            return Ok(());
        }
        let shown = prefix.map_or(name.to_owned(), |prefix| format!("{prefix}:{name}"));
        Err(JobError::Denied(format!(
            "processor of queue `{}` may not use queue `{shown}`\nhint: add it to `grants.queues` of `{}`",
            self.queue_name, self.queue_name
        )))
    }

    fn check_flow(&self, node: &FlowNode) -> Result<(), JobError> {
        let own_prefix = self
            .queue_qualified_name
            .strip_suffix(&*self.queue_name)
            .unwrap_or_default();
        let own_prefix = own_prefix.trim_end_matches(':');
        let prefix = node
            .prefix
            .as_deref()
            .filter(|prefix| *prefix != own_prefix);
        self.check_grant(prefix, &node.queue_name)?;
        node.children
            .iter()
            .flatten()
            .try_for_each(|child| self.check_flow(child))
    }

    /// Lets a new job belong to this one's trace, unless it says otherwise.
    fn continue_trace(&self, options: &mut Map<String, Value>) {
        if let Some(trace) = &self.trace {
            options
                .entry("telemetry")
                .or_insert_with(|| json!({ "metadata": trace }));
        }
    }

    fn continue_trace_in(&self, node: &mut FlowNode) {
        self.continue_trace(node.opts.get_or_insert_default());
        node.children
            .iter_mut()
            .flatten()
            .for_each(|child| self.continue_trace_in(child));
    }

    fn new_job(&self, job: &GuestJob) -> Result<NewJob, JobError> {
        self.checked("job data", &job.data)?;
        let mut options: Map<String, Value> = options("options", &job.options)?;
        self.continue_trace(&mut options);
        NewJob::new(&job.name, &job.data, options).map_err(job_error)
    }

    fn plan_flows(
        &mut self,
        flows: &str,
        flow_options: &str,
    ) -> Result<(Vec<FlowNode>, FlowOptions), JobError> {
        self.checked("flows", flows)?;
        let mut nodes: Vec<FlowNode> = parse_flow(flows).map_err(job_error)?;
        nodes
            .iter_mut()
            .for_each(|node| self.continue_trace_in(node));
        nodes.iter().try_for_each(|node| self.check_flow(node))?;
        let jobs = nodes.iter().map(count).sum();
        self.quota.add_jobs(jobs).map_err(JobError::Limit)?;
        Ok((nodes, options("options", flow_options)?))
    }

    async fn add_jobs(
        &mut self,
        queue: &str,
        jobs: Vec<GuestJob>,
    ) -> Result<Vec<String>, JobError> {
        for job in &jobs {
            self.show(|| format!("add({queue}, {}, {}, {})", job.name, job.data, job.options));
        }
        let new: Vec<NewJob> = jobs
            .iter()
            .map(|job| self.new_job(job))
            .collect::<Result<_, _>>()?;
        let granted = self.granted_queue(queue)?;
        self.quota.add_jobs(new.len()).map_err(JobError::Limit)?;
        let Some(queue) = granted else {
            return Ok((1..=jobs.len())
                .map(|number| format!("rehearsal-{number}"))
                .collect());
        };
        until_answered(|| queue.add_bulk(&new))
            .await
            .map_err(job_error)
    }
}

/// The jobs of a flow.
fn count(node: &FlowNode) -> usize {
    1 + node.children.iter().flatten().map(count).sum::<usize>()
}

impl Host for JobState {
    async fn add(&mut self, queue: String, job: GuestJob) -> CallResult<String> {
        let ids = self.add_jobs(&queue, vec![job]).await;
        Ok(ids.and_then(|mut ids| ids.pop().ok_or_else(|| job_error(QueueError::Reply("add")))))
    }

    async fn add_bulk(&mut self, queue: String, jobs: Vec<GuestJob>) -> CallResult<Vec<String>> {
        Ok(self.add_jobs(&queue, jobs).await)
    }

    async fn add_flows(&mut self, flows: String, flow_options: String) -> CallResult<String> {
        self.show(|| format!("add-flows({flows}, {flow_options})"));
        let (nodes, flow_options) = match self.plan_flows(&flows, &flow_options) {
            Ok(planned) => planned,
            Err(error) => return Ok(Err(error)),
        };
        let Backing::Queue(own) = &self.backing else {
            return Ok(Ok("[]".into()));
        };
        // Planned once: a repeated call adds jobs of the same ids, which are there already.
        let plan = match own.flows().plan(nodes, &flow_options) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(job_error(error))),
        };
        let trees = until_answered(|| plan.add()).await;
        Ok(trees.map_err(job_error).and_then(|trees| to_json(&trees)))
    }

    async fn get_flow(&mut self, queue: String, id: String, query: String) -> CallResult<String> {
        self.show(|| format!("get-flow({queue}, {id}, {query})"));
        let query: FlowQuery = match options("query", &query) {
            Ok(query) => query,
            Err(error) => return Ok(Err(error)),
        };
        let own = match self.granted_queue(&queue) {
            Ok(Some(own)) => own,
            Ok(None) => return Ok(Ok("null".into())),
            Err(error) => return Ok(Err(error)),
        };
        let flows = own.flows();
        let tree = until_answered(|| flows.get(own.keys().queue_name(), &id, query)).await;
        Ok(tree.map_err(job_error).and_then(|tree| to_json(&tree)))
    }

    async fn state(&mut self, queue: String, id: String) -> CallResult<String> {
        self.show(|| format!("state({queue}, {id})"));
        let queue = match self.granted_queue(&queue) {
            Ok(Some(queue)) => queue,
            Ok(None) => return Ok(Ok("unknown".into())),
            Err(error) => return Ok(Err(error)),
        };
        let state = until_answered(|| queue.state(&id)).await;
        Ok(state.map(|state| state.to_string()).map_err(job_error))
    }

    async fn remove(&mut self, queue: String, id: String, with_children: bool) -> CallResult<()> {
        self.show(|| format!("remove({queue}, {id}, {with_children})"));
        let queue = match self.granted_queue(&queue) {
            Ok(Some(queue)) => queue,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        Ok(until_answered(|| queue.remove(&id, with_children))
            .await
            .map_err(job_error))
    }
}
