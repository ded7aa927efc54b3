//! Reading bodies of requests, up to a limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::unknown_key;

/// The largest body of a request that is not a component.
const JSON_BYTES_MAX: usize = 1 << 20;
/// How long a body may take, whatever its size.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads JSON; no body at all is an empty object.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = read(body, JSON_BYTES_MAX).await?;
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        let error = error.to_string();
        let hint = unknown_key::hint(&error);
        let hint = hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
        ApiError::invalid(format!("body is invalid: {error}{hint}"))
    })
}

/// Reads a whole body.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let read = read_stream(body.into_data_stream(), bytes_max);
    tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| Err(ApiError::too_slow()))
}

async fn read_stream(mut stream: BodyDataStream, bytes_max: usize) -> Result<Bytes, ApiError> {
    let (mut bytes, mut length) = (BytesMut::new(), 0_usize);
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| ApiError::invalid(format!("body broke off: {error}")))?;
        length = length.saturating_add(part.len());
        if length <= bytes_max {
            bytes.extend_from_slice(&part);
        } else if length / 2 > bytes_max {
            break;
        }
        // Somewhat more is read and dropped: who is cut off while sending does not see the answer.
    }
    if length > bytes_max {
        return Err(ApiError::too_large(bytes_max));
    }
    Ok(bytes.freeze())
}
