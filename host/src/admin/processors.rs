//! `/v1/queues/{queue}/versions`, `/deployment`, `/canary`: the processors of a queue, on all hosts.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Admin;
use super::body::{read, read_json};
use super::error::ApiError;
use super::extract::Path;
use super::queues::check_name;
use crate::rehearsal::{NotRehearsed, Rehearsal, Report};
use crate::served_queue::deployment::{
    Change, Deployment, Deployments, Forgotten, Note, StoredVersion, Upload, forget as forget_queue,
};
use crate::versions::CanaryRule;
use toril_sandbox::{AttemptFuture, Policy};

/// How long an upload waits for a place among those that come.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(60);
/// Recordings of one rehearsal.
const REHEARSED_MAX: usize = 1_000;

impl Admin {
    /// The deployments of a queue that this host works, or that were made before.
    async fn deployments(&self, queue: &str) -> Result<Deployments, ApiError> {
        check_name(queue)?;
        let deployments = self.host.deployments(queue)?;
        if self.host.queue_status(queue).is_err() && deployments.current().await?.revision == 0 {
            return Err(ApiError::unknown_queue(queue));
        }
        Ok(deployments)
    }

    /// Rehearses a stored version, on the threads of the guests.
    async fn rehearsed(
        &self,
        queue_name: &str,
        deployments: &Deployments,
        digest: &str,
        count: usize,
    ) -> Result<Report, ApiError> {
        let component = deployments.component(digest).await?;
        let component = component.ok_or_else(|| {
            ApiError::conflict(format!("version {digest} is not stored any more"))
        })?;
        let Ok(place) = Arc::clone(&self.rehearsals).try_acquire_owned() else {
            return Err(ApiError::conflict(
                "another rehearsal is under way".to_owned(),
            ));
        };
        let (queue, engine) = (self.host.queue(queue_name)?, self.host.engine());
        let policy = self.host.policy(queue_name);
        let env = policy.map(|policy| policy.grants.env.clone());
        let rehearsal = Rehearsal::new(engine, component, env.unwrap_or_default());
        let (done, report) = oneshot::channel();
        let run: AttemptFuture = Box::pin(async move {
            let count = count.min(REHEARSED_MAX);
            // Who asked may have left.
            let report = rehearsal
                .run_newest(&queue, count, || done.is_closed())
                .await;
            drop(place);
            let _ = done.send(report);
        });
        engine.guest_threads().start_all([run].into_iter());
        let report = report.await;
        let report = report.map_err(|_| ApiError::conflict("host is shutting down".to_owned()))?;
        report.map_err(|error| match error {
            NotRehearsed::Refused(error) => error.into(),
            NotRehearsed::Redis(error) => error.into(),
        })
    }
}

/// A component that was stored.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Uploaded {
    /// `sha256:` and the digest of the component.
    digest: String,
    /// Its size.
    bytes: usize,
    /// How long compiling took here, in ms.
    compile_ms: u64,
}

/// What is deployed on a queue, and how it came to that.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeploymentState {
    #[serde(flatten)]
    deployment: Deployment,
    /// Newest first.
    changes: Vec<Change>,
}

/// What to deploy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Deploy {
    /// A version that was uploaded: its digest, or as much of the beginning as is unique.
    digest: String,
    /// Gives it some of the jobs first.
    canary: Option<CanaryRule>,
    /// Rehearses it first, and deploys nothing if it does not pass.
    rehearse: Option<RehearsalRule>,
}

/// How a candidate is rehearsed.
#[derive(Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RehearsalRule {
    /// How many of the newest recordings, 1000 at most.
    count: usize,
    /// How many of them may come to something else.
    allow_percent: f64,
}

impl Default for RehearsalRule {
    fn default() -> Self {
        RehearsalRule {
            count: 200,
            allow_percent: 0.0,
        }
    }
}

/// What to rehearse.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rehearse {
    /// A version that was uploaded: its digest, or as much of the beginning as is unique.
    digest: String,
    /// How many of the newest recordings, 1000 at most; 200 where none is given.
    count: Option<usize>,
}

/// Where to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// The version; the one that was active before where none is given.
    digest: Option<String>,
}

/// Why a canary ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Abort {
    reason: Option<String>,
}

/// Lists the versions that are stored for a queue, newest first.
#[utoipa::path(get, path = "/v1/queues/{queue}/versions", responses(
    (status = OK, body = Vec<StoredVersion>), (status = NOT_FOUND)))]
pub(super) async fn versions(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<Vec<StoredVersion>>, ApiError> {
    Ok(Json(admin.deployments(&queue).await?.versions().await?))
}

/// Checks a component and stores it, to be deployed.
#[utoipa::path(post, path = "/v1/queues/{queue}/versions",
    request_body(content = Vec<u8>, content_type = "application/wasm"), responses(
    (status = CREATED, body = Uploaded), (status = NOT_FOUND), (status = PAYLOAD_TOO_LARGE),
    (status = UNPROCESSABLE_ENTITY), (status = SERVICE_UNAVAILABLE)))]
pub(super) async fn upload(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Uploaded>), ApiError> {
    let deployments = admin.deployments(&queue).await?;
    let engine = admin.host.engine();
    let place = timeout(UPLOAD_PATIENCE, admin.uploads.acquire()).await;
    let _place = place.map_err(|_| ApiError::too_many_uploads())?;
    let bytes = read(body, engine.component_bytes_max()).await?;
    // The policy of a queue that is worked elsewhere is not known here.
    let policy = admin
        .host
        .policy(&queue)
        .unwrap_or_else(|_| Policy::unjudged());
    let processor = engine.load(bytes.to_vec(), &policy).await?;
    let note = Note {
        bytes: bytes.len(),
        name: None,
        sdk: processor.inspection.sdk.clone(),
    };
    let upload = Upload {
        bytes: &bytes,
        note,
    };
    deployments.store(&processor.digest, &upload).await?;
    let uploaded = Uploaded {
        digest: processor.digest.to_string(),
        bytes: bytes.len(),
        compile_ms: u64::try_from(processor.compile_time.as_millis()).unwrap_or(u64::MAX),
    };
    Ok((StatusCode::CREATED, Json(uploaded)))
}

/// Shows what is deployed on a queue.
#[utoipa::path(get, path = "/v1/queues/{queue}/deployment", responses(
    (status = OK, body = DeploymentState), (status = NOT_FOUND)))]
pub(super) async fn deployment(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<DeploymentState>, ApiError> {
    let deployments = admin.deployments(&queue).await?;
    Ok(Json(DeploymentState {
        deployment: deployments.current().await?,
        changes: deployments.changes().await?,
    }))
}

/// Deploys a stored version on all hosts, to all jobs or as a canary.
#[utoipa::path(put, path = "/v1/queues/{queue}/deployment", request_body = Deploy, responses(
    (status = OK, body = Deployment), (status = BAD_REQUEST), (status = NOT_FOUND)))]
pub(super) async fn deploy(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let Deploy {
        digest,
        canary,
        rehearse,
    } = read_json(body).await?;
    let deployments = admin.deployments(&queue).await?;
    let digest = deployments.resolve(&digest).await?;
    if let Some(rule) = rehearse {
        let report = admin
            .rehearsed(&queue, &deployments, &digest, rule.count)
            .await?;
        if !report.passes(rule.allow_percent) {
            let reason = format!("candidate did not pass its rehearsal: {}", report.sum());
            return Err(ApiError::conflict(reason));
        }
    }
    Ok(Json(
        deployments.deploy(&digest, None, canary.as_ref()).await?,
    ))
}

/// Runs the newest recorded attempts of a queue on a stored version. Nothing leaves the host, and nothing is changed.
#[utoipa::path(post, path = "/v1/queues/{queue}/rehearsal", request_body = Rehearse, responses(
    (status = OK, body = Report), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(super) async fn rehearse(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<Json<Report>, ApiError> {
    let Rehearse { digest, count } = read_json(body).await?;
    let deployments = admin.deployments(&queue).await?;
    let digest = deployments.resolve(&digest).await?;
    let count = count.unwrap_or_else(|| RehearsalRule::default().count);
    Ok(Json(
        admin
            .rehearsed(&queue, &deployments, &digest, count)
            .await?,
    ))
}

/// Takes the deployment away: each host goes back to the file that its config names.
#[utoipa::path(delete, path = "/v1/queues/{queue}/deployment", responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn undeploy(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<Deployment>, ApiError> {
    Ok(Json(admin.deployments(&queue).await?.undeploy().await?))
}

/// Forgets a queue that no host works any more: what is deployed on it, its components and its history. BullMQ's keys, and
/// so its jobs, stay as they are. While a host works it, this one included, it is refused: detach it first.
#[utoipa::path(post, path = "/v1/queues/{queue}/forget", responses(
    (status = OK, body = Forgotten), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn forget(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<Forgotten>, ApiError> {
    check_name(&queue)?;
    if admin.host.names().contains(&queue) {
        return Err(ApiError::conflict(format!(
            "queue `{queue}` is worked by this host: detach it first"
        )));
    }
    Ok(Json(forget_queue(&admin.host.queue(&queue)?).await?))
}

/// Goes back to an earlier version.
#[utoipa::path(post, path = "/v1/queues/{queue}/deployment/rollback", request_body = Rollback, responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn rollback(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let Rollback { digest } = read_json(body).await?;
    let deployments = admin.deployments(&queue).await?;
    let digest = match digest {
        Some(digest) => Some(deployments.resolve(&digest).await?),
        None => None,
    };
    Ok(Json(deployments.rollback(digest.as_deref()).await?))
}

/// Makes the candidate of a canary active.
#[utoipa::path(post, path = "/v1/queues/{queue}/canary/promote", responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn promote(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Json<Deployment>, ApiError> {
    Ok(Json(admin.deployments(&queue).await?.promote().await?))
}

/// Ends a canary; all jobs go to the active version.
#[utoipa::path(post, path = "/v1/queues/{queue}/canary/abort", request_body = Abort, responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn abort(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let Abort { reason } = read_json(body).await?;
    let reason = reason.unwrap_or_else(|| "by the admin API".to_owned());
    Ok(Json(admin.deployments(&queue).await?.abort(&reason).await?))
}
