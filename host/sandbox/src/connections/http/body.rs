//! Bodies of requests and of responses, within the limits of time and bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

use super::Loan;

pub(crate) type TooLarge = fn(u64) -> Error;
pub(crate) const TOO_LARGE_REQUEST: TooLarge = |max| Error::HttpRequestBodySize(Some(max));
pub(crate) const TOO_LARGE_RESPONSE: TooLarge = |max| Error::HttpResponseBodySize(Some(max));

/// A body that may have a size, and take a time.
pub(crate) struct Bounded<B> {
    body: Pin<Box<B>>,
    bytes_left: u64,
    bytes_max: u64,
    end: Pin<Box<Sleep>>,
    too_large: TooLarge,
    /// Given back when the body has come to its end, or is dropped.
    loan: Option<Loan>,
}

impl<B> Bounded<B> {
    pub(crate) fn new(body: B, bytes_max: u64, end: Instant, too_large: TooLarge) -> Self {
        Bounded {
            body: Box::pin(body),
            bytes_left: bytes_max,
            bytes_max,
            end: Box::pin(sleep_until(end)),
            too_large,
            loan: None,
        }
    }

    /// Another body that ends when this one would have, for the same request.
    pub(crate) fn like(&self, body: B) -> Self {
        Self::new(body, self.bytes_max, self.end.deadline(), self.too_large)
    }
}

impl<B: Body> Bounded<B> {
    /// Keeps a connection for as long as there is something to read from it.
    pub(crate) fn holding(mut self, loan: Loan) -> Self {
        self.loan = Some(loan).filter(|_| !self.body.is_end_stream());
        self
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        let frame = std::task::ready!(self.body.as_mut().poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.bytes_left.checked_sub(data.len() as u64) {
                Some(left) => self.bytes_left = left,
                None => return Poll::Ready(Some(Err((self.too_large)(self.bytes_max)))),
            }
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.loan = None;
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
