//! A request before it is sent.

use std::fmt;
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;

use super::exchange::{self, Deadline};
use super::url::Url;
use super::{Error, Response, Upload, redirect};

const REDIRECTS_MAX: u32 = 10;

/// A request before it is sent. If a part of it is invalid, sending it returns the error.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    head: Result<Head, Error>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    redirects_max: u32,
}

/// All but the body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Head {
    pub(super) fn new(method: Method, url: &str) -> Result<Self, Error> {
        Ok(Head {
            method,
            url: Url::parse(url)?,
            headers: HeaderMap::new(),
        })
    }

    pub(super) fn add_header(&mut self, name: &str, value: &str) -> Result<(), Error> {
        // Never the value: it may be a secret.
        let invalid = |what| Error::Invalid(format!("{what} of header `{name}` is invalid"));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| invalid("value"))?;
        self.headers.append(parsed, value);
        Ok(())
    }
}

/// For errors, as `GET https://api.example.com/rates`.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

impl Request {
    pub(super) fn new(method: Method, url: &str) -> Self {
        Request {
            head: Head::new(method, url),
            body: Vec::new(),
            timeout: None,
            redirects_max: REDIRECTS_MAX,
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Head) -> Result<(), Error>) -> Self {
        self.head = self
            .head
            .and_then(|mut head| change(&mut head).map(|()| head));
        self
    }

    /// Adds a header. The host sets `host` and the headers of the connection.
    pub fn header(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.change(|head| head.add_header(name.as_ref(), value.as_ref()))
    }

    /// Adds `name=value` to the query of the URL, encoded.
    pub fn query(self, name: impl AsRef<str>, value: impl ToString) -> Self {
        self.change(|head| {
            head.url.add_query(name.as_ref(), &value.to_string());
            Ok(())
        })
    }

    /// Limits the time until the end of the response, redirects included. The host has limits of its own
    /// (`grants.http.timeout_ms`, the job's deadline).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits how many redirects are followed, ten by default. With 0 the redirect itself is the response.
    ///
    /// As in browsers, a `POST` that is answered with 301 or 302, and any method with 303, is followed by a `GET` without
    /// a body, and credentials (`authorization`, `cookie`) are not sent to another server.
    pub fn redirects(mut self, max: u32) -> Self {
        self.redirects_max = max;
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value as JSON, and `content-type` unless it was set.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = body,
            Err(source) => {
                let what = "body of the request".to_owned();
                return self.change(|_| Err(Error::Json { what, source }));
            }
        }
        self.change(|head| {
            let json = HeaderValue::from_static("application/json");
            head.headers.entry(CONTENT_TYPE).or_insert(json);
            Ok(())
        })
    }

    /// Sends the request and waits for the head of the response.
    pub fn send(self) -> Result<Response, Error> {
        let deadline = Deadline::after(self.timeout);
        let mut head = self.head?;
        set_length(&mut head, &self.body);
        follow(head, self.body, deadline, self.redirects_max)
    }

    /// Sends the head of the request. The body follows as it is written; see [`Upload`]. A body that was set before is sent
    /// first.
    pub fn upload(self) -> Result<Upload, Error> {
        let deadline = Deadline::after(self.timeout);
        let mut upload = Upload::begin(self.head?, deadline, self.redirects_max)?;
        upload.send(&self.body)?;
        Ok(upload)
    }
}

/// Sends a request and those that its redirects ask for.
pub(super) fn follow(
    mut head: Head,
    mut body: Vec<u8>,
    deadline: Deadline,
    redirects_max: u32,
) -> Result<Response, Error> {
    let mut left = redirects_max;
    loop {
        let response = exchange::send(&head, &body, &deadline)?;
        let Some(hop) = redirect::after(&head, &response, redirects_max)? else {
            return Ok(response.until(deadline));
        };
        left = left.checked_sub(1).ok_or_else(|| {
            Error::Other(format!("{head}: gave up after {redirects_max} redirects"))
        })?;
        head = hop.head;
        if !hop.has_body {
            body.clear();
        }
    }
}

/// Servers are told the length, so that the body is not sent in chunks of unknown number.
fn set_length(head: &mut Head, body: &[u8]) {
    let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
    if !body.is_empty() || expects_body {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_show_when_the_request_is_sent() {
        let error = |request: Request| request.head.unwrap_err().to_string();
        let get = || Request::new(Method::GET, "http://a.example/");
        assert_eq!(
            error(get().header("a b", "c")),
            "name of header `a b` is invalid"
        );
        let text = error(get().header("token", "HuNter22\n").query("x", 1));
        assert_eq!(text, "value of header `token` is invalid");
        let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(
            error(get().json(&unwritable)),
            "body of the request does not fit: key must be a string"
        );
        assert!(
            error(Request::new(Method::GET, "x").header("a", "b"))
                .starts_with("URL `x` is invalid")
        );
    }

    #[test]
    fn json_has_a_type_and_a_length() {
        let request = Request::new(Method::POST, "http://a.example/").json(&[1, 2]);
        let mut head = request.head.unwrap();
        set_length(&mut head, &request.body);
        assert_eq!(head.headers["content-type"], "application/json");
        assert_eq!(head.headers["content-length"], "5");
        let typed = Request::new(Method::POST, "http://a.example/")
            .header("content-type", "a/b")
            .json(&1);
        assert_eq!(typed.head.unwrap().headers["content-type"], "a/b");
    }
}
