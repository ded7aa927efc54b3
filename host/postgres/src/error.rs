//! Why a statement has no answer.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorResponseBody;

/// Why a statement has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server refused it.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// The server cannot be reached, or the connection was lost.
    #[error("{0}")]
    Unavailable(String),
    /// All connections of the pool were in use for as long as the caller could wait.
    #[error("{0}")]
    Exhausted(String),
    /// It took longer than it may; it was cancelled at the server.
    #[error("statement took longer than {0} ms and was cancelled")]
    TimedOut(u128),
    /// The answer, or what was asked, is larger than it may be.
    #[error("{0}")]
    Limit(String),
    /// It is nothing that this client carries out.
    #[error("{0}")]
    Refused(String),
}

/// What the server said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE, five characters.
    pub code: String,
    /// One line.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The constraint that does not hold.
    pub constraint: Option<String>,
    /// The table that it is about.
    pub table: Option<String>,
    /// The column that it is about.
    pub column: Option<String>,
    /// The function of the server that failed; its names are the same in all languages.
    pub(crate) routine: Option<String>,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl ServerError {
    /// Reads the fields that are of use (<https://www.postgresql.org/docs/current/protocol-error-fields.html>).
    pub(crate) fn read(body: &ErrorResponseBody) -> Self {
        let mut error = ServerError::default();
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                b'n' => error.constraint = Some(value),
                b't' => error.table = Some(value),
                b'c' => error.column = Some(value),
                b'R' => error.routine = Some(value),
                _ => {}
            }
        }
        error
    }

    /// The statement was cancelled by request.
    pub(crate) const CANCELLED: &str = "57014";

    /// True if the same statement may succeed later: conflicts with others, and a server short of something or about to
    /// restart (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
    pub fn is_transient(&self) -> bool {
        let class = self.code.get(..2).unwrap_or_default();
        // A protocol that was violated is no trouble of the network.
        let is_protocol = self.code == "08P01";
        matches!(class, "08" | "40" | "53") && !is_protocol
            || self.is_out_of_service()
            || self.code == "55P03"
    }

    /// True if the server ends or cannot begin: it shuts down, crashed, or starts.
    pub(crate) fn is_out_of_service(&self) -> bool {
        matches!(self.code.as_str(), "57P01" | "57P02" | "57P03")
    }
}

impl Error {
    /// True if the same statement may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Server(error) => error.is_transient(),
            Error::Unavailable(_) | Error::Exhausted(_) | Error::TimedOut(_) => true,
            Error::Limit(_) | Error::Refused(_) => false,
        }
    }

    /// A connection that ended where an answer was expected.
    pub(crate) fn lost(error: &std::io::Error) -> Self {
        Error::Unavailable(format!(
            "connection to Postgres was lost: {error}; a statement that was running may have taken effect"
        ))
    }
}
