//! Keeping the locks of running jobs, and giving back the jobs of workers that died.

use crate::error::QueueError;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::time::now_ms;

impl Queue {
    /// Renews the locks of running jobs (id, token) in one call and returns the ids of the lost ones.
    pub async fn extend_locks<'a>(
        &self,
        jobs: impl IntoIterator<Item = (&'a str, &'a str)>,
        lock_ms: u64,
    ) -> Result<Vec<String>, QueueError> {
        let script = script!("extend_locks");
        let mut call = script.call(self.keys.base());
        call.arg(lock_ms);
        for (id, token) in jobs {
            call.arg(id).arg(token);
        }
        self.redis.run(script, &call).await
    }

    /// Gives back jobs that were active at the last check and have no lock now; returns their ids.
    ///
    /// At most one check per interval takes effect, whichever worker of the queue makes it. A job that
    /// stalled more than `stalled_max` times fails when it is picked up next.
    pub async fn recover_stalled(
        &self,
        interval_ms: u64,
        stalled_max: u32,
    ) -> Result<Vec<String>, QueueError> {
        let script = script!("recover_stalled", "line");
        let mut call = script.call(self.keys.base());
        call.arg(now_ms()).arg(interval_ms).arg(stalled_max);
        self.redis.run(script, &call).await
    }
}
