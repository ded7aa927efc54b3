//! Runs one attempt of a job: instantiate, call, judge. Settles nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::bindings::toril::processor::jobs::{Failure, FailureDetail};
use crate::cancel::{Cancel, Stop};
use crate::compile::Processor;
use crate::cpu_time::metered;
use crate::engine::Engine;
pub use crate::guest::AttemptInput;
use crate::guest::{AttemptState, InvalidData, too_many_handles};
use crate::limits::Limits;
pub use crate::memory_budget::Kept;
use crate::memory_images::with_causes;
use crate::outcome::{MovedTo, Outcome};
use crate::policy::Policy;
use crate::prepared::Instance;
use crate::reuse::Reusable;
use crate::short_machine::is_short_of;

/// What came of an attempt, and what it cost.
#[derive(Debug)]
pub struct AttemptResult {
    /// What came of it.
    pub outcome: Outcome,
    /// Processor time of the guest and of the host's work for it.
    pub cpu: Duration,
    /// The sum of its memories, in bytes.
    pub memory_bytes: usize,
    /// It was stopped from outside: by its deadline, or by somebody.
    pub is_stopped: bool,
    /// Counts the outcome as memory of guests, where it is large, for as long as somebody holds it.
    pub kept: Option<Kept>,
}

impl AttemptResult {
    /// An attempt that ended before a guest began.
    pub fn without_a_guest(outcome: Outcome) -> Self {
        AttemptResult {
            outcome,
            cpu: Duration::ZERO,
            memory_bytes: 0,
            is_stopped: false,
            kept: None,
        }
    }
}

/// Runs one attempt, from instantiation to outcome. A guest that does not come back is dropped.
pub async fn run(
    engine: &Engine,
    processor: &Processor,
    policy: &Arc<Policy>,
    input: AttemptInput,
) -> AttemptResult {
    let cancel = Arc::clone(&input.cancel);
    let _ticking = engine.ticking();
    let mut run = match prepare(engine, processor, policy, input) {
        Ok(run) => run,
        Err(error) => {
            return AttemptResult::without_a_guest(Outcome::HostFailed(format!("{error:#}")));
        }
    };
    let mut cpu = Duration::ZERO;
    let grace = Duration::from_millis(policy.limits.cancel_grace_ms);
    let deadline = run.store.data().current.deadline.clone();
    let result = {
        let call = pin!(call(processor, &mut run));
        tokio::select! {
            biased;
            result = metered(call, &mut cpu) => result,
            // A guest that waits in a host call sees no epoch.
            reason = cancel.must_stop(grace) => {
                Err(wasmtime::Error::new(reason))
            }
            // Made when the guest first waits, since most never do.
            () = async { tokio::time::sleep(deadline.duration()).await } => {
                Err(wasmtime::Error::new(Stop::Deadline(deadline)))
            }
        }
    };
    let stop = result.as_ref().err().and_then(|error| error.downcast_ref());
    let is_stopped = stop.is_some_and(Stop::is_from_outside);
    let mut goes_on = result.is_ok() && policy.reuse.is_some();
    let memory_bytes = run.store.data().quota.memory_bytes();
    processor.note_memory(memory_bytes);
    let outcome = judge(run.store.data_mut(), result);
    // It may have failed for want of memory, and the next job would, too.
    let has_failed = matches!(outcome, Outcome::Failed { .. });
    goes_on &= !(has_failed && run.store.data().quota.is_nearly_full());
    // No connection outlives its attempt.
    let are_closed = run.store.data().current.sockets.are_closed();
    goes_on = goes_on && are_closed.await;
    run.store.data_mut().give_sessions_back();
    run.store.data_mut().open_files.settle();
    let outcome = in_spite_of(&cancel, outcome);
    let kept = engine.keep(&outcome);
    if goes_on {
        processor.put_idle(run);
    }
    AttemptResult {
        outcome,
        cpu,
        memory_bytes,
        is_stopped,
        kept,
    }
}

fn prepare(
    engine: &Engine,
    processor: &Processor,
    policy: &Arc<Policy>,
    input: AttemptInput,
) -> anyhow::Result<Reusable> {
    if let Some(mut run) = processor.take_idle(policy) {
        run.store.data_mut().renew(input);
        run.store.set_epoch_deadline(1);
        return Ok(run);
    }
    let store = engine.store(AttemptState::new(input, policy)?);
    Ok(Reusable::fresh(store, policy))
}

async fn call(
    processor: &Processor,
    run: &mut Reusable,
) -> wasmtime::Result<Result<String, Failure>> {
    let instance = match &run.instance {
        Some(instance) => instance,
        None => run
            .instance
            .insert(instantiate(processor, &mut run.store).await?),
    };
    instance.process(&mut run.store).await
}

/// The machine was short of something when the instance was made: nothing that the guest could do about.
#[derive(Debug, thiserror::Error)]
#[error("failed to make an instance")]
struct NotInstantiated(#[source] wasmtime::Error);

async fn instantiate(
    processor: &Processor,
    store: &mut Store<AttemptState>,
) -> wasmtime::Result<Instance> {
    let instance = processor.instantiate(store).await;
    instance.map_err(|error| match is_short_of(&error) {
        true => wasmtime::Error::new(NotInstantiated(error)),
        false => error,
    })
}

/// A guest that was asked to stop may come to an end by itself, which counts as ever: a failure of its own is tried
/// again, as BullMQ does it. Nothing counts once the lock is lost.
fn in_spite_of(cancel: &Cancel, outcome: Outcome) -> Outcome {
    match cancel.reason() {
        Some(Stop::LockLost) => Outcome::Lost,
        _ => outcome,
    }
}

fn judge(state: &mut AttemptState, result: wasmtime::Result<Result<String, Failure>>) -> Outcome {
    if let Err(error) = &result
        && error.downcast_ref::<Stop>() == Some(&Stop::LockLost)
    {
        return Outcome::Lost;
    }
    if let Some(moved) = state.current.moved {
        warn_of_other_exit(state, moved, &result);
        return Outcome::Moved(moved);
    }
    match result {
        Ok(Ok(value)) => completed(state, value),
        Ok(Err(failure)) => redacted(state, left_with(failure, &state.policy.limits)),
        Err(error) => {
            let outcome = trapped(state, &error);
            redacted(state, outcome)
        }
    }
}

/// What a guest says of its end is stored and shown: without its secrets, and no longer than a value may be.
fn redacted(state: &AttemptState, outcome: Outcome) -> Outcome {
    let Policy { limits, grants, .. } = &*state.policy;
    // In this order: a cut secret would not be found.
    let shown = |text: &str| {
        let mut text = grants.secrets.redact(text).into_owned();
        text.truncate(text.floor_char_boundary(limits.value_bytes_max));
        text
    };
    match outcome {
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        } => Outcome::Failed {
            message: shown(&message),
            stack: shown(&stack),
            unrecoverable,
        },
        outcome => outcome,
    }
}

fn completed(state: &AttemptState, value: String) -> Outcome {
    let max = state.policy.limits.value_bytes_max;
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

fn left_with(failure: Failure, limits: &Limits) -> Outcome {
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
        Failure::RateLimited(duration_ms) => {
            Outcome::RateLimited(duration_ms.min(limits.rate_limit_ms_max))
        }
    }
}

fn trapped(state: &mut AttemptState, error: &wasmtime::Error) -> Outcome {
    let place = place_of(state);
    if let Some(stop) = error.downcast_ref::<Stop>() {
        let place = place.map(|place| format!("Error: {stop}\n{place}"));
        return match stop {
            Stop::LockLost => Outcome::Lost,
            Stop::Shutdown => Outcome::GivenBack,
            Stop::MemoryStuck => Outcome::HostFailed(stop.to_string()),
            Stop::Cancelled(_) => Outcome::failure(stop.to_string(), place, true),
            Stop::Deadline(_)
            | Stop::Memory(_)
            | Stop::MemoryOutside(_)
            | Stop::SharedMemory(_)
            | Stop::Tables(_)
            | Stop::HostCalls(_)
            | Stop::TcpBytes(_) => {
                let stack = place.or_else(|| stack_of(stop, error));
                Outcome::failure(stop.to_string(), stack, false)
            }
        };
    }
    if error.is::<PoolConcurrencyLimitError>() || error.is::<NotInstantiated>() {
        return Outcome::HostFailed(with_causes(error));
    }
    if let Some(invalid) = error.downcast_ref::<InvalidData>() {
        return Outcome::unrecoverable(invalid.to_string());
    }
    aborted(state, error)
}

/// Where the guest said that it was, if it did: the lines of a stack alone.
fn place_of(state: &mut AttemptState) -> Option<String> {
    let is_place = |words: &mut String| words.starts_with("    at ");
    state.current.last_words.take_if(is_place)
}

/// A guest that ended itself, or did what wasm forbids. Only the first has said why.
fn aborted(state: &mut AttemptState, error: &wasmtime::Error) -> Outcome {
    let exit = error.downcast_ref::<I32Exit>();
    let how = match exit {
        Some(I32Exit(code)) => format!("processor exited with code {code}"),
        None => match error.root_cause().downcast_ref() {
            Some(ResourceTableError::Full) => too_many_handles(),
            _ => error.root_cause().to_string(),
        },
    };
    if let Some(words) = state.current.last_words.take() {
        let stack = stack_of(&words, error);
        return Outcome::failure(words, stack, false);
    }
    let said = state.last_lines();
    let by_itself =
        exit.is_some() || error.downcast_ref::<Trap>() == Some(&Trap::UnreachableCodeReached);
    let reason = said.reason().filter(|_| by_itself).unwrap_or(&how);
    let stack = match said.text() {
        text if text.is_empty() => stack_of(&how, error),
        text => Some(format!(
            "Error: {reason}\n{text}\n{how}{}",
            frames_of(error)
        )),
    };
    Outcome::failure(reason.to_owned(), stack, false)
}

/// The wasm frames of a trap, under the reason, the way a stack reads in BullMQ's dashboards.
fn stack_of(reason: &impl std::fmt::Display, error: &wasmtime::Error) -> Option<String> {
    let frames = frames_of(error);
    (!frames.is_empty()).then(|| format!("Error: {reason}{frames}"))
}

fn frames_of(error: &wasmtime::Error) -> String {
    let mut frames = String::new();
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return frames;
    };
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
        frames.push_str(&format!("\n    at {name} (wasm offset {offset:#x})"));
    }
    frames
}

fn demangled(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    name.chars().take(200).collect()
}

fn warn_of_other_exit(
    state: &AttemptState,
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
        let job = state.current.backend.job();
        warn!(
            queue = &**job.queue,
            job_id = &**job.id,
            ?moved,
            "processor moved its job and then ended in another way, which has no effect"
        );
    }
}
