//! Runs one attempt of a job: instantiate, call, judge. Settles nothing.

use std::time::Duration;

use tracing::warn;
use wasmtime::component::Resource;
use wasmtime::{PoolConcurrencyLimitError, WasmBacktrace};

use crate::imports::{Failure, FailureDetail, InvalidData, JobHandle, JobState, MovedTo};
use crate::runtime::{Cancel, Processor, Runtime, Stop};

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The processor returned a value, JSON text.
    Completed(String),
    /// The attempt failed.
    Failed {
        /// `failedReason`.
        message: String,
        /// One entry of `stacktrace`.
        stack: String,
        /// No further attempt can help.
        unrecoverable: bool,
    },
    /// The processor moved the job itself; nothing is left to settle.
    Moved(MovedTo),
    /// The job goes back untouched.
    Wait,
    /// The job goes back untouched, and the queue is limited for this many ms.
    RateLimited(u64),
    /// The job is another worker's now: nothing may be written.
    Lost,
    /// The host failed, not the job: it runs again some time later, and no attempt is spent.
    HostFailed(String),
}

impl Outcome {
    /// A failed attempt without a stack of its own.
    pub fn failed(message: impl Into<String>) -> Self {
        Outcome::failure(message.into(), None, false)
    }

    /// A failure that no further attempt can help.
    pub fn unrecoverable(message: impl Into<String>) -> Self {
        Outcome::failure(message.into(), None, true)
    }

    fn failure(message: String, stack: Option<String>, unrecoverable: bool) -> Self {
        let stack = stack.unwrap_or_else(|| format!("Error: {message}"));
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        }
    }
}

/// Runs one attempt, from instantiation to outcome. A guest that does not come back is dropped.
pub async fn execute(
    runtime: &Runtime,
    processor: &Processor,
    state: JobState,
    cancel: &Cancel,
) -> Outcome {
    let deadline_ms = state.limits.deadline_ms;
    let deadline = Duration::from_millis(deadline_ms);
    let mut store = runtime.store(state);
    let result = tokio::select! {
        biased;
        result = call(processor, &mut store) => result,
        // A guest that waits in a host call sees no epoch.
        reason = cancel.stopped() => Err(wasmtime::Error::new(reason)),
        () = tokio::time::sleep(deadline) => Err(wasmtime::Error::new(Stop::Deadline(deadline_ms))),
    };
    judge(store.data_mut(), result)
}

async fn call(
    processor: &Processor,
    store: &mut wasmtime::Store<JobState>,
) -> wasmtime::Result<Result<String, Failure>> {
    let instance = processor.instantiate(store).await?;
    instance
        .call_process(store, Resource::<JobHandle>::new_borrow(0))
        .await
}

fn judge(state: &mut JobState, result: wasmtime::Result<Result<String, Failure>>) -> Outcome {
    if let Err(error) = &result
        && error.downcast_ref::<Stop>() == Some(&Stop::LockLost)
    {
        return Outcome::Lost;
    }
    if let Some(moved) = state.moved {
        warn_of_other_exit(state, moved, &result);
        return Outcome::Moved(moved);
    }
    match result {
        Ok(Ok(value)) => completed(state, value),
        Ok(Err(failure)) => left_with(failure),
        Err(error) => trapped(state, &error),
    }
}

fn completed(state: &JobState, value: String) -> Outcome {
    let max = state.limits.value_bytes_max;
    if value.len() > max {
        let message = format!(
            "return value has {} bytes, more than the limit of {max}",
            value.len()
        );
        return Outcome::unrecoverable(message);
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(&value) {
        Ok(_) => Outcome::Completed(value),
        Err(error) => Outcome::failed(format!("return value is not JSON: {error}")),
    }
}

fn left_with(failure: Failure) -> Outcome {
    let detail = |detail: FailureDetail, unrecoverable| {
        Outcome::failure(detail.message, detail.stack, unrecoverable)
    };
    let unmoved = |exit: &str, call: &str| {
        Outcome::failed(format!(
            "processor left with `{exit}` but did not move the job: call `{call}` first"
        ))
    };
    match failure {
        Failure::Failed(failed) => detail(failed, false),
        Failure::Unrecoverable(failed) => detail(failed, true),
        Failure::Delayed => unmoved("delayed", "move-to-delayed"),
        Failure::WaitingChildren => unmoved("waiting-children", "move-to-waiting-children"),
        Failure::Waiting => Outcome::Wait,
        Failure::RateLimited(duration_ms) => Outcome::RateLimited(duration_ms),
    }
}

fn trapped(state: &mut JobState, error: &wasmtime::Error) -> Outcome {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::LockLost => Outcome::Lost,
            Stop::Shutdown => Outcome::Wait,
            Stop::Cancelled => Outcome::unrecoverable(stop.to_string()),
            Stop::Deadline(_) | Stop::Memory(_) | Stop::Tables(_) => {
                Outcome::failure(stop.to_string(), stack_of(stop, error), false)
            }
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Outcome::HostFailed(error.to_string());
    }
    if let Some(invalid) = error.downcast_ref::<InvalidData>() {
        return Outcome::unrecoverable(invalid.to_string());
    }
    let reason = match state.last_words.take() {
        Some(words) => words,
        None => error.root_cause().to_string(),
    };
    let stack = stack_of(&reason, error);
    Outcome::failure(reason, stack, false)
}

/// The wasm frames of a trap, under the reason, the way a stack reads in BullMQ's dashboards.
fn stack_of(reason: &impl std::fmt::Display, error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let mut stack = format!("Error: {reason}");
    // What Rust does to panic says nothing about why.
    let is_panic = |frame: &wasmtime::FrameInfo| {
        frame
            .func_name()
            .map(demangled)
            .is_some_and(|name| name.starts_with("core::panicking::"))
    };
    let first = backtrace
        .frames()
        .iter()
        .rposition(is_panic)
        .map_or(0, |last| last + 1);
    for frame in &backtrace.frames()[first..] {
        let name = frame
            .func_name()
            .map(demangled)
            .unwrap_or_else(|| "<unknown>".into());
        let offset = frame.module_offset().unwrap_or_default();
        stack.push_str(&format!("\n    at {name} (wasm offset {offset:#x})"));
    }
    Some(stack)
}

fn demangled(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    name.chars().take(200).collect()
}

fn warn_of_other_exit(
    state: &JobState,
    moved: MovedTo,
    result: &wasmtime::Result<Result<String, Failure>>,
) {
    let fits = matches!(
        (moved, result),
        (MovedTo::Delayed, Ok(Err(Failure::Delayed)))
            | (MovedTo::WaitingChildren, Ok(Err(Failure::WaitingChildren)))
            | (MovedTo::Wait, Ok(Err(Failure::Waiting)))
    );
    if !fits {
        warn!(
            queue = &*state.queue_name,
            job_id = &*state.job.id,
            ?moved,
            "processor moved its job and then left in another way, which counts for nothing"
        );
    }
}
