//! Values that a script takes at its top level and that are other ones in each job, or so its author believes: the time, random
//! numbers. They become a part of the snapshot. Who builds is told where that happens.

use std::cell::{Cell, RefCell};

use rquickjs::Ctx;

use crate::bindings::toril::processor::logging::{self, Level};
use crate::{raw, stacks};

/// As many as are told.
const TOLD_MAX: usize = 10;

thread_local! {
    /// The context of the script, while its top level runs.
    static LOADS: Cell<Option<raw::Running>> = const { Cell::new(None) };
    /// The places that were told.
    static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs the top level of a script.
pub(crate) fn watched<'js, T>(ctx: &Ctx<'js>, load: impl FnOnce() -> T) -> T {
    LOADS.set(Some(raw::Running::of(ctx)));
    let result = load();
    LOADS.set(None);
    // They are no part of the snapshot.
    TOLD.take();
    result
}

/// The script takes such a value.
pub(crate) fn note(what: &str) {
    let place = LOADS
        .get()
        .and_then(|running| running.with(place_in_own_file));
    if let Some(place) = place {
        tell(what, &place);
    }
}

fn tell(what: &str, place: &str) {
    let message = format!(
        "{place}: {what} is taken at a module's top level, which runs once, when the processor is built: all jobs get the same \
         one; take it inside the processor"
    );
    let is_new = TOLD.with_borrow_mut(|told| {
        let is_new = told.len() < TOLD_MAX && !told.contains(&message);
        if is_new {
            told.push(message.clone());
        }
        is_new
    });
    if is_new {
        logging::log(Level::Warn, &message);
    }
}

/// The place of the stack that asks, where it is in a file of the processor's own. None where a package asks, when it is loaded
/// or set up (`dayjs.extend`): its user could not change that.
fn place_in_own_file(ctx: &Ctx<'_>) -> Option<String> {
    for line in stacks::here(ctx)?.lines() {
        let Some(frame) = line.trim_start().strip_prefix("at ") else {
            continue;
        };
        let (function, place) = match frame.rsplit_once(" (") {
            Some((function, place)) => (function, place.trim_end_matches(')')),
            None => ("", frame),
        };
        // esbuild calls the function around a module of CommonJS by the module's path.
        let is_loading = function.contains("node_modules/") || function.starts_with("__require");
        if is_loading || place.starts_with("node_modules/") {
            return None;
        }
        let is_others = ["@toril/sdk/", "toril", raw::SCRIPT];
        if place.contains(':') && !is_others.iter().any(|other| place.starts_with(other)) {
            return Some(place.to_owned());
        }
    }
    None
}
