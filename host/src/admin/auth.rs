//! Who may use the API.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tracing::info;

use super::error::ApiError;

/// What callers must show.
#[derive(Clone)]
pub(super) struct Auth {
    /// The digest of the token: of one length, whatever the token's, so that comparing tells nothing.
    token: Option<Arc<[u8]>>,
}

impl Auth {
    pub(super) fn new(token: Option<&str>) -> Self {
        Auth {
            token: token.map(|token| Sha256::digest(token).as_slice().into()),
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.token {
            Some(token) => check_token(token, headers),
            None => check_local(headers),
        }
    }
}

fn check_token(token: &[u8], headers: &HeaderMap) -> Result<(), ApiError> {
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(sent) = sent else {
        return Err(ApiError::unauthorized(
            "send the admin API's token as `Authorization: Bearer …`",
        ));
    };
    if bool::from(Sha256::digest(sent.trim()).as_slice().ct_eq(token)) {
        Ok(())
    } else {
        Err(ApiError::unauthorized("this is not the admin API's token"))
    }
}

/// Without a token everything on this machine may ask, except web pages in a browser that runs here.
fn check_local(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_local = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = if host.ends_with(']') { host } else { name };
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_local) || headers.contains_key(header::ORIGIN) {
        return Err(ApiError::forbidden(
            "without a token only programs on this machine may use the API, and no web pages: \
             set TORIL_ADMIN_TOKEN to allow more",
        ));
    }
    Ok(())
}

/// Lets a request pass, or answers it; notes what changed something.
pub(super) async fn guard(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    if let Err(refused) = auth.check(request.headers()) {
        return refused.into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if method.is_safe() {
        return next.run(request).await;
    }
    // A task of its own: what changes something is finished and noted whether or not the client waits for it.
    let finished = tokio::spawn(async move {
        let response = next.run(request).await;
        info!(%method, path, status = response.status().as_u16(), "admin request");
        response
    });
    let response = finished.await;
    response.unwrap_or_else(|panic| ApiError::internal(&panic).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn token_is_asked_for_and_compared() {
        let auth = Auth::new(Some("right"));
        let check = |value| auth.check(&headers(&[("authorization", value)]));
        assert!(check("Bearer right").is_ok());
        for wrong in ["Bearer wrong", "Bearer ", "right", "Basic right"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(auth.check(&headers(&[("host", "localhost")])).is_err());
    }

    #[test]
    fn web_pages_do_not_reach_an_api_without_a_token() {
        let auth = Auth::new(None);
        for local in ["localhost:7717", "127.0.0.1", "[::1]:7717", "[::1]"] {
            assert!(auth.check(&headers(&[("host", local)])).is_ok(), "{local}");
        }
        let rebound = headers(&[("host", "evil.example:7717")]);
        assert!(auth.check(&rebound).is_err());
        let page = headers(&[
            ("host", "localhost:7717"),
            ("origin", "http://evil.example"),
        ]);
        assert!(auth.check(&page).is_err());
        assert!(auth.check(&headers(&[])).is_err());
    }
}
