//! Instances that run more than one job, where the operator chose that.
//!
//! What a guest keeps in its memory, in its WASI handles and in its statics is there for the next job of the
//! same queue; nothing else is. After a trap an instance is never used again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::Store;

use crate::bindings::Processor as Bindings;
use crate::guest::AttemptState;
use crate::policy::{Policy, Reuse};

/// An instance with its store, between two jobs or in one.
pub struct Reusable {
    /// The store.
    pub store: Store<AttemptState>,
    /// The instance in it; none before the first job began.
    pub instance: Option<Bindings>,
    policy: Arc<Policy>,
    jobs: u32,
    born: Instant,
}

impl Reusable {
    /// A store without an instance yet.
    pub fn fresh(store: Store<AttemptState>, policy: &Arc<Policy>) -> Self {
        Reusable {
            store,
            instance: None,
            policy: Arc::clone(policy),
            jobs: 0,
            born: Instant::now(),
        }
    }

    fn may_go_on(&self) -> bool {
        self.policy.reuse.is_some_and(|Reuse { jobs, age_ms }| {
            self.jobs < jobs && self.born.elapsed() < Duration::from_millis(age_ms)
        })
    }
}

/// Instances that wait for a job. None are kept once it is closed.
#[derive(Default)]
pub(crate) struct IdleInstances(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    closed: bool,
    instances: Vec<Reusable>,
}

impl IdleInstances {
    pub(crate) fn take(&self, policy: &Arc<Policy>) -> Option<Reusable> {
        policy.reuse?;
        let mut idle = self.0.lock();
        // Those with other policy were made before the config changed.
        idle.instances
            .retain(|instance| Arc::ptr_eq(&instance.policy, policy) && instance.may_go_on());
        idle.instances.pop()
    }

    pub(crate) fn put(&self, mut instance: Reusable) {
        instance.jobs += 1;
        if !instance.may_go_on() {
            return;
        }
        let mut idle = self.0.lock();
        if !idle.closed {
            idle.instances.push(instance);
        }
    }

    pub(crate) fn open(&self) {
        self.0.lock().closed = false;
    }

    pub(crate) fn close(&self) {
        let mut idle = self.0.lock();
        idle.closed = true;
        idle.instances.clear();
    }
}
