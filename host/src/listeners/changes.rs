//! What an attempt changed of its job in Redis, for those who look at the job from outside.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use toril_queue::{Job, JobJson, raw_json};

/// Written by the attempt's backend, read by its worker.
#[derive(Default)]
pub(crate) struct Changes {
    /// The guest is moving the job: the lock goes with the move. Set before each move, and for good once it was carried
    /// out.
    moving: AtomicBool,
    /// The guest moved the job: the attempt has no lock of it any more.
    moved: AtomicBool,
    stored: Mutex<Stored>,
}

/// The values that the attempt stored, while somebody listened.
#[derive(Default)]
pub(crate) struct Stored {
    data: Option<String>,
    progress: Option<String>,
}

impl Changes {
    pub(crate) fn is_moving(&self) -> bool {
        self.moving.load(Ordering::Acquire)
    }

    pub(crate) fn is_moved(&self) -> bool {
        self.moved.load(Ordering::Acquire)
    }

    pub(crate) fn begin_move(&self) {
        self.moving.store(true, Ordering::Release);
    }

    /// A move that was refused takes back none that was carried out before.
    pub(crate) fn end_move(&self, is_done: bool) {
        if is_done {
            self.moved.store(true, Ordering::Release);
        } else {
            self.moving.store(self.is_moved(), Ordering::Release);
        }
    }

    pub(crate) fn note_data(&self, data: &str) {
        self.stored.lock().data = Some(data.to_owned());
    }

    pub(crate) fn note_progress(&self, progress: &str) {
        self.stored.lock().progress = Some(progress.to_owned());
    }

    /// The values that were stored. Locked while it is looked at.
    pub(crate) fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock()
    }
}

impl Stored {
    /// The job with what the attempt stored.
    pub(crate) fn show<'a>(&'a self, job: &'a Job) -> JobJson<'a> {
        let shown = JobJson::of(job);
        let stored = |text: &'a Option<String>| text.as_deref().map(str::as_bytes);
        JobJson {
            data: stored(&self.data).map_or(shown.data, raw_json),
            progress: stored(&self.progress).map_or(shown.progress, raw_json),
            ..shown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_move_takes_back_none_that_was_carried_out() {
        let changes = Changes::default();
        changes.begin_move();
        assert!(changes.is_moving() && !changes.is_moved());
        changes.end_move(false);
        assert!(!changes.is_moving() && !changes.is_moved());
        for is_done in [true, false] {
            changes.begin_move();
            changes.end_move(is_done);
            assert!(changes.is_moving() && changes.is_moved());
        }
    }
}
