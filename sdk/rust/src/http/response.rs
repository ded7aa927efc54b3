//! The answer to a request.

use std::fmt;
use std::io::{self, Read};

use ::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use toril_options::json;

use super::Error;
use super::exchange::{Body, Deadline};

/// The most that one call asks the host for.
const CHUNK_BYTES: usize = 64 << 10;

/// The response to a request: its head, and a body that the processor reads as a whole or as a [`Read`].
pub struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// For errors.
    pub(super) request: String,
    pub(super) url: String,
    pub(super) body: Body,
    pub(super) deadline: Deadline,
    /// What [`Read`] has not handed out yet.
    pub(super) rest: io::Cursor<Vec<u8>>,
}

impl Response {
    pub(super) fn until(self, deadline: Deadline) -> Self {
        Response { deadline, ..self }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The URL of the response, after redirects.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns an error if the status is 400 or more.
    pub fn error_for_status(self) -> Result<Self, Error> {
        let status = self.status;
        match status.is_client_error() || status.is_server_error() {
            true => Err(Error::Status {
                status,
                request: self.request,
            }),
            false => Ok(self),
        }
    }

    /// Reads the body as JSON.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let what = format!("{}: body of the response", self.request);
        let text = self.text()?;
        json::read(&text).map_err(|source| Error::Json { what, source })
    }

    /// Reads the body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(self) -> Result<String, Error> {
        let bytes = self.bytes()?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Reads the body.
    pub fn bytes(mut self) -> Result<Vec<u8>, Error> {
        // Most bodies are one chunk, which is not copied.
        let mut bytes = self.chunk()?.unwrap_or_default();
        while let Some(chunk) = self.chunk()? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Waits for the next part of the body. `None`: the body has ended.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let rest = std::mem::take(&mut self.rest);
        let at = usize::try_from(rest.position()).unwrap_or(usize::MAX);
        let mut bytes = rest.into_inner();
        if at < bytes.len() {
            bytes.drain(..at);
            return Ok(Some(bytes));
        }
        self.body
            .read(CHUNK_BYTES, &self.deadline)
            .map_err(|code| Error::of(&self.request, code))
    }
}

impl Read for Response {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.rest.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            match self.chunk().map_err(io::Error::other)? {
                Some(chunk) => self.rest = io::Cursor::new(chunk),
                None => return Ok(0),
            }
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
