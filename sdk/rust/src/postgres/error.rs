//! Why a statement has no answer.

use super::raw;
pub use raw::ServerError;

/// Why a statement has no answer. `?` fails the attempt with it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the statement.
    Server(Box<ServerError>),
    /// The server is unreachable, or the connection was lost: a statement that was running may have taken effect.
    Unavailable(String),
    /// All connections of the queue were in use for as long as the job could wait.
    Exhausted(String),
    /// The statement took too long, and the host cancelled it.
    TimedOut(String),
    /// A limit of the operator was reached.
    Limit(String),
    /// The host does not carry out such a statement.
    Refused(String),
    /// The operator did not grant this database.
    Denied(String),
    /// A row does not fit the type that was asked for.
    Row(serde_json::Error),
}

impl Error {
    /// True if the same may succeed later: conflicts with other transactions, and a server that is unreachable or busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Server(error) => error.is_transient,
            Error::Unavailable(_) | Error::Exhausted(_) | Error::TimedOut(_) => true,
            _ => false,
        }
    }

    /// The SQLSTATE of a statement that the server refused, such as `23505`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Server(error) => Some(&error.code),
            _ => None,
        }
    }

    /// The constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Error::Server(error) => error.constraint.as_deref(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Server(error) => write!(f, "{} (SQLSTATE {})", error.message, error.code),
            Error::Unavailable(message)
            | Error::Exhausted(message)
            | Error::TimedOut(message)
            | Error::Limit(message)
            | Error::Refused(message)
            | Error::Denied(message) => f.write_str(message),
            Error::Row(error) => write!(f, "row does not fit: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<raw::Error> for Error {
    fn from(error: raw::Error) -> Self {
        match error {
            raw::Error::Server(error) => Error::Server(Box::new(error)),
            raw::Error::Unavailable(message) => Error::Unavailable(message),
            raw::Error::Exhausted(message) => Error::Exhausted(message),
            raw::Error::TimedOut(message) => Error::TimedOut(message),
            raw::Error::Limit(message) => Error::Limit(message),
            raw::Error::Refused(message) => Error::Refused(message),
            raw::Error::Denied(message) => Error::Denied(message),
        }
    }
}
