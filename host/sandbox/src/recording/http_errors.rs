//! Errors of requests by name: `wasi:http` has them as codes, some with details.

use std::error::Error as _;
use std::io;

use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::{DnsErrorPayload, ErrorCode};

/// Codes without details, by their names.
macro_rules! codes {
    ($($code:ident),* $(,)?) => {
        /// The name of an error, and its text if it has one.
        pub(crate) fn error_name(error: &Error) -> String {
            match error {
                $(Error::$code => stringify!($code).to_owned(),)*
                other => detailed_name(other),
            }
        }

        /// The error of a name that [`error_name`] gave.
        pub(crate) fn error_of_name(name: &str) -> Error {
            match name {
                $(stringify!($code) => Error::$code,)*
                other => detailed_error(other),
            }
        }

        /// The code that a guest is told.
        pub(crate) fn error_code(error: &Error) -> ErrorCode {
            match error {
                $(Error::$code => ErrorCode::$code,)*
                Error::HttpRequestBodySize(bytes) => ErrorCode::HttpRequestBodySize(*bytes),
                Error::HttpResponseBodySize(bytes) => ErrorCode::HttpResponseBodySize(*bytes),
                Error::DnsError { rcode, info_code } => ErrorCode::DnsError(DnsErrorPayload {
                    rcode: rcode.clone(),
                    info_code: *info_code,
                }),
                Error::InternalError(text) => ErrorCode::InternalError(text.clone()),
                other => error_code(&error_of_name(&detailed_name(other))),
            }
        }
    };
}

codes! {
    DnsTimeout, DestinationNotFound, DestinationUnavailable, DestinationIpProhibited, DestinationIpUnroutable,
    ConnectionRefused, ConnectionTerminated, ConnectionTimeout, ConnectionReadTimeout, ConnectionWriteTimeout,
    ConnectionLimitReached, TlsProtocolError, TlsCertificateError, HttpRequestDenied, HttpRequestLengthRequired,
    HttpRequestMethodInvalid, HttpRequestUriInvalid, HttpRequestUriTooLong, HttpResponseIncomplete, HttpResponseTimeout,
    HttpUpgradeFailed, HttpProtocolError, LoopDetected, ConfigurationError,
}

/// Those with details, and those that guests only see the code of.
fn detailed_name(error: &Error) -> String {
    let size = |bytes: &Option<u64>| bytes.unwrap_or(0);
    match error {
        Error::Hyper(error) => name_of_hyper(error),
        Error::Tls(_) => "TlsProtocolError".to_owned(),
        Error::Connect(error) if is_lookup(error) => "DnsError: address not available".to_owned(),
        Error::Connect(_) => "ConnectionRefused".to_owned(),
        Error::DnsError { rcode, .. } => {
            format!("DnsError: {}", rcode.as_deref().unwrap_or_default())
        }
        Error::HttpRequestBodySize(bytes) => format!("HttpRequestBodySize: {}", size(bytes)),
        Error::HttpResponseBodySize(bytes) => format!("HttpResponseBodySize: {}", size(bytes)),
        Error::InternalError(text) => {
            format!("InternalError: {}", text.as_deref().unwrap_or_default())
        }
        other => format!("InternalError: {other:?}"),
    }
}

/// An error of a body is in there as it was. Of what hyper found itself, only what is no HTTP is the server's mistake;
/// everything else is a connection that broke off.
fn name_of_hyper(error: &hyper::Error) -> String {
    let source = error.source();
    if let Some(error) = source.and_then(|source| source.downcast_ref::<Error>()) {
        return error_name(error);
    }
    let io: Option<&io::Error> = source.and_then(|source| source.downcast_ref());
    // A chunk whose size is none.
    let is_nonsense = io.is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        )
    });
    let name = match error.is_parse() || is_nonsense {
        true => "HttpProtocolError",
        false => "HttpResponseIncomplete",
    };
    name.to_owned()
}

fn is_lookup(error: &io::Error) -> bool {
    let said = || {
        error
            .to_string()
            .starts_with("failed to lookup address information")
    };
    error.kind() == io::ErrorKind::AddrNotAvailable || said()
}

fn detailed_error(name: &str) -> Error {
    let (code, detail) = name.split_once(": ").unwrap_or(("", name));
    let bytes = || detail.parse().ok();
    match code {
        "DnsError" => Error::DnsError {
            rcode: Some(detail.to_owned()),
            info_code: None,
        },
        "HttpRequestBodySize" => Error::HttpRequestBodySize(bytes()),
        "HttpResponseBodySize" => Error::HttpResponseBodySize(bytes()),
        _ => Error::InternalError(Some(detail.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_given_as_they_were_named() {
        for error in [
            Error::ConnectionRefused,
            Error::HttpResponseTimeout,
            Error::HttpResponseBodySize(Some(7)),
            Error::InternalError(Some("a: b".into())),
            Error::DnsError {
                rcode: Some("none".into()),
                info_code: None,
            },
        ] {
            let name = error_name(&error);
            assert_eq!(error_name(&error_of_name(&name)), name);
        }
        assert!(matches!(
            error_of_name("HttpRequestBodySize: 7"),
            Error::HttpRequestBodySize(Some(7))
        ));
    }
}
