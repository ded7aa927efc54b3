//! Requests to other servers, through `wasi:http`.

use std::rc::Rc;

use rquickjs::{
    Array, ArrayBuffer, Ctx, FromJs, Function, IntoJs, Object, Result as JsResult, Value,
};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

use super::EventLoop;
use super::body::Body;
use super::decoding::Decoder;
use super::tasks::{Problem, ready};
use crate::texts::Text;

impl EventLoop {
    /// Sends a request: `{ response, abort }`.
    pub(crate) fn request<'js>(
        self: &Rc<Self>,
        ctx: &Ctx<'js>,
        request: Request,
    ) -> JsResult<Object<'js>> {
        let events = Rc::clone(self);
        let answer = async move { send(request, events).await };
        let (response, task) = self.tasks.start(ctx, answer)?;
        let events = Rc::clone(self);
        let abort = move |ctx: Ctx<'js>| {
            let aborted = Problem::new("aborted", "the request was aborted");
            events.tasks.cancel(&ctx, task, aborted)
        };
        let handle = Object::new(ctx.clone())?;
        handle.set("response", response)?;
        handle.set("abort", Function::new(ctx.clone(), abort)?)?;
        Ok(handle)
    }
}

/// The names of `wasi:http`, as its WIT writes them.
impl From<ErrorCode> for Problem {
    fn from(error: ErrorCode) -> Self {
        let debug = format!("{error:?}");
        let debug = debug.trim_start_matches("ErrorCode::");
        let (name, details) = debug.split_once('(').unwrap_or((debug, ""));
        let mut code = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !code.is_empty() {
                code.push('-');
            }
            code.push(letter.to_ascii_lowercase());
        }
        let words = code.replace('-', " ");
        let message = match error {
            ErrorCode::InternalError(Some(text)) => text,
            ErrorCode::HttpRequestDenied => {
                "the operator did not grant requests to this host (`grants.http`)".into()
            }
            ErrorCode::HttpRequestBodySize(max) => too_large("request", max),
            ErrorCode::HttpResponseBodySize(max) => too_large("response", max),
            _ if details.is_empty() => words,
            _ => format!("{words}: {}", details.trim_end_matches(')')),
        };
        Problem::new(&code, message)
    }
}

fn too_large(which: &str, max: Option<u64>) -> String {
    let limit = format!("(`grants.http.{which}_bytes_max`)");
    match max {
        Some(max) => format!("the {which} has more than {max} bytes {limit}"),
        None => format!("the {which} is too large {limit}"),
    }
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new("invalid", message)
}

/// What the script wants to be sent.
pub(crate) struct Request {
    method: String,
    scheme: String,
    authority: String,
    path_with_query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
    timeout_ns: Option<u64>,
}

impl<'js> FromJs<'js> for Request {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> JsResult<Self> {
        let request = Object::from_js(ctx, value)?;
        let text = |key: &str| JsResult::Ok(request.get::<_, Text>(key)?.0);
        let mut headers = Vec::new();
        for pair in request.get::<_, Array>("headers")?.iter::<Array>() {
            let pair = pair?;
            let (name, value): (Text, Text) = (pair.get(0)?, pair.get(1)?);
            headers.push((name.0, value.0.into_bytes()));
        }
        let body: Option<ArrayBuffer> = request.get("body")?;
        #[allow(
            unsafe_code,
            reason = "the script does not run while its bytes are read"
        )]
        let body = body.map(|body| unsafe { body.as_bytes() }.unwrap_or_default().to_vec());
        let timeout_ms: Option<f64> = request.get("timeoutMs")?;
        Ok(Request {
            method: text("method")?,
            scheme: text("scheme")?,
            authority: text("authority")?,
            path_with_query: text("pathWithQuery")?,
            headers,
            body,
            timeout_ns: timeout_ms.map(|ms| (ms * 1e6) as u64),
        })
    }
}

impl Request {
    fn build(&self) -> Result<OutgoingRequest, Problem> {
        let request = OutgoingRequest::new(self.fields()?);
        let refused = |what: &str| invalid(format!("the {what} of the request is invalid"));
        let method = method(&self.method);
        request
            .set_method(&method)
            .map_err(|()| refused("method"))?;
        let scheme = match self.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.into()),
        };
        request
            .set_scheme(Some(&scheme))
            .map_err(|()| refused("scheme"))?;
        request
            .set_authority(Some(&self.authority))
            .map_err(|()| refused("host"))?;
        request
            .set_path_with_query(Some(&self.path_with_query))
            .map_err(|()| refused("path"))?;
        Ok(request)
    }

    /// The host is the host's to say, and the length of the body is known here.
    fn fields(&self) -> Result<Fields, Problem> {
        let is_ours = |name: &str| {
            name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case("content-length")
        };
        let fields = Fields::new();
        let append = |name: &str, value: &[u8]| {
            fields.append(name, value).map_err(|error| match error {
                HeaderError::Forbidden => invalid(format!("header `{name}` may not be set")),
                _ => invalid(format!("header `{name}` is invalid")),
            })
        };
        for (name, value) in &self.headers {
            if !is_ours(name) {
                append(name, value)?;
            }
        }
        if let Some(body) = &self.body {
            append("content-length", body.len().to_string().as_bytes())?;
        }
        Ok(fields)
    }

    fn options(&self) -> Option<RequestOptions> {
        let timeout = self.timeout_ns?;
        let options = RequestOptions::new();
        // A host that cannot keep one of them has limits of its own.
        let _ = options.set_connect_timeout(Some(timeout));
        let _ = options.set_first_byte_timeout(Some(timeout));
        let _ = options.set_between_bytes_timeout(Some(timeout));
        Some(options)
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.into()),
    }
}

/// The head of an answer, and its body, of which nothing has been read.
pub(super) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Rc<Body>,
    events: Rc<EventLoop>,
}

impl<'js> IntoJs<'js> for Response {
    fn into_js(self, ctx: &Ctx<'js>) -> JsResult<Value<'js>> {
        let response = Object::new(ctx.clone())?;
        response.set("status", self.status)?;
        let headers = self.headers.into_iter();
        let headers: Vec<_> = headers.map(|(name, value)| vec![name, value]).collect();
        response.set("headers", headers)?;
        response.set("body", Body::object(&self.body, ctx, &self.events)?)?;
        Ok(response.into_value())
    }
}

/// Sends a request and waits for the head of the answer.
pub(super) async fn send(request: Request, events: Rc<EventLoop>) -> Result<Response, Problem> {
    let outgoing = request.build()?;
    let body = outgoing
        .body()
        .map_err(|()| invalid("the request has no body"))?;
    let answer = outgoing_handler::handle(outgoing, request.options())?;
    // A server may answer before it has all. Then it may also close the way: what counts is the answer.
    let _ = send_body(body, request.body.unwrap_or_default()).await;
    let response = answer_of(answer).await?;
    let headers = response.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
    let (status, headers) = (response.status(), headers.collect::<Vec<_>>());
    let decoder = Decoder::for_answer(&headers);
    let body = Rc::new(Body::of(response, decoder)?);
    events.bodies.borrow_mut().push(Rc::downgrade(&body));
    Ok(Response {
        status,
        headers,
        body,
        events,
    })
}

async fn answer_of(answer: FutureIncomingResponse) -> Result<IncomingResponse, Problem> {
    let pollable = Rc::new(answer.subscribe());
    ready(&pollable).await;
    drop(pollable);
    match answer.get() {
        Some(Ok(result)) => Ok(result?),
        _ => Err(Problem::new("internal-error", "the answer is gone")),
    }
}

async fn send_body(body: OutgoingBody, bytes: Vec<u8>) -> Result<(), Problem> {
    if !bytes.is_empty() {
        let stream = body
            .write()
            .map_err(|()| invalid("the body cannot be sent"))?;
        write(&stream, &bytes)
            .await
            .map_err(|_| invalid("the body was not taken"))?;
    }
    OutgoingBody::finish(body, None)?;
    Ok(())
}

async fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let pollable = Rc::new(stream.subscribe());
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            ready(&pollable).await;
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    stream.flush()?;
    ready(&pollable).await;
    stream.check_write().map(drop)
}
