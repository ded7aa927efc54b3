//! `/v1/queues/{queue}/events`: what a queue's worker tells, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;

use super::Admin;
use super::error::ApiError;
use super::extract::Path;
use crate::worker::{EventReader, WorkerEvent};

/// How long the stream is silent at most: proxies close connections on which nothing comes.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Arguments up to this size are copied.
const WHOLE_MAX: usize = 16 << 10;

/// Streams the events of BullMQ's `worker.on` (active, completed, failed, progress, stalled, drained, error and lockLost) as
/// server-sent events. In `completed` and `failed`, the job has its state after the event: `attemptsMade`, `finishedOn`,
/// `returnvalue`, `failedReason`. In `failed`, `final` is false if the job is tried again. A reader that falls behind by 1,024
/// events or 16 MiB, or by more than the host has room for, misses events: it gets the event `missed`, whose data is their number.
/// The host disconnects a reader that reads nothing for two minutes.
#[utoipa::path(get, path = "/v1/queues/{queue}/events", responses(
    (status = OK, content_type = "text/event-stream"), (status = NOT_FOUND)))]
pub(super) async fn events(
    State(admin): State<Admin>,
    Path(queue): Path<String>,
) -> Result<Response, ApiError> {
    let reader = admin.host.listen(&queue)?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, Body::from_stream(frames(reader))).into_response())
}

fn frames(reader: EventReader) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let parts = stream::unfold(reader, |mut reader| async move {
        let heard = tokio::time::timeout(SILENCE_MAX, reader.recv()).await;
        let parts = match heard {
            Ok(Ok(event)) => parts_of(event),
            Ok(Err(RecvError::Lagged(count))) => {
                vec![format!("event: missed\ndata: {count}\n\n").into()]
            }
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => vec![Bytes::from_static(b":\n\n")],
        };
        Some((stream::iter(parts), reader))
    });
    parts.flatten().map(Ok)
}

/// A small event goes out whole. The arguments of a large one go out as they are: they are shared by all readers, and
/// counted until they are sent.
fn parts_of(event: WorkerEvent) -> Vec<Bytes> {
    let (begin, end) = (format!("event: {}\ndata: ", event.name), "\n\n");
    if event.arguments.len() <= WHOLE_MAX {
        let whole = [begin.as_bytes(), &event.arguments, end.as_bytes()];
        return vec![whole.concat().into()];
    }
    vec![begin.into(), event.arguments, end.into()]
}
