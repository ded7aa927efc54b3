//! Why a request has failed.

use std::fmt;

use ::http::StatusCode;
use wasip2::http::types::ErrorCode;

/// Why a request has failed. The texts name the request without its query, which may
/// hold a secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be sent: its URL, a header or its body is invalid.
    Invalid(String),
    /// The operator did not grant the host of the request. The text names the line to add.
    Refused(String),
    /// The server did not answer in time.
    Timeout(String),
    /// There is no connection to the server, or it broke off.
    Connection(String),
    /// A limit of the operator was reached: the number of requests, or the size of a body.
    Limit(String),
    /// [`error_for_status`](crate::http::Response::error_for_status): the server answered with an error.
    Status {
        /// From 400 to 599.
        status: StatusCode,
        /// The request, such as `GET https://api.example.com/rates`.
        request: String,
    },
    /// The body is not the JSON that was asked for, or a value cannot be written as JSON.
    Json {
        /// Which value it is.
        what: String,
        /// The error of serde.
        source: serde_json::Error,
    },
    /// Any other error: the server's response is invalid, for example, or the host failed.
    Other(String),
}

impl Error {
    /// The status, if it is the error.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Error::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Says what the host reported of a request.
    pub(super) fn of(request: &impl fmt::Display, code: ErrorCode) -> Self {
        use ErrorCode as Code;
        let (kind, reason): (fn(String) -> Error, _) = match code {
            // The host's own words.
            Code::InternalError(Some(text)) if is_refusal(&text) => return Error::Refused(text),
            Code::InternalError(Some(text)) => return Error::Other(text),
            Code::InternalError(None) => (Error::Other, "the host failed".into()),
            Code::HttpRequestDenied => (
                Error::Refused,
                "refused by the host: not in grants.http.hosts".into(),
            ),
            Code::DestinationIpProhibited => (
                Error::Refused,
                "refused by the host: a private address that is not in grants.http.private".into(),
            ),
            Code::DnsTimeout => (
                Error::Timeout,
                "the look-up of the name took too long".into(),
            ),
            Code::ConnectionTimeout => (Error::Timeout, "connecting took too long".into()),
            Code::ConnectionReadTimeout
            | Code::ConnectionWriteTimeout
            | Code::HttpResponseTimeout => {
                (Error::Timeout, "the server did not answer in time".into())
            }
            Code::DnsError(dns) => {
                let rcode = dns.rcode.unwrap_or_else(|| "no reason given".to_owned());
                (
                    Error::Connection,
                    format!("the look-up of the name failed: {rcode}"),
                )
            }
            Code::DestinationNotFound
            | Code::DestinationUnavailable
            | Code::DestinationIpUnroutable => {
                (Error::Connection, "the server cannot be reached".into())
            }
            Code::ConnectionRefused => (
                Error::Connection,
                "the server refused the connection".into(),
            ),
            Code::ConnectionTerminated | Code::HttpResponseIncomplete => {
                (Error::Connection, "the connection broke off".into())
            }
            Code::TlsCertificateError => (
                Error::Connection,
                "the server's certificate is not valid".into(),
            ),
            Code::TlsProtocolError => (Error::Connection, "TLS failed".into()),
            Code::TlsAlertReceived(alert) => {
                let alert = alert
                    .alert_message
                    .unwrap_or_else(|| "no reason given".to_owned());
                (Error::Connection, format!("TLS was refused: {alert}"))
            }
            Code::ConnectionLimitReached => {
                (Error::Limit, "too many requests in one attempt".into())
            }
            Code::HttpRequestBodySize(max) => (Error::Limit, too_large("request", max)),
            Code::HttpResponseBodySize(max) => (Error::Limit, too_large("response", max)),
            Code::HttpRequestUriInvalid => (Error::Invalid, "the URL is invalid".into()),
            Code::HttpRequestMethodInvalid => (Error::Invalid, "the method is invalid".into()),
            other => (Error::Other, words(&format!("{other:?}"))),
        };
        kind(format!("{request}: {reason}"))
    }
}

/// The host writes `request to HOST:PORT was refused: …`.
fn is_refusal(text: &str) -> bool {
    text.starts_with("request to ") && text.contains(" was refused: ")
}

fn too_large(which: &str, max: Option<u64>) -> String {
    let limit = format!("(`grants.http.{which}_bytes_max`)");
    match max {
        Some(max) => format!("the {which} has more than {max} bytes {limit}"),
        None => format!("the {which} is too large {limit}"),
    }
}

/// `ErrorCode::LoopDetected` as `loop detected`.
fn words(code: &str) -> String {
    let name = code.trim_start_matches("ErrorCode::");
    let name = name.split('(').next().unwrap_or(name);
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(text)
            | Error::Refused(text)
            | Error::Timeout(text)
            | Error::Connection(text)
            | Error::Limit(text)
            | Error::Other(text) => f.write_str(text),
            Error::Status { status, request } => write!(f, "{request}: {status}"),
            Error::Json { what, source } => write!(f, "{what} does not fit: {source}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_say_which_request_failed_and_why() {
        let text = |code| Error::of(&"GET http://a.example/b", code).to_string();
        assert_eq!(
            text(ErrorCode::ConnectionRefused),
            "GET http://a.example/b: the server refused the connection"
        );
        assert_eq!(
            text(ErrorCode::HttpResponseBodySize(Some(1024))),
            "GET http://a.example/b: the response has more than 1024 bytes (`grants.http.response_bytes_max`)"
        );
        assert_eq!(
            text(ErrorCode::LoopDetected),
            "GET http://a.example/b: loop detected"
        );
    }

    #[test]
    fn words_of_the_host_are_shown_as_they_are() {
        let refusal =
            "request to a.example:443 was refused: not in grants.http.hosts of queue paint";
        let error = Error::of(&"GET …", ErrorCode::InternalError(Some(refusal.to_owned())));
        assert!(
            matches!(&error, Error::Refused(text) if text == refusal),
            "{error:?}"
        );
        let error = Error::of(
            &"GET …",
            ErrorCode::InternalError(Some("no memory".to_owned())),
        );
        assert!(
            matches!(&error, Error::Other(text) if text == "no memory"),
            "{error:?}"
        );
    }
}
