//! What one attempt may use, and the counting of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiterAsync;

use crate::cancel::Stop;
use crate::deadline::{Deadline, DeadlineSource};
use crate::memory_budget::{Claim, Share};
use crate::memory_images::with_causes;

/// The largest memory of a guest, in bytes: what 32 bits address.
pub const GUEST_MEMORY_BYTES_MAX: u64 = 1 << 32;
/// The most elements of a table: what 32 bits count.
pub const TABLE_ELEMENTS_MAX: u64 = u32::MAX as u64;

/// Refuses a number beyond what any guest can use.
pub fn check_at_most(key: &str, value: usize, max: u64) -> Result<(), String> {
    match value as u64 <= max {
        true => Ok(()),
        false => Err(format!(
            "`{key}` must be {max} or less: no guest can use more"
        )),
    }
}

/// What one attempt of a job may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall time of the guest and its host calls, in ms.
    pub deadline_ms: u64,
    /// The sum of its linear memories, in bytes.
    pub memory_bytes_max: usize,
    /// The sum of the elements of its tables.
    pub table_elements_max: usize,
    /// Core instances that its component is made of.
    pub instances_max: usize,
    /// Files and directories that it has open at once.
    pub open_files_max: usize,
    /// Lines to the host's log, from calls and from stdout and stderr; further ones are dropped.
    pub log_lines_max: u32,
    /// Bytes of these lines, and of lines to the job's own log.
    pub log_bytes_max: u64,
    /// Updates of its job's progress.
    pub progress_updates_max: u64,
    /// Jobs that it adds, those of flows included.
    pub jobs_added_max: u64,
    /// Calls to the host of any kind, WASI included.
    pub host_calls_max: u64,
    /// How long it may limit the rate of a queue, in ms; a longer time is cut.
    pub rate_limit_ms_max: u64,
    /// How long it may go on once it was cancelled or lost its lock, in ms: time for `is-cancelled` to be asked.
    pub cancel_grace_ms: u64,
    /// Size of a value returned, of data or progress written, of the options of jobs added in one call, and of a
    /// line of the job's log, in bytes. The reason of a failure and its stack are cut there.
    pub value_bytes_max: usize,
    /// Steps that its job keeps.
    pub steps_max: usize,
    /// Bytes of these, with their names.
    pub steps_bytes_max: usize,
    /// Stricter limits of jobs with these names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, NameLimits>,
}

/// What one attempt of a job of a certain name may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NameLimits {
    /// Wall time of the guest and its host calls, in ms. One above that of the queue changes nothing.
    pub deadline_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            deadline_ms: 300_000,
            memory_bytes_max: 128 << 20,
            table_elements_max: 20_000,
            instances_max: 50,
            open_files_max: 64,
            log_lines_max: 1_000,
            log_bytes_max: 1 << 20,
            progress_updates_max: 10_000,
            jobs_added_max: 10_000,
            host_calls_max: 10_000_000,
            rate_limit_ms_max: 86_400_000,
            cancel_grace_ms: 500,
            value_bytes_max: 8 << 20,
            steps_max: 1_000,
            steps_bytes_max: 1 << 20,
            names: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// The time limit of the queue.
    pub fn deadline(&self) -> Deadline {
        Deadline {
            ms: self.deadline_ms,
            set_by: DeadlineSource::Queue,
        }
    }

    /// The time limit that counts for a job: the smallest. What is said first counts where two are the same.
    pub(crate) fn deadline_of(&self, name: &str, timeout_ms: Option<u64>) -> Deadline {
        let of_name = self.names.get(name).and_then(|limits| limits.deadline_ms);
        let mut deadline = self.deadline();
        if let Some(ms) = of_name.filter(|ms| *ms < deadline.ms) {
            let set_by = DeadlineSource::Name(name.into());
            deadline = Deadline { ms, set_by };
        }
        if let Some(ms) = timeout_ms.filter(|ms| *ms < deadline.ms) {
            let set_by = DeadlineSource::Job;
            deadline = Deadline { ms, set_by };
        }
        deadline
    }

    /// Refuses limits under which no attempt could succeed, and those that the engine would reserve room for in vain.
    pub fn check(&self) -> Result<(), String> {
        let at_least_one = |name: &str, value: u64| match value {
            0 => Err(format!("`{name}` must be 1 or more")),
            _ => Ok(()),
        };
        at_least_one("limits.deadline_ms", self.deadline_ms)?;
        at_least_one("limits.memory_bytes_max", self.memory_bytes_max as u64)?;
        let memory = ("limits.memory_bytes_max", self.memory_bytes_max);
        check_at_most(memory.0, memory.1, GUEST_MEMORY_BYTES_MAX)?;
        let elements = ("limits.table_elements_max", self.table_elements_max);
        check_at_most(elements.0, elements.1, TABLE_ELEMENTS_MAX)?;
        for (name, limits) in &self.names {
            let key = format!("limits.names.{name}.deadline_ms");
            at_least_one(&key, limits.deadline_ms.unwrap_or(u64::MAX))?;
        }
        Ok(())
    }
}

/// Counts what one store uses against its limits, and takes its memory from what all guests share.
pub(crate) struct Quota {
    /// Filled in when the store is made.
    pub(crate) share: Option<Share>,
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// The part of it that is for what the host holds.
    outside_bytes: usize,
    table_elements_max: usize,
    table_elements: usize,
    instances_max: usize,
    host_calls: Count,
    progress_updates: Count,
    jobs_added: Count,
}

/// What the SDKs keep back of the memory, for the error that says that there is no more, and a page of wasm.
const NEARLY_FULL_BYTES: usize = (1 << 20) + (64 << 10);

/// What the host may hold for a guest without counting it: nearly every guest needs no more.
const OUTSIDE_BYTES_FREE: usize = 256 << 10;

/// What the host holds is counted in pieces of so many bytes.
const OUTSIDE_BYTES_STEP: usize = 64 << 10;

/// How much of something is left.
#[derive(Debug, Clone, Copy)]
struct Count {
    left: u64,
    max: u64,
}

impl Count {
    fn new(max: u64) -> Self {
        Count { left: max, max }
    }

    /// Takes some, or returns the limit that it would exceed.
    fn take(&mut self, count: u64) -> Result<(), u64> {
        self.left = self.left.checked_sub(count).ok_or(self.max)?;
        Ok(())
    }
}

impl Quota {
    pub(crate) fn new(limits: &Limits) -> Self {
        Quota {
            share: None,
            memory_bytes_max: limits.memory_bytes_max,
            memory_bytes: 0,
            outside_bytes: 0,
            table_elements_max: limits.table_elements_max,
            table_elements: 0,
            instances_max: limits.instances_max,
            host_calls: Count::new(limits.host_calls_max),
            progress_updates: Count::new(limits.progress_updates_max),
            jobs_added: Count::new(limits.jobs_added_max),
        }
    }

    /// Begins the next attempt in the same instance: what it holds stays counted, what it did does not.
    pub(crate) fn renew(&mut self) {
        for count in [
            &mut self.host_calls,
            &mut self.progress_updates,
            &mut self.jobs_added,
        ] {
            count.left = count.max;
        }
    }

    /// What the host may hold for the guest before more is counted.
    pub(crate) fn outside_bytes(&self) -> usize {
        OUTSIDE_BYTES_FREE + self.outside_bytes
    }

    /// Counts what the host holds for the guest, and waits until there is room for it. Like a memory, it grows only.
    pub(crate) async fn hold_outside(&mut self, bytes: usize) -> Result<(), Stop> {
        let pieces = bytes
            .saturating_sub(OUTSIDE_BYTES_FREE)
            .div_ceil(OUTSIDE_BYTES_STEP);
        let outside = pieces.saturating_mul(OUTSIDE_BYTES_STEP);
        let more = outside.saturating_sub(self.outside_bytes);
        let sum = self.memory_bytes.saturating_add(more);
        if sum > self.memory_bytes_max {
            return Err(Stop::MemoryOutside(self.memory_bytes_max));
        }
        if let Some(share) = &mut self.share {
            share.hold(sum).await?;
        }
        (self.memory_bytes, self.outside_bytes) = (sum, self.outside_bytes + more);
        Ok(())
    }

    /// The sum of its memories, in bytes, with what the host holds for it.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// True if so little is left that what a job kept may be in the way of the next one.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let left = self.memory_bytes_max.saturating_sub(self.memory_bytes);
        left <= (self.memory_bytes_max / 8).max(NEARLY_FULL_BYTES)
    }

    /// Says why an instance could not be made, and what to set.
    pub(crate) fn explain(&self, error: &wasmtime::Error) -> String {
        let (key, least) = match error.downcast_ref::<Stop>() {
            Some(Stop::Memory(_)) => ("memory_bytes_max", self.memory_bytes),
            Some(Stop::Tables(_)) => ("table_elements_max", self.table_elements),
            Some(Stop::SharedMemory(_)) => {
                let bytes = self.memory_bytes;
                return format!(
                    "{error:#}\nhint: set `memory_bytes_max = {bytes}` or more in `[runtime]` and restart the host"
                );
            }
            _ => return with_causes(error),
        };
        format!("{error:#}\nhint: set `{key} = {least}` or more in `[queues.NAME.limits]`")
    }

    /// Waits until there is room for an instance that begins with so many bytes, and is expected to have so many at most.
    pub(crate) async fn start(&mut self, bytes: usize, expected: usize) -> Result<(), Stop> {
        let (claim, bytes) = (self.claim(expected), bytes.min(self.memory_bytes_max));
        match &mut self.share {
            Some(share) => share.start(claim, bytes).await,
            None => Ok(()),
        }
    }

    fn claim(&self, expected: usize) -> Claim {
        let limit = self.memory_bytes_max;
        Claim { expected, limit }
    }

    /// Its instance becomes idle.
    pub(crate) fn rest(&mut self) {
        if let Some(share) = &mut self.share {
            share.rest();
        }
    }

    /// Its instance runs again; false if there is no room for it to.
    pub(crate) fn resume(&mut self, expected: usize) -> bool {
        let claim = self.claim(expected);
        let share = self.share.as_mut();
        share.is_none_or(|share| share.resume(claim))
    }

    /// Counts a call to the host.
    pub(crate) fn host_call(&mut self) -> Result<(), Stop> {
        self.host_calls.take(1).map_err(Stop::HostCalls)
    }

    /// Counts an update of the progress; the error is for the guest.
    pub(crate) fn progress_update(&mut self) -> Result<(), String> {
        let result = self.progress_updates.take(1);
        result.map_err(|max| format!("processor exceeded its limit of {max} progress updates"))
    }

    /// Refuses more jobs than may still be added; the error is for the guest.
    pub(crate) fn room_for_jobs(&self, count: usize) -> Result<(), String> {
        let mut jobs_added = self.jobs_added;
        let result = jobs_added.take(count as u64);
        result.map_err(|max| format!("processor exceeded its limit of {max} added jobs"))
    }

    /// Counts jobs that are about to be added; the error is for the guest.
    pub(crate) fn add_jobs(&mut self, count: usize) -> Result<(), String> {
        self.room_for_jobs(count)?;
        self.jobs_added.left -= count as u64;
        Ok(())
    }
}

// An error, not a refusal: a refused guest aborts with a message of its own making.
#[async_trait::async_trait]
impl ResourceLimiterAsync for Quota {
    fn instances(&self) -> usize {
        self.instances_max
    }

    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if is_beyond(desired, maximum) {
            return Ok(false);
        }
        self.memory_bytes = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        if self.memory_bytes > self.memory_bytes_max {
            return Err(wasmtime::Error::new(Stop::Memory(self.memory_bytes_max)));
        }
        if let Some(share) = &mut self.share {
            let held = share.hold(self.memory_bytes).await;
            held.map_err(wasmtime::Error::new)?;
        }
        Ok(true)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if is_beyond(desired, maximum) {
            return Ok(false);
        }
        self.table_elements = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if self.table_elements > self.table_elements_max {
            return Err(wasmtime::Error::new(Stop::Tables(self.table_elements_max)));
        }
        Ok(true)
    }
}

/// A guest that asks for more than its own module allows gets nothing, which must not be counted.
fn is_beyond(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_some_and(|maximum| desired > maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_time_limit_counts_and_is_named() {
        let names = [("slow", Some(500)), ("quick", Some(50)), ("any", None)];
        let names = names.map(|(name, deadline_ms)| (name.to_owned(), NameLimits { deadline_ms }));
        let limits = Limits {
            deadline_ms: 300,
            names: names.into(),
            ..Limits::default()
        };
        for (name, timeout_ms, expected) in [
            ("other", None, "300 ms"),
            ("other", Some(300), "300 ms"),
            ("other", Some(u64::MAX), "300 ms"),
            ("other", Some(10), "10 ms from the job's option `timeout`"),
            ("slow", None, "300 ms"),
            ("any", None, "300 ms"),
            ("quick", None, "50 ms for jobs named `quick`"),
            ("quick", Some(60), "50 ms for jobs named `quick`"),
            ("quick", Some(10), "10 ms from the job's option `timeout`"),
        ] {
            let deadline = limits.deadline_of(name, timeout_ms).to_string();
            assert_eq!(deadline, expected, "{name} {timeout_ms:?}");
        }
    }

    #[tokio::test]
    async fn memories_of_one_store_are_summed() {
        let mut quota = Quota::new(&Limits {
            memory_bytes_max: 100,
            ..Limits::default()
        });
        assert!(quota.memory_growing(0, 60, None).await.unwrap());
        let error = quota.memory_growing(0, 60, None).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Stop>(), Some(&Stop::Memory(100)));
    }

    #[tokio::test]
    async fn what_the_host_holds_counts_like_memory_and_is_counted_once() {
        let mut quota = Quota::new(&Limits {
            memory_bytes_max: 1 << 20,
            ..Limits::default()
        });
        quota.hold_outside(OUTSIDE_BYTES_FREE).await.unwrap();
        assert_eq!(quota.memory_bytes(), 0);
        for _ in 0..3 {
            quota.hold_outside(OUTSIDE_BYTES_FREE + 1).await.unwrap();
            assert_eq!(quota.memory_bytes(), OUTSIDE_BYTES_STEP);
        }
        quota.hold_outside(0).await.unwrap();
        assert_eq!(
            quota.outside_bytes(),
            OUTSIDE_BYTES_FREE + OUTSIDE_BYTES_STEP
        );
        let full = (1 << 20) - OUTSIDE_BYTES_STEP;
        quota.memory_growing(0, full, None).await.unwrap();
        let more = OUTSIDE_BYTES_FREE + OUTSIDE_BYTES_STEP + 1;
        let refused = quota.hold_outside(more).await;
        assert_eq!(refused, Err(Stop::MemoryOutside(1 << 20)));
    }

    #[tokio::test]
    async fn growth_that_the_module_forbids_is_not_counted() {
        let mut quota = Quota::new(&Limits::default());
        assert!(!quota.memory_growing(10, 60, Some(50)).await.unwrap());
        assert!(!quota.table_growing(10, 60, Some(50)).await.unwrap());
        assert_eq!((quota.memory_bytes, quota.table_elements), (0, 0));
    }

    #[tokio::test]
    async fn counts_begin_anew_with_the_next_attempt_and_memory_does_not() {
        let mut quota = Quota::new(&Limits {
            memory_bytes_max: 100,
            jobs_added_max: 3,
            host_calls_max: 1,
            ..Limits::default()
        });
        quota.memory_growing(0, 60, None).await.unwrap();
        quota.add_jobs(2).unwrap();
        let error = quota.add_jobs(2).unwrap_err();
        assert_eq!(error, "processor exceeded its limit of 3 added jobs");
        quota.host_call().unwrap();
        assert_eq!(quota.host_call(), Err(Stop::HostCalls(1)));
        quota.renew();
        quota.add_jobs(3).unwrap();
        quota.host_call().unwrap();
        assert!(quota.memory_growing(60, 110, None).await.is_err());
    }
}
