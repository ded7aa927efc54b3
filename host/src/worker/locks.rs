//! The locks of running jobs, and the jobs of workers that died. Beside the pump, not in it: a slow call
//! there must not cost a lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::Observers;
use crate::runtime::{Cancel, Stop};
use toril_queue::{Job, Queue};

/// How soon a call that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The jobs whose locks this worker holds: from the fetch until they are settled.
#[derive(Default)]
pub(super) struct Running {
    jobs: Mutex<HashMap<Arc<str>, Arc<Held>>>,
}

/// One job that is held.
pub(super) struct Held {
    pub(super) job: Arc<Job>,
    pub(super) cancel: Arc<Cancel>,
    /// The digest that it runs on, once that is decided.
    pub(super) version: OnceLock<Arc<str>>,
}

/// A job that is held now.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningJob {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was picked up, in ms since the epoch.
    pub processed_on: u64,
    /// Times it was picked up, this one included.
    pub attempts_started: u32,
    /// The digest that it runs on; none while it waits for its turn.
    pub version: Option<String>,
}

impl Running {
    fn jobs(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Held>>> {
        // Nothing panics while it is held; were it to, the map would still be whole.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a job that was taken.
    pub(super) fn hold(&self, job: Arc<Job>) -> Arc<Held> {
        let held = Arc::new(Held {
            job,
            cancel: Arc::default(),
            version: OnceLock::new(),
        });
        self.jobs().insert(held.job.id.clone(), Arc::clone(&held));
        held
    }

    pub(super) fn list(&self) -> Vec<RunningJob> {
        let jobs = self.jobs();
        let running = jobs.values().map(|held| RunningJob {
            id: held.job.id.to_string(),
            name: held.job.name.clone(),
            processed_on: held.job.processed_on,
            attempts_started: held.job.attempts_started,
            version: held.version.get().map(|version| version.to_string()),
        });
        running.collect()
    }

    /// Forgets a job, unless it was taken anew meanwhile.
    pub(super) fn remove(&self, job: &Job) {
        let mut jobs = self.jobs();
        if let Some(held) = jobs.remove(&job.id)
            && held.job.token != job.token
        {
            jobs.insert(job.id.clone(), held);
        }
    }

    pub(super) fn stop_all(&self, reason: Stop) {
        for held in self.jobs().values() {
            held.cancel.stop(reason);
        }
    }

    /// Stops a job. False: it is not held here.
    pub(super) fn stop(&self, id: &str, reason: Stop) -> bool {
        self.jobs()
            .get(id)
            .inspect(|held| held.cancel.stop(reason))
            .is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.jobs().len()
    }

    fn locks(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.jobs()
            .iter()
            .map(|(id, held)| (id.clone(), held.job.token.clone()))
            .collect()
    }
}

/// Renews all locks at half their time, and stops jobs whose lock is lost. Never returns.
pub(super) async fn renew(
    queue: Queue,
    running: Arc<Running>,
    lock_ms: u64,
    observers: Arc<Observers>,
) {
    let half = Duration::from_millis((lock_ms / 2).max(1));
    let mut pause = half;
    loop {
        tokio::time::sleep(pause).await;
        let locks = running.locks();
        if locks.is_empty() {
            pause = half;
            continue;
        }
        match queue
            .extend_locks(locks.iter().map(|(id, token)| (&**id, &**token)), lock_ms)
            .await
        {
            Ok(lost) => {
                pause = half;
                for id in lost {
                    warn!(
                        queue = queue.keys().name(),
                        job_id = id,
                        "lock of a running job was lost, it is stopped"
                    );
                    running.stop(&id, Stop::LockLost);
                    observers.metrics.locks_lost.inc();
                    observers.listeners.lock_lost(&id);
                }
            }
            Err(error) => {
                pause = RETRY.min(half);
                observers.listeners.error(&error);
                warn!(queue = queue.keys().name(), %error, "locks could not be renewed, it is tried again");
            }
        }
    }
}

/// Gives back the jobs of dead workers, at once and at every interval. Never returns.
pub(super) async fn recover(
    queue: Queue,
    interval_ms: u64,
    stalled_max: u32,
    observers: Arc<Observers>,
) {
    let interval = Duration::from_millis(interval_ms.max(1));
    loop {
        let pause = match queue.recover_stalled(interval_ms.max(1), stalled_max).await {
            Ok(stalled) => {
                for job_id in stalled {
                    observers.metrics.stalled.inc();
                    observers.listeners.stalled(&job_id);
                    info!(
                        queue = queue.keys().name(),
                        job_id, "job had stalled and was given back"
                    );
                }
                interval
            }
            Err(error) => {
                observers.listeners.error(&error);
                warn!(queue = queue.keys().name(), %error, "stalled jobs could not be looked for");
                RETRY.min(interval)
            }
        };
        tokio::time::sleep(pause).await;
    }
}
