//! Errors of requests by name: `wasi:http` has them as codes, some with details.

use wasmtime_wasi_http::Error;

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
    };
}

codes! {
    DnsTimeout, DestinationNotFound, DestinationUnavailable, DestinationIpProhibited, DestinationIpUnroutable,
    ConnectionRefused, ConnectionTerminated, ConnectionTimeout, ConnectionReadTimeout, ConnectionWriteTimeout,
    ConnectionLimitReached, TlsProtocolError, TlsCertificateError, HttpRequestDenied, HttpRequestLengthRequired,
    HttpRequestMethodInvalid, HttpRequestUriInvalid, HttpRequestUriTooLong, HttpResponseIncomplete, HttpResponseTimeout,
    HttpUpgradeFailed, HttpProtocolError, LoopDetected, ConfigurationError,
}

/// Those with details, and those that guests only see the code of: wasmtime makes these of them.
fn detailed_name(error: &Error) -> String {
    let size = |bytes: &Option<u64>| bytes.unwrap_or(0);
    match error {
        Error::Hyper(_) => "HttpProtocolError".to_owned(),
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

fn is_lookup(error: &std::io::Error) -> bool {
    let said = || {
        error
            .to_string()
            .starts_with("failed to lookup address information")
    };
    error.kind() == std::io::ErrorKind::AddrNotAvailable || said()
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
