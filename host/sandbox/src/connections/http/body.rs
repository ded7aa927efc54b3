//! Bodies of requests and of responses, within the limits of time and bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
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
    end: Instant,
    /// Made when it first waits: most bodies are there at once.
    timer: Option<Pin<Box<Sleep>>>,
    too_large: TooLarge,
    /// Given back when the body has come to its end, or is dropped.
    loan: Option<Loan>,
    exchange: Sender,
    given_up: Option<GivenUp>,
}

/// Why a body ends before it is whole, and the end of the response, for which it waits.
type GivenUp = (Error, Pin<Box<dyn Future<Output = ()> + Send>>);

/// What a request's body and its response know of each other.
#[derive(Default)]
pub(super) struct Exchange {
    is_answered: AtomicBool,
    is_over: Notify,
    is_sent: Notify,
}

/// Held by the body of a request.
#[derive(Default)]
struct Sender(Arc<Exchange>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.is_sent.notify_one();
    }
}

impl Exchange {
    /// The head of the response has arrived.
    pub(super) fn answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }

    /// Nobody reads the response any more.
    pub(super) fn over(&self) {
        self.is_over.notify_one();
    }

    /// Waits until nothing of the request is left to be sent. One task may wait.
    pub(super) async fn sent(&self) {
        self.is_sent.notified().await;
    }

    /// A guest gives up the rest of a request that is answered early. As an error that would end the connection, and with it
    /// the answer.
    fn give_up(self: &Arc<Self>, error: Error) -> Result<GivenUp, Error> {
        if !self.is_answered.load(Ordering::Acquire) {
            return Err(error);
        }
        let exchange = Arc::clone(self);
        Ok((
            error,
            Box::pin(async move { exchange.is_over.notified().await }),
        ))
    }
}

impl<B> Bounded<B> {
    pub(crate) fn new(body: B, bytes_max: u64, end: Instant, too_large: TooLarge) -> Self {
        Bounded {
            body: Box::pin(body),
            bytes_left: bytes_max,
            bytes_max,
            end,
            timer: None,
            too_large,
            loan: None,
            exchange: Sender::default(),
            given_up: None,
        }
    }

    /// Another body that ends when this one would have, for the same request.
    pub(crate) fn like(&self, body: B) -> Self {
        let exchange = Sender(self.exchange());
        let like = Self::new(body, self.bytes_max, self.end, self.too_large);
        Bounded { exchange, ..like }
    }

    pub(super) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.exchange.0)
    }

    /// When it must have come to its end.
    pub(super) fn end(&self) -> Instant {
        self.end
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

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        if Instant::now() >= self.end {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        let polled = self.poll_to_the_end(context);
        if polled.is_pending() {
            let end = self.end;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            std::task::ready!(timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl<B: Body<Data = Bytes, Error = Error>> Bounded<B> {
    /// The next frame, or once the guest has given up and nobody reads the response any more, why it has.
    fn poll_to_the_end(&mut self, context: &mut Context<'_>) -> Polled {
        if self.given_up.is_none() {
            match std::task::ready!(self.poll_within(context)) {
                // The guest goes on writing: it must hear that it may not. Nobody reads what it writes while this waits.
                Some(Err(error @ Error::HttpRequestBodySize(_))) => {
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Err(error)) => match self.exchange.0.give_up(error) {
                    Ok(given_up) => self.given_up = Some(given_up),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                frame => return Poll::Ready(frame),
            }
        }
        if let Some((_, over)) = &mut self.given_up {
            std::task::ready!(over.as_mut().poll(context));
        }
        let given_up = self.given_up.take();
        Poll::Ready(given_up.map(|(error, _)| Err(error)))
    }

    fn poll_within(&mut self, context: &mut Context<'_>) -> Polled {
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
}
