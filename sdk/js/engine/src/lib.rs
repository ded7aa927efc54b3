//! The JavaScript engine of Toril: a component that evaluates a script once, when a processor is built, and runs it for each
//! job. What lies between is a snapshot of its memory, which the crate `toril-snapshot` makes.

mod bindings {
    #![allow(
        unsafe_code,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    wit_bindgen::generate!({
        path: ["../../../wit", "../../../host/sandbox/wit", "wit"],
        world: "toril:engine/engine",
        generate_all,
    });
}
mod clock;
mod engine;
mod errors;
mod event_loop;
mod frozen;
mod heap;
mod host_calls;
mod prelude;
mod random;
mod raw;
mod source_map;
mod stacks;
mod terms;
mod texts;
mod whereabouts;
mod zones;

use bindings::{Failure, Guest, exports::boot};

struct Component;

impl boot::Guest for Component {
    fn load(source: String, source_map: String) -> Result<(), String> {
        engine::load(source, source_map)
    }
}

impl Guest for Component {
    fn process() -> Result<String, Failure> {
        engine::process()
    }
}

#[allow(unsafe_code, reason = "exports of a component are functions of C")]
mod exports {
    use super::{Component, bindings};
    bindings::export!(Component with_types_in bindings);
}
