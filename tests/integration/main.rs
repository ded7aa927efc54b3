//! Integration tests of the host: the real binary, a real Redis, real components, real signals.
//!
//! One binary, since each links wasmtime. What Node's BullMQ sees is tested in `tests/interop`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod cancelling;
mod cli;
mod crashes;
mod dry_run;
mod fault_proxy;
mod faults;
mod fleet;
mod flows;
mod fuzz;
mod guests;
mod harness;
mod host;
mod lifecycle;
mod memory;
mod policy;
mod queue;
mod rights;
mod sandbox;
mod swaps;
mod topologies;
