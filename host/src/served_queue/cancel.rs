//! Cancels a job wherever it is: one that waits fails at once, one that runs is stopped by the host that runs it.

pub(crate) mod requests;
mod stopped;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::Serving;
use super::deployment::{CancelRequest, Deployments};
use super::reason::Reason;
use toril_queue::{AttemptId, CancelledJob, Job, JobState, Queue, QueueError, QueueName};
use toril_sandbox::cancellation;

/// How many jobs of a flow are cancelled at once.
const JOBS_MAX: usize = 10_000;

/// The result of cancelling a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cancellation {
    /// No worker had it, and it has failed.
    Failed,
    /// It runs, and the host that runs it was asked to stop it.
    Asked,
    /// It had ended before, or there is no such job.
    Ended,
    /// It ran, and has failed for good, with this reason or its own.
    Stopped,
    /// It ran, and completed, or it is removed and no event says that it failed.
    EndedByItself,
    /// It ran, and its attempt failed by itself before it was stopped: it is tried again.
    FailedByItself,
    /// It was not stopped in time.
    StillRuns,
}

/// A cancelled job, and the result.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Cancelled {
    /// The name of the job's queue, without the prefix.
    pub queue: String,
    /// The job's id.
    pub id: String,
    /// The result.
    pub outcome: Cancellation,
    /// The state of the job before.
    #[schema(value_type = String)]
    pub state: JobState,
    /// With `wait`: the state of a job that was running, afterwards.
    #[schema(value_type = Option<String>)]
    #[serde(rename = "stateNow", skip_serializing_if = "Option::is_none")]
    pub state_now: Option<JobState>,
    /// Of its hash.
    #[serde(skip)]
    key: String,
    /// What to wait for.
    #[serde(skip)]
    running: Option<Running>,
}

/// A start of a job that was asked to stop.
#[derive(Clone)]
struct Running {
    queue: Queue,
    /// Of its lock.
    token: Arc<str>,
    attempt: AttemptId,
    /// Why.
    said: String,
    asked_at: Instant,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Running { token, attempt, .. } = self;
        f.debug_tuple("Running")
            .field(token)
            .field(attempt)
            .finish()
    }
}

impl Cancelled {
    /// True where the job does not run again, because it was cancelled; and where it is asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self.outcome,
            Cancellation::Failed | Cancellation::Asked | Cancellation::Stopped
        )
    }

    /// True where it had ended, or did so by itself: nothing of it runs, or will.
    pub fn has_ended(&self) -> bool {
        matches!(
            self.outcome,
            Cancellation::Ended | Cancellation::EndedByItself
        )
    }
}

/// In words, without the job's name.
impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state;
        match (self.outcome, self.state_now) {
            (Cancellation::Failed, _) => write!(f, "was {state}, has failed"),
            (Cancellation::Asked, _) => f.write_str("is asked to stop"),
            (Cancellation::Ended, _) if state == JobState::Unknown => {
                f.write_str("there is no such job")
            }
            (Cancellation::Ended, _) => write!(f, "is {state} already"),
            (Cancellation::Stopped, _) => f.write_str("was running, is failed"),
            (Cancellation::EndedByItself, None | Some(JobState::Unknown)) => {
                f.write_str("ended by itself, is removed")
            }
            (Cancellation::EndedByItself, Some(now)) => write!(f, "ended by itself, is {now}"),
            (Cancellation::FailedByItself, _) => {
                f.write_str("failed by itself, will be tried again")
            }
            (Cancellation::StillRuns, _) => {
                f.write_str("still runs: its worker is not Toril's, or its grace time is longer")
            }
        }
    }
}

/// Cancels a job and, if asked, the children that it waits for, and theirs. `runs_here` stops a job of this process:
/// true if it runs there.
///
/// `said` is why, for people; it becomes part of `failedReason`. The job itself comes first in the result. One that runs is
/// asked to stop; [`wait_until_stopped`] finds out what comes of it.
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
        add_children(&mut jobs, HashSet::new()).await?;
    }
    let mut cancelled = Vec::with_capacity(jobs.len());
    for (queue, id) in jobs {
        cancelled.push(cancel_one(&queue, id, said, &runs_here).await?);
    }
    Ok(cancelled)
}

/// Adds the children that the first job waits for, and theirs, but for those that were seen. Before any of them fails, which
/// may remove it.
async fn add_children(
    jobs: &mut Vec<(Queue, String)>,
    mut seen: HashSet<String>,
) -> Result<(), QueueError> {
    let key = |(queue, id): &(Queue, String)| queue.keys().job(id);
    seen.extend(jobs.iter().map(key));
    let mut at = 0;
    while let Some((queue, id)) = jobs.get(at).cloned() {
        let children = queue.pending_children(&id).await?;
        jobs.extend(children.into_iter().filter(|child| seen.insert(key(child))));
        if seen.len() > JOBS_MAX {
            let problem = format!("flow has more than {JOBS_MAX} jobs: cancel a part of it first");
            return Err(QueueError::Invalid(problem));
        }
        at += 1;
    }
    Ok(())
}

/// Waits until one of these jobs has stopped, if it was asked to, and notes what became of it. With children, those that it
/// added before it stopped are cancelled, too, and are behind the others then.
pub async fn wait_until_stopped(
    jobs: &mut Vec<Cancelled>,
    at: usize,
    with_children: bool,
) -> Result<(), QueueError> {
    let Some(running) = jobs.get_mut(at).and_then(|job| job.running.take()) else {
        return Ok(());
    };
    let (queue, said, job) = (running.queue.clone(), running.said.clone(), &mut jobs[at]);
    (job.outcome, job.state_now) = stopped::stopped(&job.id, running).await?;
    if !with_children || job.outcome != Cancellation::Stopped {
        return Ok(());
    }
    let mut added = vec![(queue, job.id.clone())];
    add_children(&mut added, jobs.iter().map(|job| job.key.clone()).collect()).await?;
    for (queue, id) in added.drain(1..) {
        // A host hears of it as any other does, this one too.
        jobs.push(cancel_one(&queue, id, &said, |_, _| false).await?);
    }
    Ok(())
}

async fn cancel_one(
    queue: &Queue,
    id: String,
    said: &str,
    runs_here: impl Fn(&QueueName, &CancelRequest) -> bool,
) -> Result<Cancelled, QueueError> {
    let found = queue.cancel_unheld(&id, &cancellation(said), None).await?;
    let (outcome, state, running) = match found {
        CancelledJob::Failed(state) => (Cancellation::Failed, state, None),
        CancelledJob::Ended(state) => (Cancellation::Ended, state, None),
        // Any attempt was asked for.
        CancelledJob::AnotherAttempt(_) => return Err(QueueError::Reply("cancel_job")),
        CancelledJob::Runs { token, attempt } => {
            let request = CancelRequest {
                id: id.clone(),
                token: token.to_string(),
                attempt: attempt.clone(),
                said: said.to_owned(),
            };
            let is_here = runs_here(queue.keys().queue_name(), &request);
            // Also if it runs here: this host may die before the job has stopped.
            let asked = Deployments::of(queue).ask_to_cancel(&request).await;
            if !is_here {
                asked?;
            }
            let queue = queue.clone();
            let running = Running {
                queue,
                token,
                attempt,
                said: request.said,
                asked_at: Instant::now(),
            };
            (Cancellation::Asked, JobState::Active, Some(running))
        }
    };
    Ok(Cancelled {
        key: queue.keys().job(&id),
        queue: queue.keys().name().to_owned(),
        id,
        outcome,
        state,
        state_now: None,
        running,
    })
}

impl Serving {
    /// Stops the start of a job that a request is for. False: it does not run here.
    pub(crate) fn cancel(&self, queue: &QueueName, request: &CancelRequest) -> bool {
        let said: Arc<str> = request.said.as_str().into();
        self.stop_starts(queue, |job| request.is_for(job).then(|| Arc::clone(&said)))
    }

    /// Stops the starts that requests of other hosts are for. A request may have been here before its start was.
    pub(crate) fn cancel_as_asked(&self, queue: &QueueName) {
        let mut requests = self.cancel_requests.lock();
        if !requests.is_empty_at(Instant::now()) {
            self.stop_starts(queue, |job| requests.stop(job));
        }
    }

    fn stop_starts(
        &self,
        queue: &QueueName,
        mut said: impl FnMut(&Job) -> Option<Arc<str>>,
    ) -> bool {
        self.worker.cancel(|job| {
            let said = said(job)?;
            info!(%queue, job_id = &*job.id, said = &*said, "job is cancelled");
            Some(said)
        })
    }
}
