//! Cancels a job wherever it is: one that waits fails at once, one that runs is stopped by the host that runs it.

pub(crate) mod requests;
mod stopped;

use std::collections::{HashSet, VecDeque};
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
    /// The last one that was made.
    request: CancelRequest,
    asked_at: Instant,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.request).finish()
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

    /// True until it is known what becomes of a job that runs.
    pub fn is_asked(&self) -> bool {
        self.outcome == Cancellation::Asked
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
/// true if it runs there. `tell` hears of each job at once: what was done stays done if a later one cannot be cancelled.
///
/// `said` is why, for people; it becomes part of `failedReason`. The job itself comes first in the result. One that runs is
/// asked to stop; [`wait_until_stopped`] finds out what comes of it.
pub async fn cancel(
    queue: &Queue,
    id: &str,
    said: &str,
    with_children: bool,
    runs_here: impl Fn(&QueueName, &CancelRequest) -> bool,
    tell: impl FnMut(&Cancelled),
) -> Result<Vec<Cancelled>, QueueError> {
    let said = Reason::said(said).map_err(QueueError::Invalid)?.as_str();
    let job = (queue.clone(), id.to_owned());
    let jobs = match with_children {
        true => flow_below(job).await?,
        false => vec![job],
    };
    let mut cancelled = Vec::with_capacity(jobs.len());
    let walk = Walk {
        said,
        with_children,
        runs_here,
        tell,
    };
    walk.cancel(jobs, &mut cancelled).await?;
    Ok(cancelled)
}

/// A job, the children that it waits for, and theirs, unless they are too many: before any of them is cancelled.
async fn flow_below(job: (Queue, String)) -> Result<Vec<(Queue, String)>, QueueError> {
    let mut seen = HashSet::from([key_of(&job)]);
    let (mut jobs, mut at) = (vec![job], 0);
    while let Some((queue, id)) = jobs.get(at).cloned() {
        let children = queue.pending_children(&id).await?;
        jobs.extend(
            children
                .into_iter()
                .filter(|child| seen.insert(key_of(child))),
        );
        if jobs.len() > JOBS_MAX {
            let problem = format!("flow has more than {JOBS_MAX} jobs: cancel a part of it first");
            return Err(QueueError::Invalid(problem));
        }
        at += 1;
    }
    Ok(jobs)
}

fn key_of((queue, id): &(Queue, String)) -> String {
    queue.keys().job(id)
}

/// How the jobs of a flow are cancelled, one after the other.
struct Walk<'a, H, T> {
    said: &'a str,
    with_children: bool,
    runs_here: H,
    tell: T,
}

impl<H, T> Walk<'_, H, T>
where
    H: Fn(&QueueName, &CancelRequest) -> bool,
    T: FnMut(&Cancelled),
{
    /// Cancels these jobs, but for those that were. Behind them come children that were added since they were looked for: each
    /// job tells those that it has when it fails.
    async fn cancel(
        mut self,
        jobs: Vec<(Queue, String)>,
        cancelled: &mut Vec<Cancelled>,
    ) -> Result<(), QueueError> {
        let mut seen: HashSet<String> = cancelled.iter().map(|job| job.key.clone()).collect();
        let mut jobs: VecDeque<_> = jobs
            .into_iter()
            .filter(|job| seen.insert(key_of(job)))
            .collect();
        while let Some((queue, id)) = jobs.pop_front() {
            let (job, children) = self.cancel_one(&queue, id).await?;
            (self.tell)(&job);
            cancelled.push(job);
            jobs.extend(
                children
                    .into_iter()
                    .filter(|child| seen.insert(key_of(child))),
            );
        }
        Ok(())
    }

    async fn cancel_one(
        &self,
        queue: &Queue,
        id: String,
    ) -> Result<(Cancelled, Vec<(Queue, String)>), QueueError> {
        let reason = cancellation(self.said);
        let (found, children) = queue
            .cancel_unheld_of_flow(&id, &reason, None, self.with_children)
            .await?;
        let (outcome, state, running) = match found {
            CancelledJob::Failed(state) => (Cancellation::Failed, state, None),
            CancelledJob::Ended(state) => (Cancellation::Ended, state, None),
            // Any attempt was asked for.
            CancelledJob::AnotherAttempt(_) => return Err(QueueError::Reply("cancel_job")),
            CancelledJob::Runs { token, attempt } => {
                let running = self.ask(queue, &id, token, attempt).await?;
                (Cancellation::Asked, JobState::Active, Some(running))
            }
        };
        let cancelled = Cancelled {
            key: queue.keys().job(&id),
            queue: queue.keys().name().to_owned(),
            id,
            outcome,
            state,
            state_now: None,
            running,
        };
        Ok((cancelled, children))
    }

    /// Asks for a start to be stopped, wherever it runs.
    async fn ask(
        &self,
        queue: &Queue,
        id: &str,
        token: Arc<str>,
        attempt: AttemptId,
    ) -> Result<Running, QueueError> {
        let request = CancelRequest {
            id: id.to_owned(),
            token: token.to_string(),
            attempt,
            said: self.said.to_owned(),
        };
        let is_here = (self.runs_here)(queue.keys().queue_name(), &request);
        // Also if it runs here: this host may die before the job has stopped.
        let asked = Deployments::of(queue).ask_to_cancel(&request).await;
        if !is_here {
            asked?;
        }
        Ok(Running {
            queue: queue.clone(),
            request,
            asked_at: Instant::now(),
        })
    }
}

/// Waits until one of these jobs has stopped, if it was asked to, and notes what became of it. With children, those that it
/// added before it stopped are cancelled, too, however it ended, and are behind the others then.
pub async fn wait_until_stopped(
    jobs: &mut Vec<Cancelled>,
    at: usize,
    with_children: bool,
) -> Result<(), QueueError> {
    let Some(running) = jobs.get_mut(at).and_then(|job| job.running.take()) else {
        return Ok(());
    };
    let said = running.request.said.clone();
    let end = stopped::stopped(running, with_children).await?;
    (jobs[at].outcome, jobs[at].state_now) = (end.outcome, Some(end.state));
    let walk = Walk {
        said: &said,
        with_children,
        // A host hears of it as any other does, this one too.
        runs_here: |_: &QueueName, _: &CancelRequest| false,
        tell: |_: &Cancelled| (),
    };
    walk.cancel(end.children, jobs).await
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
