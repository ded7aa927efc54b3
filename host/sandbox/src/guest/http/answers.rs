//! Requests that are answered without a server, within the limits of the grant.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, WasiBody};

use super::Answer;
use crate::backend::{HttpAnswer, HttpAnswers};
use crate::connections::http::{Bounded, TOO_LARGE_REQUEST, TOO_LARGE_RESPONSE};
use crate::policy::HttpGrant;
use crate::recording::error_of_name;

pub(super) async fn send(
    grant: &HttpGrant,
    answers: &dyn HttpAnswers,
    number: usize,
    request: Request<WasiBody>,
) -> Result<Answer, Error> {
    let end = Instant::now() + Duration::from_millis(grant.timeout_ms);
    let (head, body) = request.into_parts();
    let body = Bounded::new(body, grant.request_bytes_max, end, TOO_LARGE_REQUEST);
    let body = body.collect().await?.to_bytes();
    let (response, cut_off) = match answers.answer(number, Request::from_parts(head, body)) {
        HttpAnswer::Response(response) => (response, None),
        HttpAnswer::CutOff(response, name) => (response, Some(error_of_name(&name))),
        HttpAnswer::ConnectionRefused => return Err(Error::ConnectionRefused),
        HttpAnswer::TimedOut => return Err(Error::HttpResponseTimeout),
        HttpAnswer::NoServer => return Err(Error::DestinationNotFound),
        HttpAnswer::Failed(name) => return Err(error_of_name(&name)),
        HttpAnswer::Never => std::future::pending().await,
    };
    let response = response.map(|bytes| {
        let body = ending(bytes, cut_off);
        Bounded::new(body, grant.response_bytes_max, end, TOO_LARGE_RESPONSE).boxed_unsync()
    });
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

/// A body that ends as it did when it was recorded.
fn ending(bytes: Bytes, cut_off: Option<Error>) -> WasiBody {
    let Some(error) = cut_off else {
        return Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync();
    };
    let frames = [Ok(http_body::Frame::data(bytes)), Err(error)];
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}
