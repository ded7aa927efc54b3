//! What the API answers when it does not do what was asked: a status, a code, a message for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::fleet::DeployError;
use crate::host::NotAttached;
use toril_queue::QueueError;
use toril_sandbox::LoadError;

/// An answer that is not success. The body is `{ "error": { "code", "message" } }`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        ApiError {
            status,
            code,
            message,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn unknown_queue(queue: &str) -> Self {
        let message = format!("queue `{queue}` is unknown here: attach it first");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_queue", message)
    }

    pub(super) fn not_running(job_id: &str) -> Self {
        let message = format!("job `{job_id}` does not run on this host");
        ApiError::new(StatusCode::NOT_FOUND, "not_running", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("body has more than the limit of {bytes_max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<NotAttached> for ApiError {
    fn from(error: NotAttached) -> Self {
        ApiError::unknown_queue(&error.0)
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "redis_unavailable",
            error.to_string(),
        )
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "component_refused",
            error.to_string(),
        )
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        let message = error.to_string();
        match error {
            DeployError::Queue(error) => error.into(),
            DeployError::NoSuchVersion { .. } => {
                ApiError::new(StatusCode::NOT_FOUND, "unknown_version", message)
            }
            DeployError::Ambiguous { .. } | DeployError::Invalid(_) => ApiError::invalid(message),
            DeployError::NoCanary(_)
            | DeployError::NothingBefore(_)
            | DeployError::NothingDeployed(_) => ApiError::conflict(message),
        }
    }
}

pub(super) async fn no_such_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_route",
        "there is no such route: `/openapi.json` lists them",
    )
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "unknown_method",
        "this route does not know this method: `/openapi.json` lists them",
    )
}
