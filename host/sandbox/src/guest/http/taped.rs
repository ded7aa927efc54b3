//! Requests of an attempt that is recorded: what is sent and what comes of it is noted on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, WasiBody};

use super::Answer;
use crate::recording::{Bytes as Recorded, Recorder};

/// A request that is recorded, by its number.
#[derive(Clone)]
pub(super) struct Taped {
    recorder: Arc<Recorder>,
    number: usize,
}

/// What a request is compared by, but its body: its first line, and its headers.
pub(super) fn head(request: &Request<WasiBody>) -> (String, Vec<u8>) {
    let line = format!("{} {}", request.method(), request.uri());
    let mut headers: Vec<Vec<u8>> = request
        .headers()
        .iter()
        .map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat())
        .collect();
    headers.sort();
    (line, headers.concat())
}

impl Taped {
    pub(super) fn begin(recorder: &Arc<Recorder>, request: &Request<WasiBody>) -> Self {
        let (line, headers) = head(request);
        Taped {
            number: recorder.request(&line, &headers),
            recorder: Arc::clone(recorder),
        }
    }

    /// Notes the body of the request as it is sent.
    pub(super) fn request(&self, request: Request<WasiBody>) -> Request<WasiBody> {
        let taped = self.clone();
        request.map(|body| Teed::new(body, Side::Request(Some(Vec::new())), taped).boxed_unsync())
    }

    /// Notes what comes of the request.
    pub(super) fn answer(&self, answer: Result<Answer, Error>) -> Result<Answer, Error> {
        let (response, rest) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.recorder.request_failed(self.number, &error);
                return Err(error);
            }
        };
        let headers = headers(response.headers());
        let status = response.status().as_u16();
        self.recorder.response(self.number, status, headers);
        let taped = self.clone();
        let response = response.map(|body| Teed::new(body, Side::Response, taped).boxed_unsync());
        Ok((response, rest))
    }
}

fn headers(headers: &HeaderMap) -> Vec<(String, Recorded)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (
            name.as_str().to_owned(),
            Recorded(value.as_bytes().to_vec()),
        )
    };
    headers.iter().map(pair).collect()
}

/// Which body it is. That of a request is compared as a whole.
enum Side {
    Request(Option<Vec<u8>>),
    Response,
}

/// A body that is noted on its way.
struct Teed {
    body: WasiBody,
    side: Side,
    taped: Taped,
}

impl Teed {
    fn new(body: WasiBody, side: Side, taped: Taped) -> Self {
        let mut teed = Teed { body, side, taped };
        if teed.body.is_end_stream() {
            teed.end();
        }
        teed
    }

    /// Notes the body of a request, once.
    fn end(&mut self) {
        let Taped { recorder, number } = &self.taped;
        if let Side::Request(body) = &mut self.side
            && let Some(body) = body.take()
        {
            recorder.request_body(*number, &body);
        }
    }
}

/// Who sends a body with a known length does not ask for its end.
impl Drop for Teed {
    fn drop(&mut self) {
        self.end();
    }
}

impl Body for Teed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let this = &mut *self;
        match (&frame, &mut this.side) {
            (Some(Ok(frame)), side) => {
                if let Some(data) = frame.data_ref() {
                    match side {
                        Side::Request(body) if this.taped.recorder.takes(data.len()) => body
                            .iter_mut()
                            .for_each(|body| body.extend_from_slice(data)),
                        // What is not whole is not compared.
                        Side::Request(body) => *body = None,
                        Side::Response => {
                            this.taped.recorder.response_body(this.taped.number, data)
                        }
                    }
                }
                if this.body.is_end_stream() {
                    this.end();
                }
            }
            (Some(Err(error)), Side::Response) => {
                this.taped.recorder.request_failed(this.taped.number, error);
            }
            (Some(Err(_)), Side::Request(_)) => {}
            (None, _) => this.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
