//! What a worker tells those who listen: BullMQ's `worker.on` events. Nobody listening costs nothing.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast;

use toril_queue::{Job, json};

/// How many events a slow listener may be behind before it misses some.
const BEHIND_MAX: usize = 1024;

/// One event of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerEvent {
    /// `active`, `completed`, `failed`, `progress`, `stalled`, `drained`, `error` or `lockLost`.
    pub name: &'static str,
    /// What BullMQ hands to the listener, by the names of its arguments.
    pub arguments: Value,
}

/// Those who listen to a worker.
#[derive(Clone)]
pub struct Listeners(broadcast::Sender<Arc<WorkerEvent>>);

impl Default for Listeners {
    fn default() -> Self {
        Listeners(broadcast::Sender::new(BEHIND_MAX))
    }
}

impl Listeners {
    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<WorkerEvent>> {
        self.0.subscribe()
    }

    fn tell(&self, name: &'static str, arguments: impl FnOnce() -> Value) {
        if self.0.receiver_count() > 0 {
            // The last one may have left meanwhile.
            let _ = self.0.send(Arc::new(WorkerEvent {
                name,
                arguments: arguments(),
            }));
        }
    }

    pub(crate) fn active(&self, job: &Job) {
        self.tell(
            "active",
            || json!({ "jobId": &*job.id, "job": job.as_json(), "prev": "waiting" }),
        );
    }

    pub(crate) fn completed(&self, job: &Job, value: &str) {
        self.tell("completed", || {
            let result: Value = json::read(value).unwrap_or_default();
            json!({ "jobId": &*job.id, "job": job.as_json(), "result": result, "prev": "active" })
        });
    }

    pub(crate) fn failed(&self, job: &Job, reason: &str, stacktrace: &str) {
        self.tell("failed", || {
            let mut stacks: Vec<String> = json::read(stacktrace).unwrap_or_default();
            let error = json!({ "message": reason, "stack": stacks.pop() });
            json!({ "jobId": &*job.id, "job": job.as_json(), "error": error, "prev": "active" })
        });
    }

    pub(crate) fn progress(&self, job: &Job, progress: &str) {
        self.tell("progress", || {
            let progress: Value = json::read(progress).unwrap_or_default();
            json!({ "jobId": &*job.id, "job": job.as_json(), "progress": progress })
        });
    }

    pub(crate) fn stalled(&self, job_id: &str) {
        self.tell("stalled", || json!({ "jobId": job_id, "prev": "active" }));
    }

    pub(crate) fn drained(&self) {
        self.tell("drained", || json!({}));
    }

    pub(crate) fn error(&self, error: &impl std::fmt::Display) {
        self.tell(
            "error",
            || json!({ "error": { "message": error.to_string() } }),
        );
    }

    pub(crate) fn lock_lost(&self, job_id: &str) {
        self.tell("lockLost", || json!({ "jobId": job_id }));
    }
}
