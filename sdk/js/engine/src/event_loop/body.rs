//! The body of an answer, which the script reads piece by piece.

use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::{Ctx, Function, IntoJs, Object, Result as JsResult, Value};
use wasip2::http::types::{IncomingBody, IncomingResponse, http_error_code};
use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, StreamError};

use super::EventLoop;
use super::decoding::{Decoder, Step};
use super::tasks::{Problem, ready};
use crate::raw;

/// How much is read at once.
const PIECE_BYTES: u64 = 64 << 10;

/// Open until it was read to its end, or given up.
pub(super) struct Body {
    open: RefCell<Option<Open>>,
    decoder: RefCell<Decoder>,
}

/// Dropped in this order: the host insists that what belongs to another thing goes first.
struct Open {
    pollable: Rc<Pollable>,
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

/// A piece of it; none at its end.
pub(super) struct Piece(Option<Vec<u8>>);

impl<'js> IntoJs<'js> for Piece {
    fn into_js(self, ctx: &Ctx<'js>) -> JsResult<Value<'js>> {
        match self.0 {
            Some(bytes) => Ok(raw::buffer(ctx, &bytes)?.into_value()),
            None => Ok(Value::new_undefined(ctx.clone())),
        }
    }
}

impl Body {
    pub(super) fn of(response: IncomingResponse, decoder: Decoder) -> Result<Self, Problem> {
        let gone = |()| Problem::new("internal-error", "the body of the answer is gone");
        let body = response.consume().map_err(gone)?;
        let stream = body.stream().map_err(gone)?;
        let open = Open {
            pollable: Rc::new(stream.subscribe()),
            stream,
            _body: body,
            _response: response,
        };
        Ok(Body {
            open: RefCell::new(Some(open)),
            decoder: RefCell::new(decoder),
        })
    }

    /// `{ read, cancel }`.
    pub(super) fn object<'js>(
        body: &Rc<Body>,
        ctx: &Ctx<'js>,
        events: &Rc<EventLoop>,
    ) -> JsResult<Object<'js>> {
        let object = Object::new(ctx.clone())?;
        let (own, loop_) = (Rc::clone(body), Rc::clone(events));
        let read = move |ctx: Ctx<'js>| {
            let body = Rc::clone(&own);
            let piece = async move { body.read().await };
            loop_.tasks.start(&ctx, piece).map(|(promise, _)| promise)
        };
        object.set("read", Function::new(ctx.clone(), read)?)?;
        let (own, loop_) = (Rc::clone(body), Rc::clone(events));
        let cancel = move |ctx: Ctx<'js>| own.cancel(&ctx, &loop_);
        object.set("cancel", Function::new(ctx.clone(), cancel)?)?;
        Ok(object)
    }

    fn pollable(&self) -> Option<Rc<Pollable>> {
        self.open
            .borrow()
            .as_ref()
            .map(|open| Rc::clone(&open.pollable))
    }

    /// The next piece, decoded. Nothing follows what failed.
    async fn read(&self) -> Result<Piece, Problem> {
        let piece = self.decoded().await;
        if piece.is_err() {
            self.close();
        }
        piece
    }

    /// A body that was given up or read to its end has no more.
    async fn decoded(&self) -> Result<Piece, Problem> {
        while self.open.borrow().is_some() {
            let mut step = self.decoder.borrow_mut().step()?;
            if matches!(step, Step::NeedsMore) {
                let came = self.receive().await?;
                step = self.decoder.borrow_mut().take(came.0)?;
            }
            match step {
                Step::Piece(piece) => return Ok(Piece(Some(piece))),
                Step::NeedsMore => {}
                Step::End => self.close(),
            }
        }
        Ok(Piece(None))
    }

    /// What the server sends next.
    async fn receive(&self) -> Result<Piece, Problem> {
        while let Some(pollable) = self.pollable() {
            ready(&pollable).await;
            drop(pollable);
            if let Some(piece) = self.read_now()? {
                return Ok(piece);
            }
        }
        Ok(Piece(None))
    }

    /// What is there; none where nothing is yet.
    fn read_now(&self) -> Result<Option<Piece>, Problem> {
        let result = match &*self.open.borrow() {
            Some(open) => open.stream.read(PIECE_BYTES),
            None => return Ok(Some(Piece(None))),
        };
        match result {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => Ok(Some(Piece(Some(bytes)))),
            Err(StreamError::Closed) => Ok(Some(Piece(None))),
            Err(StreamError::LastOperationFailed(error)) => {
                let known = http_error_code(&error).map(Problem::from);
                let problem = known
                    .unwrap_or_else(|| Problem::new("internal-error", error.to_debug_string()));
                Err(problem)
            }
        }
    }

    /// Gives it up. Who waits for a piece gets none.
    fn cancel(&self, ctx: &Ctx<'_>, events: &EventLoop) -> JsResult<()> {
        if let Some(pollable) = self.pollable() {
            events.tasks.end_waiting(ctx, &pollable)?;
        }
        self.close();
        Ok(())
    }

    /// Nobody may wait for it any more.
    pub(super) fn close(&self) {
        self.open.take();
    }
}
