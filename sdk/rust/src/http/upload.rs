//! A request whose body is written in parts.

use std::fmt;
use std::io::{self, Write};

use super::exchange::{self, Deadline, Open};
use super::request::{Head, follow};
use super::{Error, Response, redirect};

/// A request whose body is written in parts, begun by [`Request::upload`](crate::http::Request::upload).
///
/// ```
/// # use toril_sdk::prelude::*;
/// fn store(path: &str) -> Result<(), Failure> {
///     let mut file = std::fs::File::open(path)?;
///     let mut upload = http::put("https://files.example.com/report").upload()?;
///     std::io::copy(&mut file, &mut upload)?;
///     upload.finish()?.error_for_status()?;
///     Ok(())
/// }
/// ```
///
/// After the server has answered, further writes have no effect. Dropping an upload before [`finish`](Upload::finish) breaks the
/// request off. A redirect that asks for the body again is an error, because the body cannot be sent twice.
pub struct Upload {
    head: Head,
    open: Open,
    deadline: Deadline,
    redirects_max: u32,
}

impl Upload {
    pub(super) fn begin(head: Head, deadline: Deadline, redirects_max: u32) -> Result<Self, Error> {
        let open = exchange::open(&head, true)?;
        Ok(Upload {
            head,
            open,
            deadline,
            redirects_max,
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.open
            .write(bytes, &self.deadline)
            .map_err(|code| Error::of(&self.head, code))
    }

    /// Ends the body and waits for the head of the response.
    pub fn finish(self) -> Result<Response, Error> {
        let Upload {
            head,
            open,
            deadline,
            redirects_max,
        } = self;
        let response = open.finish(&head, &deadline)?;
        match redirect::after(&head, &response, redirects_max)? {
            None => Ok(response.until(deadline)),
            Some(hop) if hop.has_body => Err(Error::Other(format!(
                "{head}: redirected, and the body cannot be sent again"
            ))),
            Some(hop) => follow(hop.head, Vec::new(), deadline, redirects_max - 1),
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upload").field(&self.head).finish()
    }
}
