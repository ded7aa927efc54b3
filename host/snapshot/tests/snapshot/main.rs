//! Scripts that become processors, and what jobs see of them. Needs `sdk/js/engine.wasm` (`make engine`).

mod errors;
mod events;
mod life;
mod processor;
