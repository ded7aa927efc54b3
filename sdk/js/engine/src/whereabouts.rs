//! Where the script is when its time runs out. The host stops a loop without an end from outside, and cannot read where it
//! was: it is told before, while the script should come to its end but computes on.

use std::cell::Cell;

use rquickjs::{Context, Ctx, Runtime};

use crate::bindings::toril::processor::{current_job, logging};
use crate::raw::Running;
use crate::{engine, stacks};

/// QuickJS asks after 10,000 jumps or calls, which take a tenth of a millisecond and more. The host, which answers within a
/// microsecond, is asked each time that it was asked so often: most jobs never ask it.
const ROUNDS: u32 = 64;

thread_local! {
    static ROUND: Cell<u32> = const { Cell::new(0) };
    /// The host was told a place that may not be the last one.
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Watches a script that will run in this context, for as long as the runtime is there.
pub(crate) fn watch(runtime: &Runtime, context: &Context) {
    let running = context.with(|ctx| Running::of(&ctx));
    let is_to_end = move || {
        running.with(look);
        false
    };
    runtime.set_interrupt_handler(Some(Box::new(is_to_end)));
}

/// The script waits, and does not compute.
pub(crate) fn forget() {
    if IS_TOLD.take() {
        logging::fatal("");
    }
}

fn look(ctx: &Ctx<'_>) {
    let round = (ROUND.get() + 1) % ROUNDS;
    ROUND.set(round);
    if round != 0 || engine::is_loading() || !current_job::is_cancelled() {
        return;
    }
    if let Some(place) = stacks::here(ctx).filter(|place| !place.is_empty()) {
        logging::fatal(&place);
        IS_TOLD.set(true);
    }
}
