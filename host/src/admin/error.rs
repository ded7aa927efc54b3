//! What the API answers when it does not do what was asked: a status, a code, a message for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{error, warn};

use crate::host::{ApplyError, NotAttached};
use crate::served_queue::deployment::DeployError;
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

    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        error!(%error, "admin request failed: this is a bug of toril");
        let message = "this is a bug of toril: the host's log says more";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(super) fn unknown_queue(queue: &str) -> Self {
        let message = format!("queue `{queue}` is unknown here: attach it first");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_queue", message)
    }

    pub(super) fn unknown_job(queue: &str, job_id: &str) -> Self {
        let message = format!("queue `{queue}` has no job `{job_id}`");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_job", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn too_many_connections(connections_max: usize) -> Self {
        let message = format!(
            "the admin API has {connections_max} open connections: close some, try again in some seconds, or raise \
             `admin.connections_max`"
        );
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_connections",
            message,
        )
    }

    /// Redis answered with an error of this code that will pass, or with nothing.
    fn redis_unavailable(code: Option<&str>) -> Self {
        let (name, message) = match code {
            None => (
                "redis_unavailable",
                "redis does not answer: try again later",
            ),
            Some("OOM" | "READONLY" | "MISCONF" | "NOREPLICAS") => (
                "redis_refuses_writes",
                "redis answers but refuses writes now: the host's log says why",
            ),
            Some(_) => (
                "redis_unavailable",
                "redis answers but is not ready: try again later",
            ),
        };
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, name, message)
    }

    pub(super) fn too_many_uploads() -> Self {
        let message = "too many components are being uploaded: try again later";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_uploads", message)
    }

    pub(super) fn too_slow() -> Self {
        let message = "the body took too long: send it again";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
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

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Attached(_) => ApiError::conflict(message),
            ApplyError::Refused { error, .. } => match error.downcast::<QueueError>() {
                // Nothing that the caller said.
                Ok(error) => error.into(),
                Err(_) => ApiError::invalid(message),
            },
            ApplyError::Busy(_) => ApiError::conflict(message),
            ApplyError::Stopping => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        let message = error.to_string();
        match error {
            QueueError::Invalid(_) | QueueError::TooLarge { .. } | QueueError::Kv(_) => {
                ApiError::invalid(message)
            }
            // Another one was faster, or the job is not where the request needs it.
            QueueError::Job { .. }
            | QueueError::Locked(_)
            | QueueError::NotInState { .. }
            | QueueError::BeyondAccess(_) => ApiError::conflict(message),
            error if error.is_transient() => {
                warn!(%error, "redis does not do now what an admin request needs");
                let code = match &error {
                    QueueError::Redis(failure) => failure.code(),
                    _ => None,
                };
                ApiError::redis_unavailable(code)
            }
            QueueError::Redis(_) | QueueError::Reply(_) => {
                error!(error = message, "redis refused what an admin request needs");
                ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "redis_refused",
                    "redis refused it: the host's log says why",
                )
            }
        }
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let (status, code) = match error {
            LoadError::MachineIsShort(_) => (StatusCode::SERVICE_UNAVAILABLE, "machine_is_short"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "component_refused"),
        };
        ApiError::new(status, code, error.to_string())
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
            DeployError::NothingKnown(queue) => ApiError::unknown_queue(&queue),
            DeployError::Ambiguous { .. } | DeployError::Invalid(_) => ApiError::invalid(message),
            DeployError::NoCanary(_)
            | DeployError::Changed(_)
            | DeployError::ActiveAlready { .. }
            | DeployError::Worked { .. }
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
        "this route does not have this method: `/openapi.json` lists them",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_redis_is_no_mistake_of_the_caller() {
        let refused = |error: anyhow::Error| {
            let queue = "ring".to_owned();
            ApiError::from(ApplyError::Refused { queue, error })
        };
        let text = "-NOPERM no access to `secret`\r\n";
        let value = redis::parse_redis_value(text.as_bytes()).unwrap();
        let error = QueueError::from(value.extract_error().unwrap_err());
        let error = refused(anyhow::Error::new(error).context("deployments cannot be read"));
        assert_eq!((error.status.as_u16(), error.code), (500, "redis_refused"));
        assert!(!error.message.contains("secret"));
        let error = refused(anyhow::anyhow!("`concurrency` must be 1 or more"));
        assert_eq!((error.status.as_u16(), error.code), (400, "invalid"));
    }

    #[test]
    fn status_says_whose_fault_it_is_and_internal_text_stays_here() {
        let redis = |detail: &str| {
            let parts = format!("-{detail}\r\n");
            let value = redis::parse_redis_value(parts.as_bytes()).unwrap();
            let error = value.extract_error().unwrap_err();
            ApiError::from(QueueError::from(error))
        };
        for (error, status, code) in [
            (redis("NOPERM no access to `secret`"), 500, "redis_refused"),
            (redis("WRONGTYPE of `secret`"), 500, "redis_refused"),
            (redis("LOADING secret"), 503, "redis_unavailable"),
            (redis("OOM secret"), 503, "redis_refuses_writes"),
            (redis("READONLY secret"), 503, "redis_refuses_writes"),
            (redis("MISCONF secret"), 503, "redis_refuses_writes"),
            (redis("NOREPLICAS secret"), 503, "redis_refuses_writes"),
            (QueueError::Invalid("x".into()).into(), 400, "invalid"),
            (QueueError::Locked("1".into()).into(), 409, "conflict"),
            (QueueError::Reply("x").into(), 500, "redis_refused"),
        ] {
            assert_eq!((error.status.as_u16(), error.code), (status, code));
            assert!(!error.message.contains("secret"), "{}", error.message);
            assert!(!error.message.contains("not answer"), "{}", error.message);
        }
    }
}
