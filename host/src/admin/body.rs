//! Reading bodies of requests, up to a limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::ApiError;
use super::objects::Objects;
use crate::unknown_key;

/// The largest body of a request that is not a component.
const JSON_BYTES_MAX: usize = 1 << 20;
/// How long a body may take, whatever its size.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing of it may come: it may hold a place that others wait for.
const IDLE_PATIENCE: Duration = Duration::from_secs(5);

/// Reads JSON; no body at all is an empty object.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = read(body, JSON_BYTES_MAX).await?;
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let as_objects = || T::deserialize(Objects(serde_json::from_slice(bytes)?));
    // The first time for its errors, which say where they are.
    let read = serde_json::from_slice::<T>(bytes).and_then(|_| as_objects());
    read.map_err(|error| {
        let error = error.to_string();
        // Something else stands where an object should be.
        let error = match error.contains("expected struct ") {
            true => {
                as_objects().map_or_else(|error| error.to_string(), |_| "expected an object".into())
            }
            false => error,
        };
        let said = unknown_key::with_hint(&error, &error);
        ApiError::invalid(format!("body is invalid: {said}"))
    })
}

/// Reads a whole body.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    IncomingBody::new(body, bytes_max).all().await
}

/// A body that is being read, with a limit, and with limits of the patience with its sender.
pub(super) struct IncomingBody {
    stream: BodyDataStream,
    bytes: BytesMut,
    /// Of what came, also where it was dropped.
    length: usize,
    bytes_max: usize,
    idle_patience: Duration,
}

impl IncomingBody {
    pub(super) fn new(body: Body, bytes_max: usize) -> Self {
        IncomingBody {
            stream: body.into_data_stream(),
            bytes: BytesMut::new(),
            length: 0,
            bytes_max,
            idle_patience: IDLE_PATIENCE,
        }
    }

    /// Reads until so many bytes are there, and what comes along with them, or all.
    pub(super) async fn reach(&mut self, count: usize) -> Result<(), ApiError> {
        let read = async {
            while self.length < count
                && let Some(part) = self.next().await?
            {
                self.keep(&part);
            }
            Ok(())
        };
        timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| Err(ApiError::too_slow()))
    }

    /// Reads all of it. Somewhat more than the limit is read and dropped: who is cut off while sending does not see the
    /// answer.
    pub(super) async fn all(mut self) -> Result<Bytes, ApiError> {
        self.reach(self.bytes_max.saturating_mul(2).saturating_add(2))
            .await?;
        if self.length > self.bytes_max {
            return Err(ApiError::too_large(self.bytes_max));
        }
        Ok(self.bytes.freeze())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let part = timeout(self.idle_patience, self.stream.next()).await;
        let part = part.map_err(|_| ApiError::too_slow())?.transpose();
        part.map_err(|error| ApiError::invalid(format!("the body ended early: {error}")))
    }

    fn keep(&mut self, part: &[u8]) {
        self.length = self.length.saturating_add(part.len());
        if self.length <= self.bytes_max {
            self.bytes.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use serde::Deserialize;

    use super::*;

    #[tokio::test]
    async fn body_of_which_no_more_comes_is_given_up() {
        let part = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(part.chain(stream::pending()));
        let mut body = IncomingBody::new(body, 100);
        body.idle_patience = Duration::from_millis(1);
        assert!(body.all().await.is_err());
    }

    #[tokio::test]
    async fn body_is_read_in_two_steps_or_in_one() {
        let parts = ["abc", "def", "ghi"].map(|part| Ok::<_, Infallible>(Bytes::from(part)));
        let mut body = IncomingBody::new(Body::from_stream(stream::iter(parts)), 9);
        body.reach(4).await.unwrap();
        assert_eq!(body.length, 6);
        assert_eq!(body.all().await.unwrap(), "abcdefghi");
        for (length, is_read) in [(9, true), (10, false), (1000, false)] {
            assert_eq!(
                read(Body::from("x".repeat(length)), 9).await.is_ok(),
                is_read
            );
        }
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Fields {
        _a: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    struct Named {
        _name: String,
        _fields: Option<Fields>,
    }

    #[tokio::test]
    async fn refusal_names_no_type_of_this_program() {
        for (body, reason) in [
            ("[]", "invalid type: sequence, expected an object"),
            ("7", "invalid type: number, expected an object"),
            (
                "\"text\"",
                "invalid type: string \"text\", expected an object",
            ),
            (
                r#"{"_name":"a","_fields":true}"#,
                "invalid type: boolean `true`, expected an object",
            ),
            (
                r#"{"_name":7}"#,
                "invalid type: integer `7`, expected a string at line 1 column 10",
            ),
        ] {
            let error = read_json::<Named>(Body::from(body)).await.unwrap_err();
            let said = format!("{error:?}");
            assert!(
                said.contains(&format!("{:?}", format!("body is invalid: {reason}"))),
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn body_is_an_object() {
        for (body, is_read) in [
            ("", true),
            (" {}", true),
            ("[1]", false),
            (" [null]", false),
            ("null", false),
        ] {
            let read = read_json::<Fields>(Body::from(body)).await;
            assert_eq!(read.is_ok(), is_read, "{body}");
        }
    }
}
