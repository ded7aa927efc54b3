//! The locks of running jobs, and the jobs of workers that died. Beside the worker's loop, not in it: a slow call
//! there must not cost a lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{Observers, State};
use toril_queue::{LockedAttempt, Queue};
use toril_sandbox::Stop;

/// How soon a call that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Renews all locks, which hold for `lock_ms`, at an interval, and stops attempts whose lock is lost. Never returns.
pub(super) async fn renew(
    queue: Queue,
    state: State,
    lock_ms: u64,
    interval: Duration,
    observers: Arc<Observers>,
) {
    let patience = interval / 3;
    // Opened when it is first needed.
    let spare = queue.on_own_connection();
    let mut pause = interval;
    loop {
        tokio::time::sleep(pause).await;
        pause = interval;
        let held: Vec<_> = state.lock().jobs().to_renew().cloned().collect();
        if held.is_empty() {
            continue;
        }
        let locks: Vec<_> = held
            .iter()
            .map(|held| LockedAttempt::of(&held.job))
            .collect();
        let begun = Instant::now();
        // A connection that is dead, or busy with something large, is noticed later than a lock holds.
        let over_spare = async {
            tokio::time::sleep(patience).await;
            spare.extend_locks(&locks, lock_ms).await
        };
        let answer = tokio::select! {
            answer = queue.extend_locks(&locks, lock_ms) => answer,
            answer = over_spare => answer,
        };
        match answer {
            Ok(lost) => {
                for attempt in lost {
                    lose(&queue, &state, &observers, &attempt.job_id, &attempt.token);
                }
            }
            Err(error) => {
                pause = RETRY.min(interval).saturating_sub(begun.elapsed());
                observers.listeners.error(&error);
                warn!(queue = queue.keys().name(), %error, "locks could not be renewed, it is tried again");
            }
        }
    }
}

/// Stops an attempt whose lock is another worker's. One that has ended meanwhile, or was taken again, is left alone:
/// the answer speaks of the start that the call named.
fn lose(queue: &Queue, state: &State, observers: &Observers, id: &str, token: &str) {
    let Some(held) = state.lock().lock_lost(id, token) else {
        return;
    };
    warn!(
        queue = queue.keys().name(),
        job_id = id,
        "lock of a running job was lost, it is stopped"
    );
    held.cancel.stop(Stop::LockLost);
    observers.metrics.locks_lost.inc();
    observers.listeners.lock_lost(id);
}

/// Gives back the jobs of dead workers, at once and at every interval. Never returns.
pub(super) async fn recover_stalled(
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
