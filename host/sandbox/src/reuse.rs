//! Instances that run more than one job, where the operator chose that.
//!
//! What a guest keeps in its memory, in its WASI handles and in its statics is there for the next job of the
//! same queue; nothing else is. After a trap an instance is never used again.
//!
//! The idle instances of all processors are kept in one place, because all of them hold memory that others may need:
//! the one that has been idle for the longest is dropped first. Each is dropped at its age, whether or not a job comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;
use wasmtime::Store;

use crate::guest::AttemptState;
use crate::memory_budget::{GivesWay, MemoryBudget, Share};
use crate::policy::{Policy, Reuse};
use crate::prepared::Instance;

/// An instance with its store, between two jobs or in one.
pub struct Reusable {
    /// The store.
    pub store: Store<AttemptState>,
    /// The instance in it; none before the first job began.
    pub instance: Option<Instance>,
    policy: Arc<Policy>,
    jobs: u32,
    born: Instant,
    /// Filled in when this is dropped. Below the store: its memory is free before others get it.
    share: Option<Share>,
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
            share: None,
        }
    }

    fn may_go_on(&self) -> bool {
        self.policy.reuse.is_some_and(|Reuse { jobs, age_ms }| {
            self.jobs < jobs && self.born.elapsed() < Duration::from_millis(age_ms)
        })
    }

    /// When it is too old; never, where that is too far away to say.
    fn end(&self) -> Option<Instant> {
        let Reuse { age_ms, .. } = self.policy.reuse?;
        self.born.checked_add(Duration::from_millis(age_ms))
    }
}

impl Drop for Reusable {
    fn drop(&mut self) {
        self.share = self.store.data_mut().quota.share.take();
    }
}

/// Instances that wait for a job, of all processors of an engine.
#[derive(Default)]
pub(crate) struct IdleInstances {
    inner: Mutex<Inner>,
    /// One must be dropped sooner than those that were known.
    sooner: Notify,
}

#[derive(Default)]
struct Inner {
    processors: Slab<Idle>,
    /// How many were put here so far.
    count: u64,
    /// When those that are too old are dropped next.
    looks_at: Option<Instant>,
}

#[derive(Default)]
struct Idle {
    closed: bool,
    /// The policy of those that are kept; none: all are. Instances of another one come back when their jobs end.
    policy: Option<Arc<Policy>>,
    /// The newest comes last, and is taken first.
    instances: VecDeque<(u64, Reusable)>,
}

impl GivesWay for IdleInstances {
    /// Drops the one that has been idle for the longest.
    fn give_way(&self) -> bool {
        let mut inner = self.inner.lock();
        let idle = inner.processors.iter_mut().map(|(_, idle)| idle);
        let longest = idle
            .filter(|idle| !idle.instances.is_empty())
            .min_by_key(|idle| idle.instances.front().map(|(number, _)| *number));
        let dropped = longest.and_then(|idle| idle.instances.pop_front());
        drop(inner);
        dropped.is_some()
    }
}

impl IdleInstances {
    /// Drops all of them.
    pub(crate) fn clear(&self) {
        while self.give_way() {}
    }

    /// Drops those that are too old.
    fn drop_old(&self) {
        let mut old = Vec::new();
        let mut inner = self.inner.lock();
        for (_, idle) in &mut inner.processors {
            old.extend(idle.take_all_but(Reusable::may_go_on));
        }
        let left = inner
            .processors
            .iter()
            .flat_map(|(_, idle)| &idle.instances);
        inner.looks_at = left.filter_map(|(_, instance)| instance.end()).min();
        drop(inner);
    }

    /// Drops each at its age. Never returns.
    pub(crate) async fn drop_each_at_its_age(&self) {
        loop {
            let looks_at = self.inner.lock().looks_at;
            let end = async {
                match looks_at {
                    Some(end) => tokio::time::sleep_until(end.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Looks at none of them now: under load older ones come back all the time.
                () = self.sooner.notified() => {}
                () = end => self.drop_old(),
            }
        }
    }
}

impl Idle {
    fn keeps(&self, policy: &Arc<Policy>) -> bool {
        let kept = self.policy.as_ref();
        kept.is_none_or(|kept| Arc::ptr_eq(kept, policy))
    }

    /// The newest one to keep, and those that it found at either end and that are not: it does not look at all others, which
    /// may be hundreds.
    fn take_newest(
        &mut self,
        keep: impl Fn(&Reusable) -> bool,
    ) -> (Vec<Reusable>, Option<Reusable>) {
        let mut dropped = Vec::new();
        while let Some((_, newest)) = self.instances.pop_back() {
            if !keep(&newest) {
                dropped.push(newest);
                continue;
            }
            while self
                .instances
                .front()
                .is_some_and(|(_, oldest)| !keep(oldest))
            {
                dropped.extend(self.instances.pop_front().map(|(_, oldest)| oldest));
            }
            return (dropped, Some(newest));
        }
        (dropped, None)
    }

    fn take_all_but(&mut self, keep: impl Fn(&Reusable) -> bool) -> Vec<(u64, Reusable)> {
        if self.instances.iter().all(|(_, instance)| keep(instance)) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.instances);
        let (kept, taken) = all.into_iter().partition(|(_, instance)| keep(instance));
        self.instances = kept;
        taken.into()
    }
}

/// The idle instances of one processor. None are kept once it is closed.
pub(crate) struct IdleOfProcessor {
    budget: Arc<MemoryBudget>,
    all: Arc<IdleInstances>,
    key: usize,
}

impl IdleOfProcessor {
    pub(crate) fn new(budget: &Arc<MemoryBudget>, all: &Arc<IdleInstances>) -> Self {
        let key = all.inner.lock().processors.insert(Idle::default());
        IdleOfProcessor {
            budget: Arc::clone(budget),
            all: Arc::clone(all),
            key,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Idle) -> T) -> T {
        act(&mut self.all.inner.lock().processors[self.key])
    }

    pub(crate) fn take(&self, policy: &Arc<Policy>, bytes_expected: usize) -> Option<Reusable> {
        policy.reuse?;
        // Those with another policy were made before the config changed, and have been idle for the longest.
        let keep =
            |instance: &Reusable| Arc::ptr_eq(&instance.policy, policy) && instance.may_go_on();
        let (_dropped, newest) = self.with(|idle| idle.take_newest(keep));
        let mut instance = newest?;
        let resumed = instance.store.data_mut().quota.resume(bytes_expected);
        resumed.then_some(instance)
    }

    pub(crate) fn put(&self, mut instance: Reusable) {
        instance.jobs += 1;
        if !instance.may_go_on() {
            return;
        }
        let end = instance.end();
        instance.store.data_mut().quota.rest();
        let idle = &self.all;
        let mut inner = idle.inner.lock();
        inner.count += 1;
        let (number, looks_at) = (inner.count, inner.looks_at);
        let own = &mut inner.processors[self.key];
        if own.closed || !own.keeps(&instance.policy) {
            drop(inner);
            return;
        }
        own.instances.push_back((number, instance));
        let sooner = end.is_some_and(|end| looks_at.is_none_or(|at| end < at));
        if sooner {
            inner.looks_at = end;
        }
        drop(inner);
        if sooner {
            idle.sooner.notify_one();
        }
        self.budget.drop_idle_in_the_way();
    }

    /// Keeps those of this policy from now on, and drops the others: their ages are no longer what is set.
    pub(crate) fn keep(&self, policy: &Arc<Policy>) {
        let _dropped = self.with(|idle| {
            idle.closed = false;
            let of_this = |instance: &Reusable| Arc::ptr_eq(&instance.policy, policy);
            let dropped = idle.take_all_but(of_this);
            idle.policy = Some(Arc::clone(policy));
            dropped
        });
    }

    pub(crate) fn close(&self) {
        let _dropped = self.with(|idle| {
            idle.closed = true;
            std::mem::take(&mut idle.instances)
        });
    }
}

impl Drop for IdleOfProcessor {
    fn drop(&mut self) {
        let _dropped = self.all.inner.lock().processors.remove(self.key);
    }
}
