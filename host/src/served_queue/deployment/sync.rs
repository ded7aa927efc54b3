//! What hosts say of their queues, and what is new to them: one call for all queues of a route.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::record::{read_deployment, to_json};
use super::{CancelRequest, Deployment, Deployments};
use crate::served_queue::report::QueueStatus;
use crate::versions::{Canary, Tally};
use toril_queue::{AttemptId, QueueError, script};

/// What one host says of one queue.
pub(in crate::served_queue) struct Report<'a> {
    /// Of which queue.
    pub(in crate::served_queue) deployments: &'a Deployments,
    /// What it does.
    pub(in crate::served_queue) status: &'a QueueStatus,
    /// The revision that it knows.
    pub(in crate::served_queue) known: u64,
    /// The canary that it runs, with what ended there.
    pub(in crate::served_queue) canary: Option<&'a Canary>,
    /// The last request to cancel that it knows; none where it runs no job.
    pub(in crate::served_queue) last_cancel: Option<&'a str>,
}

/// What is new to a host on one queue.
#[derive(Default)]
pub(in crate::served_queue) struct News {
    /// Where it is another one than the host knows.
    pub(in crate::served_queue) deployment: Option<Deployment>,
    /// Oldest first.
    pub(in crate::served_queue) cancels: Vec<Asked>,
    /// What ended on all hosts of the canary that the host runs, if it is still there.
    pub(in crate::served_queue) counts: Option<Tally>,
}

/// A request as it was read.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its place in the stream.
    pub(crate) place: String,
    /// How long before the answer it was made, by the clock of Redis: that of a host may be another one.
    pub(crate) age: Duration,
    pub(crate) request: CancelRequest,
}

impl Deployments {
    /// Reports what a host does on some queues of one route. Returns for each what is new.
    pub(in crate::served_queue) async fn sync(
        host: &str,
        reports: &[Report<'_>],
    ) -> Result<Vec<Result<News, QueueError>>, QueueError> {
        let Some(first) = reports.first() else {
            return Ok(Vec::new());
        };
        let script = script!(in "src/served_queue/lua": "lib", "sync");
        let keys: Vec<&str> = reports
            .iter()
            .map(|report| &*report.deployments.key)
            .collect();
        let mut call = script.call_on(&keys);
        call.arg(host);
        for report in reports {
            let canary = report.canary;
            let (id, counter) = canary
                .map(|canary| (canary.id.to_string(), canary.counter.to_string()))
                .unwrap_or_default();
            let tally = canary.map(Canary::tally).unwrap_or_default();
            call.arg(to_json(report.status))
                .arg(report.known)
                .arg(id)
                .arg(counter);
            for count in tally.active.into_iter().chain(tally.candidate) {
                call.arg(count);
            }
            call.arg(report.last_cancel.unwrap_or_default());
        }
        let replies: Vec<Value> = first.deployments.redis.run(script, &call).await?;
        Ok(replies.into_iter().map(read_sync).collect())
    }
}

/// The record, requests to cancel, and the counts of the canary.
type SyncReply = (
    Value,
    Vec<(String, BTreeMap<String, String>)>,
    Option<(u64, u64, u64, u64)>,
    u64,
);

fn read_sync(reply: Value) -> Result<News, QueueError> {
    let (record, cancels, counts, now_ms) = match reply {
        Value::Nil => return Ok(News::default()),
        Value::BulkString(error) => {
            let error = String::from_utf8_lossy(&error).into_owned();
            return Err(QueueError::Invalid(error));
        }
        reply => <SyncReply>::from_redis_value(reply).map_err(|_| QueueError::Reply("sync"))?,
    };
    let request = |(place, mut fields): (String, BTreeMap<String, String>)| {
        let mut field = |name| fields.remove(name).unwrap_or_default();
        let request = CancelRequest {
            id: field("id"),
            token: field("token"),
            attempt: AttemptId::from_text(field("attempt")),
            said: field("said"),
        };
        let asked_ms = place.split('-').next().and_then(|ms| ms.parse().ok());
        let age = Duration::from_millis(now_ms.saturating_sub(asked_ms.unwrap_or(u64::MAX)));
        Asked {
            place,
            age,
            request,
        }
    };
    Ok(News {
        deployment: match record {
            Value::Nil => None,
            record => Some(read_deployment(record)?),
        },
        cancels: cancels.into_iter().map(request).collect(),
        counts: counts.map(
            |(active, active_failed, candidate, candidate_failed)| Tally {
                active: [active, active_failed],
                candidate: [candidate, candidate_failed],
            },
        ),
    })
}
