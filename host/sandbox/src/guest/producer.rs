//! `toril:processor/producer`: other jobs and other queues, as far as they were granted.

use serde_json::{Map, Value, json};

use super::AttemptState;
use super::current_job::{Answer, check_bytes};
use crate::backend::{CallResult, FlowNode, NewJob};
use crate::bindings::toril::processor::producer::{Host, JobError, NewJob as GuestJob};
use crate::flow_json::{self, FlowOptions, invalid, options};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

impl AttemptState {
    /// The job of this attempt.
    pub(super) fn own_job(&self) -> CallResult<JobRef> {
        let job = self.current.backend.job();
        Ok(JobRef {
            queue: QueueRef::new(job.prefix, job.queue).map_err(invalid)?,
            id: job.id.to_string(),
        })
    }

    /// What this attempt may reach.
    pub(super) fn queue_access(&self) -> CallResult<QueueAccess> {
        let own = self.own_job()?;
        Ok(QueueAccess::of(&self.policy.grants.queues, own))
    }

    /// A queue of the host's prefix.
    pub(super) fn queue(&self, name: &str) -> CallResult<QueueRef> {
        QueueRef::new(self.current.backend.job().prefix, name).map_err(invalid)
    }

    /// A job that the attempt may reach, and what else it may.
    pub(super) fn granted_job(&self, queue: &str, id: String) -> CallResult<(JobRef, QueueAccess)> {
        let queue = self.queue(queue)?;
        let (job, access) = (JobRef { queue, id }, self.queue_access()?);
        access.check_job(&job)?;
        Ok((job, access))
    }

    /// Lets a new job belong to this one's trace, unless it says otherwise.
    fn continue_trace(&self, options: &mut Map<String, Value>) {
        if let Some(trace) = &self.current.trace {
            options
                .entry("telemetry")
                .or_insert_with(|| json!({ "metadata": trace }));
        }
    }

    fn continue_trace_in(&self, node: &mut FlowNode) {
        self.continue_trace(&mut node.job.options);
        node.children
            .iter_mut()
            .for_each(|child| self.continue_trace_in(child));
    }

    pub(super) fn new_job(&self, job: GuestJob) -> CallResult<NewJob> {
        self.check_size("job data", &job.data)?;
        let mut options: Map<String, Value> = options("options", &job.options)?;
        self.continue_trace(&mut options);
        flow_json::new_job(job.name, job.data, options)
    }

    /// Reads jobs that the guest wants to add.
    pub(super) fn new_jobs(&self, jobs: Vec<GuestJob>) -> CallResult<Vec<NewJob>> {
        // Before they are read: options that are values take many times the room that they take as text.
        self.quota
            .room_for_jobs(jobs.len())
            .map_err(JobError::Limit)?;
        let options = jobs.iter().map(|job| job.options.len()).sum();
        check_bytes("options", options, self.policy.limits.value_bytes_max)?;
        jobs.into_iter().map(|job| self.new_job(job)).collect()
    }

    /// Judges and counts jobs before they are added.
    pub(super) fn admit(&mut self, queue: &QueueRef, jobs: &[NewJob]) -> CallResult<()> {
        let access = self.queue_access()?;
        access.check_queue(queue)?;
        jobs.iter()
            .try_for_each(|job| access.check_new_job(queue, job))?;
        self.quota.add_jobs(jobs.len()).map_err(JobError::Limit)
    }

    async fn add_jobs(&mut self, queue: &str, jobs: Vec<GuestJob>) -> CallResult<Vec<String>> {
        let jobs = self.new_jobs(jobs)?;
        let queue = self.queue(queue)?;
        self.admit(&queue, &jobs)?;
        self.current.backend.add(&queue, jobs).await
    }

    async fn try_add_flows(&mut self, flows: &str, flow_options: &str) -> CallResult<String> {
        self.check_size("flows", flows)?;
        self.check_size("options", flow_options)?;
        let flow_options: FlowOptions = options("options", flow_options)?;
        let flows = flow_json::parse_flows(flows)?;
        let bytes = flow_options.bytes_under(&flows);
        check_bytes("options", bytes, self.policy.limits.value_bytes_max)?;
        let mut flows = flow_json::flows(flows, &flow_options, self.current.backend.job().prefix)?;
        flows
            .iter_mut()
            .for_each(|node| self.continue_trace_in(node));
        let access = self.queue_access()?;
        flows.iter().try_for_each(|node| access.check_flow(node))?;
        let jobs = flows.iter().map(count).sum();
        self.quota.add_jobs(jobs).map_err(JobError::Limit)?;
        self.current.backend.add_flows(flows).await
    }

    async fn try_get_flow(&mut self, queue: &str, id: String, query: &str) -> CallResult<String> {
        let query = options("query", query)?;
        let (job, access) = self.granted_job(queue, id)?;
        let max = self.read_bytes_max();
        self.current
            .backend
            .get_flow(&job, query, &access, max)
            .await
    }

    async fn try_state(&mut self, queue: &str, id: String) -> CallResult<String> {
        let (job, _) = self.granted_job(queue, id)?;
        self.current.backend.state(&job).await
    }

    async fn try_remove(&mut self, queue: &str, id: String, with_children: bool) -> CallResult<()> {
        let (job, access) = self.granted_job(queue, id)?;
        self.current
            .backend
            .remove(&job, with_children, &access)
            .await
    }
}

/// The jobs of a flow.
fn count(node: &FlowNode) -> usize {
    1 + node.children.iter().map(count).sum::<usize>()
}

impl Host for AttemptState {
    async fn add(&mut self, queue: String, job: GuestJob) -> Answer<String> {
        let ids = self.add_jobs(&queue, vec![job]).await;
        let missing = || JobError::Unavailable("no id was answered".into());
        Ok(ids.and_then(|mut ids| ids.pop().ok_or_else(missing)))
    }

    async fn add_bulk(&mut self, queue: String, jobs: Vec<GuestJob>) -> Answer<Vec<String>> {
        Ok(self.add_jobs(&queue, jobs).await)
    }

    async fn add_flows(&mut self, flows: String, flow_options: String) -> Answer<String> {
        Ok(self.try_add_flows(&flows, &flow_options).await)
    }

    async fn get_flow(&mut self, queue: String, id: String, query: String) -> Answer<String> {
        Ok(self.try_get_flow(&queue, id, &query).await)
    }

    async fn state(&mut self, queue: String, id: String) -> Answer<String> {
        Ok(self.try_state(&queue, id).await)
    }

    async fn remove(&mut self, queue: String, id: String, with_children: bool) -> Answer<()> {
        Ok(self.try_remove(&queue, id, with_children).await)
    }
}
