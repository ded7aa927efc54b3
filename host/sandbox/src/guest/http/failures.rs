//! What the guest, the log and a recording are told of a request that failed.

use std::sync::Arc;

use wasmtime_wasi_http::Error;

use crate::connections::http::Target;
use crate::guest::notes::Notes;
use crate::policy::{Grants, HttpRefusal, place};
use crate::recording::{error_name, error_of_name};

/// The failures of one request.
#[derive(Clone)]
pub(super) struct Failures {
    pub(super) notes: Notes,
    pub(super) grants: Arc<Grants>,
    pub(super) target: Arc<Target>,
}

impl Failures {
    /// Says in the log and to the guest what stands in the way.
    pub(super) fn refused(&self, refusal: HttpRefusal) -> Error {
        match self.note_refusal(refusal) {
            Some(text) => Error::InternalError(Some(text)),
            None => Error::HttpRequestDenied,
        }
    }

    fn note_refusal(&self, refusal: HttpRefusal) -> Option<String> {
        let Target { shown, port, .. } = &*self.target;
        let grant = self.grants.http.as_ref()?;
        let text = refusal.text(grant, self.notes.queue(), shown, *port);
        self.notes.write(|| text.clone());
        Some(text)
    }

    /// The error as a code of `wasi:http`, with all that the code has no room for in the log. An error of a library does not
    /// get past this: what a guest is told of it is what a recording has of it.
    pub(super) fn told(&self, error: Error) -> Error {
        let reason: &dyn std::error::Error = match &error {
            Error::DestinationIpProhibited => return self.refused(HttpRefusal::Private),
            Error::ConnectionLimitReached => return self.refused(HttpRefusal::Connections),
            Error::HttpRequestBodySize(_) => {
                self.note_refusal(HttpRefusal::RequestBytes);
                return error;
            }
            Error::HttpResponseBodySize(_) => {
                self.note_refusal(HttpRefusal::ResponseBytes);
                return error;
            }
            Error::Hyper(reason) => reason,
            Error::Connect(reason) | Error::Tls(reason) => reason,
            _ => return error,
        };
        let code = error_of_name(&error_name(&error));
        if let Error::HttpRequestBodySize(_) = code {
            return self.told(code);
        }
        self.notes.write(|| {
            let Target { shown, port, .. } = &*self.target;
            let server = place(shown, *port);
            format!("request to {server} failed: {}", chain(reason))
        });
        code
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |said, cause| {
        let cause = cause.to_string();
        match said.ends_with(&cause) {
            true => said,
            false => format!("{said}: {cause}"),
        }
    })
}
