//! Instances that run more than one job, where the operator chose that.
//!
//! What a guest keeps in its memory, in its WASI handles and in its statics is there for the next job of the
//! same queue; nothing else is. After a trap an instance is never used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;

use super::{Reuse, Rights};
use crate::imports::{JobState, Processor as Bindings};

/// An instance with its store, between two jobs or in one.
pub struct Reusable {
    /// The store.
    pub store: Store<JobState>,
    /// The instance in it; none before the first job began.
    pub instance: Option<Bindings>,
    rights: Arc<Rights>,
    jobs: u32,
    born: Instant,
}

impl Reusable {
    /// A store without an instance yet.
    pub fn fresh(store: Store<JobState>, rights: &Arc<Rights>) -> Self {
        Reusable {
            store,
            instance: None,
            rights: Arc::clone(rights),
            jobs: 0,
            born: Instant::now(),
        }
    }

    fn may_go_on(&self) -> bool {
        self.rights.reuse.is_some_and(|Reuse { jobs, age_ms }| {
            self.jobs < jobs && self.born.elapsed() < Duration::from_millis(age_ms)
        })
    }
}

/// Instances that wait for a job. None are kept once it is closed.
#[derive(Default)]
pub(super) struct IdleInstances(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    closed: bool,
    instances: Vec<Reusable>,
}

impl IdleInstances {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, rights: &Arc<Rights>) -> Option<Reusable> {
        rights.reuse?;
        let mut idle = self.lock();
        // Those with other rights were made before the config changed.
        idle.instances
            .retain(|instance| Arc::ptr_eq(&instance.rights, rights) && instance.may_go_on());
        idle.instances.pop()
    }

    pub(super) fn put(&self, mut instance: Reusable) {
        instance.jobs += 1;
        if !instance.may_go_on() {
            return;
        }
        let mut idle = self.lock();
        if !idle.closed {
            idle.instances.push(instance);
        }
    }

    pub(super) fn open(&self) {
        self.lock().closed = false;
    }

    pub(super) fn close(&self) {
        let mut idle = self.lock();
        idle.closed = true;
        idle.instances.clear();
    }
}
