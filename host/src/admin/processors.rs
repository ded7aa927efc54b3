//! `/v1/queues/{queue}/versions`, `/deployment`, `/canary`: the processors of a queue, on all hosts.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::body::{IncomingBody, read_json};
use super::error::ApiError;
use super::extract::{Path, Query};
use super::queues::check_name;
use crate::rehearsal::{NotRehearsed, Rehearsal, Report};
use crate::served_queue::deployment::{
    Change, Deployment, Deployments, Forgotten, Note, StoredVersion, Upload, forget as forget_queue,
};
use crate::versions::CanaryRule;
use toril_queue::Queue;
use toril_sandbox::{AttemptFuture, Policy};

/// How long an upload waits for a place among those that come.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(60);
/// How much of an upload is there before it takes a place: one that has only begun keeps nobody from it.
const UPLOAD_BEGINNING: usize = 64 << 10;
/// Recordings of one rehearsal.
const REHEARSED_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("it is not zero");
/// The same, where a request does not say.
const REHEARSED: NonZeroUsize = NonZeroUsize::new(200).expect("it is not zero");

/// Which queue of this name, where there are several.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefixed {
    /// The prefix of the queue's keys. By default, the one under which this host serves the queue, or else the host's own.
    prefix: Option<String>,
}

/// A queue that a request names, and what is deployed on it.
struct Named {
    queue: Queue,
    deployments: Deployments,
    /// None: this host does not work it.
    policy: Option<Arc<Policy>>,
}

impl Admin {
    /// The queue of this name and prefix.
    fn queue(&self, name: &str, prefix: Option<&str>) -> Result<Queue, ApiError> {
        check_name(name)?;
        Ok(match prefix {
            Some(prefix) => self.host.queue_of(prefix, name)?,
            None => self.host.queue(name)?,
        })
    }

    /// A queue that this host works, or on which something was deployed before.
    async fn named(&self, name: String, prefix: Prefixed) -> Result<Named, ApiError> {
        let queue = self.queue(&name, prefix.prefix.as_deref())?;
        let deployments = Deployments::of(&queue);
        let policy = self.host.policy(&name).ok();
        let is_here = self.host.queue(&name)?.keys().base() == queue.keys().base();
        let policy = policy.filter(|_| is_here);
        if policy.is_none() && deployments.current().await?.revision == 0 {
            return Err(ApiError::unknown_queue(&name));
        }
        Ok(Named {
            queue,
            deployments,
            policy,
        })
    }

    /// What is deployed on a queue that this host works, or on which something was deployed before.
    async fn deployments(&self, name: String, prefix: Prefixed) -> Result<Deployments, ApiError> {
        Ok(self.named(name, prefix).await?.deployments)
    }

    /// Rehearses a stored version, on the threads of the guests.
    async fn rehearsed(
        &self,
        named: &Named,
        digest: &str,
        count: NonZeroUsize,
    ) -> Result<Report, ApiError> {
        let component = named.deployments.component(digest).await?;
        let component = component
            .ok_or_else(|| ApiError::conflict(format!("version {digest} is no longer stored")))?;
        let Ok(place) = Arc::clone(&self.rehearsals).try_acquire_owned() else {
            return Err(ApiError::conflict(
                "another rehearsal is running".to_owned(),
            ));
        };
        let (queue, engine) = (named.queue.clone(), self.host.engine());
        let policy = named.policy.as_ref();
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

/// A component that the host has stored.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Uploaded {
    /// `sha256:` and the digest of the component.
    digest: String,
    /// Its size in bytes.
    bytes: usize,
    /// How long this host took to compile it, in ms.
    compile_ms: u64,
}

/// The deployment of a queue, and its history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeploymentState {
    #[serde(flatten)]
    deployment: Deployment,
    /// The changes of the deployment, newest first.
    changes: Vec<Change>,
}

/// A version to deploy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Deploy {
    /// The digest of a stored version, or a unique beginning of the digest.
    digest: String,
    /// Makes it a canary: the version gets only some of the jobs.
    canary: Option<CanaryRule>,
    /// Rehearses the version first, and deploys nothing if it does not pass.
    rehearse: Option<RehearsalRule>,
}

/// How to rehearse a candidate.
#[derive(Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RehearsalRule {
    /// How many of the newest recordings to run, 1 to 1000.
    #[schema(value_type = usize)]
    count: NonZeroUsize,
    /// The share of these attempts that may differ, in percent.
    allow_percent: f64,
}

impl Default for RehearsalRule {
    fn default() -> Self {
        RehearsalRule {
            count: REHEARSED,
            allow_percent: 0.0,
        }
    }
}

impl RehearsalRule {
    /// Refuses what makes no sense.
    fn check(&self) -> Result<(), String> {
        match (0.0..=100.0).contains(&self.allow_percent) {
            true => Ok(()),
            false => Err("`rehearse.allowPercent` must be between 0 and 100".into()),
        }
    }
}

/// A version to rehearse.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rehearse {
    /// The digest of a stored version, or a unique beginning of the digest.
    digest: String,
    /// How many of the newest recordings to run, 1 to 1000 (default: 200).
    #[schema(value_type = Option<usize>)]
    count: Option<NonZeroUsize>,
}

/// The version to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// The digest of a stored version, or a unique beginning of it. By default, the version that was active before.
    digest: Option<String>,
}

/// Why to end a canary.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Abort {
    /// The reason, which the history of the deployment keeps.
    reason: Option<String>,
}

/// Lists the stored versions of a queue, newest first.
#[utoipa::path(get, path = "/v1/queues/{queue}/versions", params(Prefixed), responses(
    (status = OK, body = Vec<StoredVersion>), (status = NOT_FOUND)))]
pub(super) async fn versions(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
) -> Result<Json<Vec<StoredVersion>>, ApiError> {
    Ok(Json(
        admin.deployments(queue, prefix).await?.versions().await?,
    ))
}

/// Checks a component and stores it. It can be deployed afterwards.
#[utoipa::path(post, path = "/v1/queues/{queue}/versions", params(Prefixed),
    request_body(content = Vec<u8>, content_type = "application/wasm"), responses(
    (status = CREATED, body = Uploaded), (status = NOT_FOUND), (status = PAYLOAD_TOO_LARGE),
    (status = UNPROCESSABLE_ENTITY), (status = SERVICE_UNAVAILABLE)))]
pub(super) async fn upload(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
    body: Body,
) -> Result<(StatusCode, Json<Uploaded>), ApiError> {
    let Named {
        deployments,
        policy,
        ..
    } = admin.named(queue, prefix).await?;
    let engine = admin.host.engine();
    let mut incoming = IncomingBody::new(body, engine.component_bytes_max());
    incoming.reach(UPLOAD_BEGINNING).await?;
    let place = timeout(UPLOAD_PATIENCE, admin.uploads.acquire()).await;
    let _place = place.map_err(|_| ApiError::too_many_uploads())?;
    let bytes = incoming.all().await?;
    // The policy of a queue that another host serves is not known here.
    let policy = policy.unwrap_or_else(Policy::unjudged);
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

/// Shows the deployment of a queue, and its history.
#[utoipa::path(get, path = "/v1/queues/{queue}/deployment", params(Prefixed), responses(
    (status = OK, body = DeploymentState), (status = NOT_FOUND)))]
pub(super) async fn deployment(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
) -> Result<Json<DeploymentState>, ApiError> {
    let deployments = admin.deployments(queue, prefix).await?;
    Ok(Json(DeploymentState {
        deployment: deployments.current().await?,
        changes: deployments.changes().await?,
    }))
}

/// Deploys a stored version on all hosts, for all jobs or as a canary.
#[utoipa::path(put, path = "/v1/queues/{queue}/deployment", params(Prefixed), request_body = Deploy, responses(
    (status = OK, body = Deployment), (status = BAD_REQUEST), (status = NOT_FOUND)))]
pub(super) async fn deploy(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let Deploy {
        digest,
        canary,
        rehearse,
    } = read_json(body).await?;
    let checked = canary.as_ref().map_or(Ok(()), CanaryRule::check);
    let checked = checked.and_then(|()| rehearse.as_ref().map_or(Ok(()), RehearsalRule::check));
    checked.map_err(ApiError::invalid)?;
    let named = admin.named(queue, prefix).await?;
    let digest = named.deployments.resolve(&digest).await?;
    if let Some(rule) = rehearse {
        let report = admin.rehearsed(&named, &digest, rule.count).await?;
        if !report.passes(rule.allow_percent) {
            let reason = format!("candidate did not pass its rehearsal: {}", report.sum());
            return Err(ApiError::conflict(reason));
        }
    }
    let deployed = named.deployments.deploy(&digest, None, canary.as_ref());
    Ok(Json(deployed.await?))
}

/// Runs the newest recorded attempts of a queue on a stored version. This sends nothing to other servers and changes nothing
/// in Redis.
#[utoipa::path(post, path = "/v1/queues/{queue}/rehearsal", params(Prefixed), request_body = Rehearse, responses(
    (status = OK, body = Report), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(super) async fn rehearse(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
    body: Body,
) -> Result<Json<Report>, ApiError> {
    let Rehearse { digest, count } = read_json(body).await?;
    let named = admin.named(queue, prefix).await?;
    let digest = named.deployments.resolve(&digest).await?;
    let count = count.unwrap_or(REHEARSED);
    Ok(Json(admin.rehearsed(&named, &digest, count).await?))
}

/// Removes the deployment of a queue: each host serves the file that its config names.
#[utoipa::path(delete, path = "/v1/queues/{queue}/deployment", params(Prefixed), responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn undeploy(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
) -> Result<Json<Deployment>, ApiError> {
    Ok(Json(
        admin.deployments(queue, prefix).await?.undeploy().await?,
    ))
}

/// Forgets a queue that no host serves any more: removes its deployment, its components and its history. BullMQ's keys, and
/// so its jobs, stay as they are. The request is refused while any host serves the queue: detach it first.
#[utoipa::path(post, path = "/v1/queues/{queue}/forget", params(Prefixed), responses(
    (status = OK, body = Forgotten), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn forget(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(prefix): Query<Prefixed>,
) -> Result<Json<Forgotten>, ApiError> {
    let queue = admin.queue(&name, prefix.prefix.as_deref())?;
    // One that does not work yet may be of any prefix.
    let is_other = admin.host.queue_status(&name).is_ok()
        && admin.host.queue(&name)?.keys().base() != queue.keys().base();
    if admin.host.names().contains(&name) && !is_other {
        return Err(ApiError::conflict(format!(
            "queue `{name}` is served by this host: detach it first"
        )));
    }
    Ok(Json(forget_queue(&queue).await?))
}

/// Makes an earlier version active again.
#[utoipa::path(post, path = "/v1/queues/{queue}/deployment/rollback", params(Prefixed), request_body = Rollback, responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn rollback(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let Rollback { digest } = read_json(body).await?;
    let deployments = admin.deployments(queue, prefix).await?;
    let digest = match digest {
        Some(digest) => Some(deployments.resolve(&digest).await?),
        None => None,
    };
    Ok(Json(deployments.rollback(digest.as_deref()).await?))
}

/// Makes the candidate of a canary active.
#[utoipa::path(post, path = "/v1/queues/{queue}/canary/promote", params(Prefixed), responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn promote(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
) -> Result<Json<Deployment>, ApiError> {
    Ok(Json(
        admin.deployments(queue, prefix).await?.promote().await?,
    ))
}

/// Ends a canary; all jobs go to the active version.
#[utoipa::path(post, path = "/v1/queues/{queue}/canary/abort", params(Prefixed), request_body = Abort, responses(
    (status = OK, body = Deployment), (status = NOT_FOUND), (status = CONFLICT)))]
pub(super) async fn abort(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
    Query(prefix): Query<Prefixed>,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let Abort { reason } = read_json(body).await?;
    let reason = reason.unwrap_or_else(|| "by the admin API".to_owned());
    Ok(Json(
        admin
            .deployments(queue, prefix)
            .await?
            .abort(&reason)
            .await?,
    ))
}
