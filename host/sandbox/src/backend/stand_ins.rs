//! What stands in for the world outside while a processor is tested: the time, and the servers that it asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

/// Tells the time since the epoch.
pub type WallClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Answers requests in place of servers. The policy was asked before, as for every request.
pub trait HttpAnswers: Send + Sync {
    /// The answer to a request whose body was sent completely.
    fn answer(&self, request: Request<Bytes>) -> HttpAnswer;
}

/// What comes of a request.
#[derive(Debug, Clone)]
pub enum HttpAnswer {
    /// The server answers.
    Response(Response<Bytes>),
    /// The server is there and refuses the connection.
    ConnectionRefused,
    /// The server does not answer in time. The guest learns of it at once.
    TimedOut,
    /// There is no such server.
    NoServer,
}
