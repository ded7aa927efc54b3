//! What stands in for the world outside while a processor is tested: the time, and the servers that it asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

/// Tells the time since the epoch.
pub type WallClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Answers requests in place of servers. The policy was asked before, as for every request.
pub trait HttpAnswers: Send + Sync {
    /// The answer to a request whose body was sent completely. `number` counts the requests of the attempt, from 0, as they
    /// began.
    fn answer(&self, number: usize, request: Request<Bytes>) -> HttpAnswer;
}

/// What comes of a request.
#[derive(Debug, Clone)]
pub enum HttpAnswer {
    /// The server answers.
    Response(Response<Bytes>),
    /// The server answers, and the body ends with an error of this name.
    CutOff(Response<Bytes>, String),
    /// The server is there and refuses the connection.
    ConnectionRefused,
    /// The server does not answer in time. The guest learns of it at once.
    TimedOut,
    /// There is no such server.
    NoServer,
    /// It fails with an error of this name.
    Failed(String),
    /// It is never answered.
    Never,
}
