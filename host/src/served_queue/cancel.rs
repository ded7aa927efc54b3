//! Cancels a job wherever it is: one that waits fails at once, one that runs is stopped by the host that runs it.

use std::collections::HashSet;

use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::Serving;
use super::deployment::{CancelRequest, Deployments};
use super::reason::Reason;
use toril_queue::{CancelledJob, JobState, Queue, QueueError, QueueName};
use toril_sandbox::cancellation;

/// How many jobs of a flow are cancelled at once.
const JOBS_MAX: usize = 10_000;

/// What was done about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cancellation {
    /// It waited, and has failed.
    Failed,
    /// It runs, and the host that runs it was asked to stop it.
    Asked,
    /// It had come to an end, or there is no such job.
    Ended,
}

/// A job that should not run, and what was done about it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Cancelled {
    /// Its queue, without the prefix.
    pub queue: String,
    /// Its id.
    pub id: String,
    /// What was done.
    pub outcome: Cancellation,
    /// The state that the job was in.
    #[schema(value_type = String)]
    pub state: JobState,
    /// Of the lock under which it runs.
    #[serde(skip)]
    pub token: Option<String>,
}

/// Cancels a job and, if asked, the children that it waits for, and theirs. `runs_here` stops a job of this process,
/// by queue, id and lock token.
///
/// `said` is why, for people; it becomes part of `failedReason`. The job itself comes first in the result.
pub async fn cancel(
    queue: &Queue,
    id: &str,
    said: &str,
    with_children: bool,
    runs_here: impl Fn(&QueueName, &CancelRequest) -> bool,
) -> Result<Vec<Cancelled>, QueueError> {
    let said = Reason::said(said).map_err(QueueError::Invalid)?.as_str();
    let mut jobs = vec![(queue.clone(), id.to_owned())];
    if with_children {
        add_children(&mut jobs).await?;
    }
    let mut cancelled = Vec::with_capacity(jobs.len());
    for (queue, id) in jobs {
        cancelled.push(cancel_one(&queue, id, said, &runs_here).await?);
    }
    Ok(cancelled)
}

/// Adds the children that the first job waits for, and theirs. Before any of them fails, which may remove it.
async fn add_children(jobs: &mut Vec<(Queue, String)>) -> Result<(), QueueError> {
    let key = |(queue, id): &(Queue, String)| queue.keys().job(id);
    let mut seen: HashSet<String> = jobs.iter().map(key).collect();
    let mut at = 0;
    while let Some((queue, id)) = jobs.get(at).cloned() {
        let children = queue.pending_children(&id).await?;
        jobs.extend(children.into_iter().filter(|child| seen.insert(key(child))));
        if jobs.len() > JOBS_MAX {
            let problem = format!("flow has more than {JOBS_MAX} jobs: cancel a part of it first");
            return Err(QueueError::Invalid(problem));
        }
        at += 1;
    }
    Ok(())
}

async fn cancel_one(
    queue: &Queue,
    id: String,
    said: &str,
    runs_here: impl Fn(&QueueName, &CancelRequest) -> bool,
) -> Result<Cancelled, QueueError> {
    let found = queue.cancel_waiting(&id, &cancellation(said)).await?;
    let (outcome, state, token) = match found {
        CancelledJob::Failed(state) => (Cancellation::Failed, state, None),
        CancelledJob::Ended(state) => (Cancellation::Ended, state, None),
        CancelledJob::Runs(token) => {
            let request = CancelRequest {
                id: id.clone(),
                token: token.to_string(),
                said: said.to_owned(),
            };
            if !runs_here(queue.keys().queue_name(), &request) {
                Deployments::of(queue).ask_to_cancel(&request).await?;
            }
            (Cancellation::Asked, JobState::Active, Some(request.token))
        }
    };
    Ok(Cancelled {
        queue: queue.keys().name().to_owned(),
        id,
        outcome,
        state,
        token,
    })
}

impl Serving {
    /// Stops the start of a job that a request is for. False: it does not run here.
    pub(crate) fn cancel(&self, queue: &QueueName, request: &CancelRequest) -> bool {
        let CancelRequest { id, token, said } = request;
        let runs = self.worker.cancel(id, token, said);
        if runs {
            info!(%queue, job_id = id, said, "job is cancelled");
        }
        runs
    }
}
