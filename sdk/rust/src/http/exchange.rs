//! One request and its response over `wasi:http`: nothing here knows of redirects.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    self as wasi, ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingBody,
    IncomingResponse, OutgoingBody, OutgoingRequest, Scheme, http_error_code,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use super::request::Head;
use super::{Error, Response};

/// When a request must be over; the timer is made once.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<Pollable>);

impl Deadline {
    pub(super) fn after(timeout: Option<Duration>) -> Self {
        let nanos = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Deadline(timeout.map(|timeout| subscribe_duration(nanos(timeout))))
    }

    /// Waits until one of these is ready.
    fn wait(&self, events: &[&Pollable]) -> Result<(), ErrorCode> {
        match (&self.0, events) {
            (None, [event]) => event.block(),
            (None, events) => drop(poll(events)),
            (Some(end), events) => {
                let ready = poll(&[events, &[end]].concat());
                if ready.iter().all(|&index| index as usize == events.len()) {
                    return Err(ErrorCode::HttpResponseTimeout);
                }
            }
        }
        Ok(())
    }
}

/// Sends a request and waits for the head of its response.
pub(super) fn send(head: &Head, body: &[u8], deadline: &Deadline) -> Result<Response, Error> {
    let mut open = open(head, !body.is_empty())?;
    open.write(body, deadline)
        .map_err(|code| Error::of(head, code))?;
    open.finish(head, deadline)
}

/// Sends the head of a request.
pub(super) fn open(head: &Head, has_body: bool) -> Result<Open, Error> {
    let request = OutgoingRequest::new(fields(&head.headers)?);
    begin(request, head, has_body).map_err(|code| Error::of(head, code))
}

fn begin(request: OutgoingRequest, head: &Head, has_body: bool) -> Result<Open, ErrorCode> {
    let scheme = if head.url.is_tls() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    request
        .set_method(&method(&head.method))
        .map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request
        .set_authority(Some(head.url.authority()))
        .map_err(invalid)?;
    request
        .set_path_with_query(Some(head.url.path_and_query()))
        .map_err(invalid)?;
    // A request whose body is not taken is sent without one, rather than with an empty one in chunks.
    let taken = |()| ErrorCode::InternalError(None);
    let body = has_body
        .then(|| request.body())
        .transpose()
        .map_err(taken)?;
    let answer = handle(request, None)?;
    let body = match body {
        Some(body) => Some(Sink {
            stream: body.write().map_err(taken)?,
            body,
        }),
        None => None,
    };
    Ok(Open { body, answer })
}

fn fields(headers: &HeaderMap) -> Result<Fields, Error> {
    let entry = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let entries: Vec<_> = headers.iter().map(entry).collect();
    Fields::from_list(&entries).map_err(|error| {
        let forbidden = |(name, value): &&(String, Vec<u8>)| {
            Fields::new()
                .append(name, value)
                .is_err_and(|error| matches!(error, HeaderError::Forbidden))
        };
        Error::Invalid(match entries.iter().find(forbidden) {
            Some((name, _)) => format!("header `{name}` is set by the host"),
            None => format!("headers are invalid: {error}"),
        })
    })
}

fn method(method: &Method) -> wasi::Method {
    match *method {
        Method::GET => wasi::Method::Get,
        Method::HEAD => wasi::Method::Head,
        Method::POST => wasi::Method::Post,
        Method::PUT => wasi::Method::Put,
        Method::DELETE => wasi::Method::Delete,
        Method::OPTIONS => wasi::Method::Options,
        Method::PATCH => wasi::Method::Patch,
        ref other => wasi::Method::Other(other.as_str().to_owned()),
    }
}

/// A request that is under way.
pub(super) struct Open {
    body: Option<Sink>,
    answer: FutureIncomingResponse,
}

/// The stream is part of the body, so it goes first.
struct Sink {
    stream: OutputStream,
    body: OutgoingBody,
}

impl Open {
    /// Writes all of it, or as much as the server wants before it answers.
    pub(super) fn write(&mut self, mut bytes: &[u8], deadline: &Deadline) -> Result<(), ErrorCode> {
        while !bytes.is_empty() {
            let Some(sink) = &self.body else {
                return Ok(());
            };
            match sink.stream.check_write() {
                Ok(0) => {
                    let (room, answer) = (sink.stream.subscribe(), self.answer.subscribe());
                    deadline.wait(&[&room, &answer])?;
                    if !room.ready() && answer.ready() {
                        drop((room, answer));
                        self.body = None;
                    }
                }
                Ok(room) => {
                    let count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                    let (part, rest) = bytes.split_at(count);
                    match sink.stream.write(part) {
                        Ok(()) => bytes = rest,
                        Err(error) => self.broken(error)?,
                    }
                }
                Err(error) => self.broken(error)?,
            }
        }
        Ok(())
    }

    /// The server takes no more of the body. Why, or its answer, comes with the response.
    fn broken(&mut self, error: StreamError) -> Result<(), ErrorCode> {
        self.body = None;
        match error {
            StreamError::Closed => Ok(()),
            StreamError::LastOperationFailed(error) => match http_error_code(&error) {
                Some(code) => Err(code),
                None => Ok(()),
            },
        }
    }

    /// Ends the body and waits for the head of the response.
    pub(super) fn finish(self, head: &Head, deadline: &Deadline) -> Result<Response, Error> {
        let fail = |code| Error::of(head, code);
        if let Some(Sink { stream, body }) = self.body {
            drop(stream);
            OutgoingBody::finish(body, None).map_err(fail)?;
        }
        deadline.wait(&[&self.answer.subscribe()]).map_err(fail)?;
        let answer = self.answer.get();
        let answer = answer
            .and_then(Result::ok)
            .ok_or_else(|| fail(ErrorCode::InternalError(None)))?;
        response(head, answer.map_err(fail)?).map_err(fail)
    }
}

fn response(head: &Head, incoming: IncomingResponse) -> Result<Response, ErrorCode> {
    let mut headers = HeaderMap::new();
    for (name, value) in incoming.headers().entries() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let body = incoming
        .consume()
        .map_err(|()| ErrorCode::InternalError(None))?;
    let stream = body.stream().map_err(|()| ErrorCode::InternalError(None))?;
    Ok(Response {
        status: StatusCode::from_u16(incoming.status())
            .map_err(|_| ErrorCode::HttpProtocolError)?,
        headers,
        request: head.to_string(),
        url: head.url.whole(),
        body: Body(Some(Source {
            stream,
            _body: body,
            _response: incoming,
        })),
        deadline: Deadline::default(),
        rest: Default::default(),
    })
}

/// The body of a response; nothing once it is at its end.
pub(super) struct Body(Option<Source>);

/// Each is part of the next one, so they go in this order.
struct Source {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

impl Body {
    /// Waits for the next part, of at most so many bytes.
    pub(super) fn read(
        &mut self,
        bytes_max: usize,
        deadline: &Deadline,
    ) -> Result<Option<Vec<u8>>, ErrorCode> {
        let Some(source) = &self.0 else {
            return Ok(None);
        };
        if deadline.0.is_some() {
            deadline.wait(&[&source.stream.subscribe()])?;
        }
        match source.stream.blocking_read(bytes_max as u64) {
            Ok(part) => Ok(Some(part)),
            Err(error) => {
                let code = match &error {
                    StreamError::Closed => None,
                    StreamError::LastOperationFailed(error) => {
                        let said = || ErrorCode::InternalError(Some(error.to_debug_string()));
                        Some(http_error_code(error).unwrap_or_else(said))
                    }
                };
                // The error is part of the stream.
                drop(error);
                self.0 = None;
                code.map_or(Ok(None), Err)
            }
        }
    }
}
