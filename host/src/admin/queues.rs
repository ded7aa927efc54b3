//! `/v1/queues`: the queues that this host works.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::body::read_json;
use super::error::ApiError;
use super::extract::{Path, Query};
use crate::host::{Detach, QueueStatus};
use crate::served_queue::cancel::{Cancellation, Cancelled, wait_until_stopped};
use crate::served_queue::spec::QueueRequest;
use crate::worker::RunningJob;
use crate::worker::options::WorkerOptions;
use toril_queue::JobState;

pub(super) fn check_name(queue: &str) -> Result<(), ApiError> {
    if queue.is_empty() || queue.contains(':') {
        return Err(ApiError::invalid(format!(
            "queue name `{queue}` is empty or contains `:`"
        )));
    }
    Ok(())
}

/// A queue that this host serves.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownQueue {
    /// The same value as `active`, under its former name.
    digest: Option<String>,
    #[serde(flatten)]
    status: QueueStatus,
}

impl From<QueueStatus> for ShownQueue {
    fn from(status: QueueStatus) -> Self {
        ShownQueue {
            digest: status.active.clone(),
            status,
        }
    }
}

/// Lists the queues that this host serves.
#[utoipa::path(get, path = "/v1/queues", responses((status = OK, body = Vec<ShownQueue>)))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Vec<ShownQueue>> {
    let all = admin.host.status();
    Json(all.into_iter().map(ShownQueue::from).collect())
}

/// Shows the state of one queue.
#[utoipa::path(get, path = "/v1/queues/{queue}", responses(
    (status = OK, body = ShownQueue), (status = NOT_FOUND)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<ShownQueue>, ApiError> {
    Ok(Json(admin.host.queue_status(&queue)?.into()))
}

/// Attaches a queue: this host serves it from now on. The host finishes this even if the caller does not wait for the answer.
#[utoipa::path(put, path = "/v1/queues/{queue}", request_body = QueueRequest, responses(
    (status = CREATED, body = ShownQueue), (status = BAD_REQUEST), (status = CONFLICT)))]
pub(super) async fn attach(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<ShownQueue>), ApiError> {
    check_name(&queue)?;
    let spec = read_json::<QueueRequest>(body).await?.into_spec();
    admin.host.attach(&queue, spec).await?;
    let status = admin.host.queue_status(&queue)?;
    Ok((StatusCode::CREATED, Json(status.into())))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DetachQuery {
    /// Lets running jobs end. If it is false, the host stops them and returns them to the queue.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

/// Detaches a queue: this host no longer serves it. The answer comes when none of its jobs runs here any more. The host
/// finishes this even if the caller does not wait for the answer.
#[utoipa::path(delete, path = "/v1/queues/{queue}", params(DetachQuery), responses(
    (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(super) async fn detach(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(query): Query<DetachQuery>,
) -> Result<StatusCode, ApiError> {
    let running = if query.wait {
        Detach::Wait
    } else {
        Detach::GiveBack
    };
    admin.host.detach(&queue, running).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pauses a queue on this host: the host takes no more of its jobs.
#[utoipa::path(post, path = "/v1/queues/{queue}/pause", responses(
    (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(super) async fn pause(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<StatusCode, ApiError> {
    admin.host.pause(&queue)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resumes a queue on this host.
#[utoipa::path(post, path = "/v1/queues/{queue}/resume", responses(
    (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(super) async fn resume(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<StatusCode, ApiError> {
    admin.host.resume(&queue)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Concurrency {
    /// How many jobs may run at once, 1 or more.
    concurrency: usize,
}

/// Changes how many jobs of a queue may run at once on this host.
#[utoipa::path(put, path = "/v1/queues/{queue}/concurrency", request_body = Concurrency, responses(
    (status = NO_CONTENT), (status = BAD_REQUEST), (status = NOT_FOUND)))]
pub(super) async fn set_concurrency(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let Concurrency { concurrency } = read_json(body).await?;
    WorkerOptions::check_concurrency(concurrency).map_err(ApiError::invalid)?;
    admin.host.set_concurrency(&queue, concurrency)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the jobs of a queue that this host holds.
#[utoipa::path(get, path = "/v1/queues/{queue}/jobs", responses(
    (status = OK, body = Vec<RunningJob>), (status = NOT_FOUND)))]
pub(super) async fn jobs(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<Vec<RunningJob>>, ApiError> {
    Ok(Json(admin.host.jobs(&queue)?))
}

/// How to cancel.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelQuery {
    /// The reason. It becomes part of `failedReason`, and the processor can read it.
    #[serde(default)]
    reason: String,
    /// Also cancels the children that the job waits for, and their children. With `wait`, includes those that a running job
    /// adds before it stops.
    #[serde(default)]
    children: bool,
    /// Waits until a running job has stopped: up to a minute if nobody renews its lock.
    #[serde(default)]
    wait: bool,
}

/// Cancels a job in any state, on any host. A waiting job has failed when the answer comes (`failed`); so has a job whose
/// host has died and whose lock has expired. A running job is asked to stop (`asked`), within a second if it runs on another
/// host. If its processor returns within the grace time, that result counts; afterwards the job fails for good. With `wait`,
/// the answer says how the job ended (`stopped`). The first entry of the answer is the job itself.
#[utoipa::path(delete, path = "/v1/queues/{queue}/jobs/{job}", params(CancelQuery), responses(
    (status = OK, body = Vec<Cancelled>), (status = NOT_FOUND),
    (status = CONFLICT, description = "no job was cancelled: the job has ended, or with `wait`, it ended or failed by itself, or still runs")))]
pub(super) async fn cancel(
    State(admin): State<Admin>,
    Path((queue, job)): Path<(String, String)>,
    Query(query): Query<CancelQuery>,
) -> Result<Json<Vec<Cancelled>>, ApiError> {
    let CancelQuery {
        reason,
        children,
        wait,
    } = query;
    let mut cancelled = admin.host.cancel(&queue, &job, &reason, children).await?;
    if wait {
        let mut at = 0;
        while at < cancelled.len() {
            wait_until_stopped(&mut cancelled, at, children).await?;
            at += 1;
        }
    }
    match cancelled.first() {
        // The entry of each job says what became of it.
        Some(_) if cancelled.iter().any(Cancelled::is_cancelled) => Ok(Json(cancelled)),
        Some(Cancelled {
            outcome: Cancellation::Ended,
            state: JobState::Unknown,
            ..
        }) => Err(ApiError::unknown_job(&queue, &job)),
        Some(first) => Err(ApiError::conflict(format!("job `{job}` {first}"))),
        None => Ok(Json(cancelled)),
    }
}
