//! Requests that are answered without a server, within the limits of the grant.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, WasiBody};

use super::Answer;
use crate::backend::{HttpAnswer, HttpAnswers};
use crate::connections::http::{Bounded, TOO_LARGE_REQUEST, TOO_LARGE_RESPONSE};
use crate::policy::HttpGrant;

pub(super) async fn send(
    grant: &HttpGrant,
    answers: &dyn HttpAnswers,
    request: Request<WasiBody>,
) -> Result<Answer, Error> {
    let end = Instant::now() + Duration::from_millis(grant.timeout_ms);
    let (head, body) = request.into_parts();
    let body = Bounded::new(body, grant.request_bytes_max, end, TOO_LARGE_REQUEST);
    let body = body.collect().await?.to_bytes();
    let response = response(answers.answer(Request::from_parts(head, body)))?;
    let response = response.map(|body| {
        let body = Full::new(body).map_err(|never| match never {});
        Bounded::new(body, grant.response_bytes_max, end, TOO_LARGE_RESPONSE).boxed_unsync()
    });
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

fn response(answer: HttpAnswer) -> Result<Response<Bytes>, Error> {
    match answer {
        HttpAnswer::Response(response) => Ok(response),
        HttpAnswer::ConnectionRefused => Err(Error::ConnectionRefused),
        HttpAnswer::TimedOut => Err(Error::HttpResponseTimeout),
        HttpAnswer::NoServer => Err(Error::DestinationNotFound),
    }
}
