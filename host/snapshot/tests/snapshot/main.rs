//! Scripts that become processors, and what jobs see of them. Needs `sdk/js/engine.wasm` (`make engine`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod errors;
mod events;
mod life;
mod processor;
