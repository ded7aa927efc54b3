//! The admin API: HTTP for people and tools that operate a host. Its routes, with bodies and answers, are
//! described at `/openapi.json`.
//!
//! | route | what |
//! |---|---|
//! | `GET /healthz`, `GET /readyz` | alive; takes jobs and Redis answers |
//! | `GET /metrics` | [metrics](crate::metrics) |
//! | `/v1/queues…` | attach, detach, pause, resume, concurrency, events, jobs |
//! | `/v1/queues/{queue}/versions`, `/deployment`, `/canary`, `/forget` | upload, deploy, roll back, forget |
//! | `GET /v1/hosts` | what each host of the fleet runs |
//!
//! Nothing here instantiates a processor for a job or touches one that runs, and no path of a request reaches
//! the file system.

mod answers;
mod auth;
mod body;
mod connections;
mod error;
mod events;
mod extract;
mod objects;
mod processors;
mod queues;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tracing::info;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::AdminConfig;
use crate::host::Host;
use crate::served_queue::QueueStatus;
use crate::served_queue::deployment::Deployments;
use auth::Auth;
use connections::Routes;
use error::ApiError;

const REDIS_PATIENCE: Duration = Duration::from_secs(1);
/// Components are compiled one after the other: more at once would only fill the memory.
const UPLOADS_MAX: usize = 4;

/// What every handler knows.
#[derive(Clone)]
struct Admin {
    host: Arc<Host>,
    ready: Arc<AtomicBool>,
    /// Places for components that are being uploaded: each is held in memory while it comes.
    uploads: Arc<Semaphore>,
    /// One rehearsal at a time: they run beside live jobs.
    rehearsals: Arc<Semaphore>,
}

/// An address that is taken, and not served yet.
pub(crate) struct Listener {
    listener: TcpListener,
    auth: Auth,
    connections_max: usize,
}

/// A served API. It ends when this is dropped.
pub(crate) struct Server {
    ready: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Listener {
    pub(crate) async fn bind(config: &AdminConfig) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| {
                let what = format!("the admin API cannot listen at `{}`", config.listen);
                format!("{what}\nhint: choose another address with `--admin` or as `listen` in `[admin]`; port 0 is a free one")
            })?;
        let auth = Auth::new(config.token.as_deref());
        Ok(Listener {
            listener,
            auth,
            connections_max: config.connections_max,
        })
    }

    pub(crate) fn serve(self, host: Arc<Host>) -> Server {
        let ready = Arc::new(AtomicBool::new(false));
        let admin = Admin {
            host,
            ready: Arc::clone(&ready),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            rehearsals: Arc::new(Semaphore::new(1)),
        };
        let address = self.listener.local_addr();
        info!(
            address = address
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            "the admin API listens"
        );
        if let Ok(address) = address {
            admin.host.admin_listens(address);
        }
        let routes = Routes {
            probes: lone_probes(admin.clone(), self.connections_max),
            api: router(admin, self.auth),
        };
        let served = connections::serve(self.listener, routes, self.connections_max);
        let task = tokio::spawn(served);
        Server {
            ready,
            task: task.abort_handle(),
        }
    }
}

impl Server {
    /// Says whether the host takes jobs.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Toril admin API",
    description = "Operates one host, and through Redis all hosts of its queues. The body of an error is `{ \"error\": { \"code\", \
                   \"message\" } }`."
))]
struct Api;

fn router(admin: Admin, auth: Auth) -> Router {
    let (api, mut document) = described().split_for_parts();
    answers::describe(&mut document);
    // Plain data, which can always be written.
    let document = Bytes::from(document.to_json().unwrap_or_default());
    let document = ([(header::CONTENT_TYPE, "application/json")], document);
    // Who balances load has no token, and learns nothing from `healthz` and `readyz`.
    api.route("/openapi.json", get(async move || document))
        .layer(middleware::from_fn_with_state(auth, auth::guard))
        .merge(probes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(admin)
}

/// What is answered also where there are too many connections for anything else.
fn probes() -> Router<Admin> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

fn lone_probes(admin: Admin, connections_max: usize) -> Router {
    probes()
        .fallback(async move || ApiError::too_many_connections(connections_max))
        .with_state(admin)
}

/// All routes that the OpenAPI document describes.
fn described() -> OpenApiRouter<Admin> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(metrics))
        .routes(routes!(hosts))
        .routes(routes!(queues::list))
        .routes(routes!(queues::show, queues::attach, queues::detach))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::set_concurrency))
        .routes(routes!(events::events))
        .routes(routes!(queues::jobs))
        .routes(routes!(queues::cancel))
        .routes(routes!(processors::versions, processors::upload))
        .routes(routes!(
            processors::deployment,
            processors::deploy,
            processors::undeploy
        ))
        .routes(routes!(processors::forget))
        .routes(routes!(processors::rehearse))
        .routes(routes!(processors::rollback))
        .routes(routes!(processors::promote))
        .routes(routes!(processors::abort))
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if !admin.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n");
    }
    let mut connection = admin.host.redis().shared();
    let ping = redis::cmd("PING");
    let ping = ping.exec_async(&mut connection);
    match tokio::time::timeout(REDIS_PATIENCE, ping).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "redis does not answer\n"),
    }
}

/// Shows the metrics of this host, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = OK, body = String)))]
async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], admin.host.metrics())
}

/// The hosts of a queue.
#[derive(Serialize, ToSchema)]
struct QueueHosts {
    /// The queue's name.
    queue: String,
    hosts: Vec<QueueStatus>,
}

/// Lists, for each queue of this host, all hosts that serve it.
#[utoipa::path(get, path = "/v1/hosts", responses((status = OK, body = Vec<QueueHosts>)))]
async fn hosts(State(admin): State<Admin>) -> Result<Json<Vec<QueueHosts>>, ApiError> {
    let mut queues = Vec::new();
    for status in admin.host.status() {
        let deployments: Deployments = admin.host.deployments(&status.queue)?;
        queues.push(QueueHosts {
            hosts: deployments.hosts().await?,
            queue: status.queue,
        });
    }
    Ok(Json(queues))
}
