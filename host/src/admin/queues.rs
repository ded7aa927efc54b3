//! `/v1/queues`: the queues that this host works.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt as _};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::body::read_json;
use super::error::ApiError;
use crate::config::QueueConfig;
use crate::host::{Detach, NotAttached, QueueStatus};
use crate::worker::{RunningJob, WorkerOptions};
use toril_queue::{KeepJobs, Limiter};
use toril_sandbox::{Grants, Limits};

pub(super) fn check_name(queue: &str) -> Result<(), ApiError> {
    if queue.is_empty() || queue.contains(':') {
        return Err(ApiError::invalid(format!(
            "queue name `{queue}` is empty or contains `:`"
        )));
    }
    Ok(())
}

/// BullMQ's `WorkerOptions`, by their own names. Times are in milliseconds, `drainDelay` in seconds.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Options {
    autorun: Option<bool>,
    /// 50 where it is not given.
    concurrency: Option<usize>,
    drain_delay: Option<f64>,
    limiter: Option<LimiterOptions>,
    lock_duration: Option<u64>,
    max_stalled_count: Option<u32>,
    max_started_attempts: Option<u32>,
    metrics: Option<MetricsOptions>,
    name: Option<String>,
    prefix: Option<String>,
    #[schema(value_type = Option<Object>)]
    remove_on_complete: Option<KeepJobs>,
    #[schema(value_type = Option<Object>)]
    remove_on_fail: Option<KeepJobs>,
    skip_lock_renewal: Option<bool>,
    skip_stalled_check: Option<bool>,
    stalled_interval: Option<u64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimiterOptions {
    max: u32,
    duration: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MetricsOptions {
    max_data_points: u32,
}

/// How to work a queue. Its processor is the one that is deployed; until there is one its jobs wait.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Attach {
    options: Option<Options>,
    /// As in the config.
    #[schema(value_type = Option<Object>)]
    limits: Option<Limits>,
    /// The queues that it may add to, look into and remove from. Policy that name files or secrets are
    /// granted in the config only.
    queues: Option<Vec<String>>,
    /// Jobs that come back go on with the version that they started on.
    pinned: Option<bool>,
}

impl Attach {
    fn into_config(self) -> QueueConfig {
        let Attach {
            options,
            limits,
            queues,
            pinned,
        } = self;
        let options = options.unwrap_or_default();
        let defaults = QueueConfig::new(None).worker;
        let seconds = |seconds: f64| (seconds * 1000.0) as u64;
        let worker = WorkerOptions {
            concurrency: options.concurrency.unwrap_or(defaults.concurrency),
            lock_duration_ms: options.lock_duration.unwrap_or(defaults.lock_duration_ms),
            stalled_interval_ms: options
                .stalled_interval
                .unwrap_or(defaults.stalled_interval_ms),
            max_stalled_count: options
                .max_stalled_count
                .unwrap_or(defaults.max_stalled_count),
            max_started_attempts: options.max_started_attempts,
            drain_delay_ms: options.drain_delay.map_or(defaults.drain_delay_ms, seconds),
            name: options.name,
            limiter: options.limiter.map(|limiter| Limiter {
                max: limiter.max,
                duration_ms: limiter.duration,
            }),
            remove_on_complete: options.remove_on_complete.unwrap_or(KeepJobs::ALL),
            remove_on_fail: options.remove_on_fail.unwrap_or(KeepJobs::ALL),
            metrics_points: options.metrics.map(|metrics| metrics.max_data_points),
            skip_stalled_check: options.skip_stalled_check.unwrap_or(false),
            skip_lock_renewal: options.skip_lock_renewal.unwrap_or(false),
            autorun: options.autorun.unwrap_or(true),
            ..defaults
        };
        QueueConfig {
            prefix: options.prefix,
            pinned: pinned.unwrap_or_default(),
            worker,
            limits: limits.unwrap_or_default(),
            grants: Grants {
                queues: queues.unwrap_or_default(),
                ..Grants::default()
            },
            ..QueueConfig::new(None)
        }
    }
}

/// Lists the queues that this host works.
#[utoipa::path(get, path = "/v1/queues", responses((status = OK, body = Vec<QueueStatus>)))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Vec<QueueStatus>> {
    Json(admin.host.status())
}

/// Shows what one queue is doing.
#[utoipa::path(get, path = "/v1/queues/{queue}", responses(
    (status = OK, body = QueueStatus), (status = NOT_FOUND)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<QueueStatus>, ApiError> {
    Ok(Json(admin.host.queue_status(&queue)?))
}

/// Begins to work a queue.
#[utoipa::path(put, path = "/v1/queues/{queue}", request_body = Attach, responses(
    (status = CREATED, body = QueueStatus), (status = BAD_REQUEST), (status = CONFLICT)))]
pub(super) async fn attach(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<QueueStatus>), ApiError> {
    check_name(&queue)?;
    let config = read_json::<Attach>(body).await?.into_config();
    config
        .check()
        .map_err(|error| ApiError::invalid(format!("{error:#}")))?;
    if admin.host.queue_status(&queue).is_ok() {
        return Err(ApiError::conflict(format!(
            "queue `{queue}` is attached already"
        )));
    }
    admin
        .host
        .attach(&queue, &config)
        .await
        .map_err(|error| ApiError::invalid(format!("{error:#}")))?;
    Ok((StatusCode::CREATED, Json(admin.host.queue_status(&queue)?)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DetachQuery {
    /// Lets running jobs end; otherwise they are stopped and given back.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

/// Stops working a queue; answers when none of its jobs runs here any more.
#[utoipa::path(delete, path = "/v1/queues/{queue}", params(DetachQuery), responses(
    (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(super) async fn detach(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    query: Result<Query<DetachQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let query = query.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    let running = if query.wait {
        Detach::Wait
    } else {
        Detach::GiveBack
    };
    match admin.host.detach(&queue, running).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) if error.is::<NotAttached>() => Err(ApiError::unknown_queue(&queue)),
        Err(error) => Err(ApiError::invalid(format!("{error:#}"))),
    }
}

/// Takes no more jobs of a queue here.
#[utoipa::path(post, path = "/v1/queues/{queue}/pause", responses(
    (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(super) async fn pause(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<StatusCode, ApiError> {
    admin.host.pause(&queue)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes jobs of a queue again.
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
    /// Jobs that run at once, 1 or more.
    concurrency: usize,
}

/// Changes how many jobs of a queue run at once.
#[utoipa::path(put, path = "/v1/queues/{queue}/concurrency", request_body = Concurrency, responses(
    (status = NO_CONTENT), (status = BAD_REQUEST), (status = NOT_FOUND)))]
pub(super) async fn set_concurrency(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let Concurrency { concurrency } = read_json(body).await?;
    if concurrency == 0 {
        return Err(ApiError::invalid("`concurrency` must be 1 or more"));
    }
    admin.host.set_concurrency(&queue, concurrency)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Streams what BullMQ's `worker.on` tells: active, completed, failed, progress, stalled, drained, error and
/// lockLost, as server-sent events; `missed` counts those that a slow reader did not get.
#[utoipa::path(get, path = "/v1/queues/{queue}/events", responses(
    (status = OK, content_type = "text/event-stream"), (status = NOT_FOUND)))]
pub(super) async fn events(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, ApiError> {
    let events = BroadcastStream::new(admin.host.listen(&queue)?);
    let stream = events.map(|event| match event {
        Ok(event) => Event::default()
            .event(event.name)
            .json_data(&event.arguments),
        Err(BroadcastStreamRecvError::Lagged(count)) => {
            Ok(Event::default().event("missed").data(count.to_string()))
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Lists the jobs of a queue that are held here.
#[utoipa::path(get, path = "/v1/queues/{queue}/jobs", responses(
    (status = OK, body = Vec<RunningJob>), (status = NOT_FOUND)))]
pub(super) async fn jobs(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<Vec<RunningJob>>, ApiError> {
    Ok(Json(admin.host.jobs(&queue)?))
}

/// Stops a running job, which fails for good.
#[utoipa::path(delete, path = "/v1/queues/{queue}/jobs/{job}", responses(
    (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(super) async fn cancel(
    State(admin): State<Admin>,
    Path((queue, job)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    if admin.host.cancel(&queue, &job)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_running(&job))
    }
}
