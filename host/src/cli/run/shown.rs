//! How an outcome, and what was added, is shown.

use serde_json::json;
use toril::queue::json;
use toril::sandbox::Outcome;
use toril::sandbox::dry_run::StoredJob;
use toril::sandbox::names::JobRef;

pub(super) fn added_as_json(job: &JobRef, stored: &StoredJob) -> serde_json::Value {
    let data: serde_json::Value = json::read(&stored.data).unwrap_or_default();
    json!({
        "id": job.id, "queue": job.queue.name(), "name": stored.name, "data": data,
        "state": stored.state.name(), "parent": stored.parent.as_ref().map(JobRef::to_string),
    })
}

pub(in crate::cli) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed(value) => format!("completed: {value}"),
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        } => {
            let kind = if *unrecoverable {
                "failed for good"
            } else {
                "failed"
            };
            format!("{kind}: {message}\n{stack}")
        }
        Outcome::Moved(to) => format!("moved to {}", to.state()),
        Outcome::Wait | Outcome::GivenBack => "given back".into(),
        Outcome::RateLimited(duration_ms) => {
            format!("given back, queue limited for {duration_ms} ms")
        }
        Outcome::Lost => "lock lost".into(),
        Outcome::HostFailed(reason) => format!("host failed: {reason}"),
    }
}

pub(in crate::cli) fn as_json(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Completed(value) => {
            let value: serde_json::Value = json::read(value).unwrap_or_default();
            json!({ "kind": "completed", "value": value })
        }
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        } => {
            json!({ "kind": "failed", "failedReason": message, "stack": stack, "unrecoverable": unrecoverable })
        }
        Outcome::Moved(to) => json!({ "kind": "moved", "to": to.state() }),
        Outcome::Wait | Outcome::GivenBack => json!({ "kind": "waiting" }),
        Outcome::RateLimited(duration_ms) => {
            json!({ "kind": "rate-limited", "durationMs": duration_ms })
        }
        Outcome::Lost => json!({ "kind": "lost" }),
        Outcome::HostFailed(reason) => json!({ "kind": "host-failed", "reason": reason }),
    }
}
