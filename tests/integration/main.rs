//! Integration tests of the host: the real binary, a real Redis, real components, real signals.
//!
//! One binary, since each links wasmtime. What Node's BullMQ sees is tested in `tests/interop`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod cancelling;
mod cases;
mod cli;
mod cli_config;
mod clocks;
mod closing_servers;
mod crashes;
mod deadlines;
mod deployments;
mod doctor;
mod dry_run;
mod endurance;
mod fault_proxy;
mod faults;
mod fleet;
mod flows;
mod forget;
mod fuzz;
mod growth;
mod guests;
mod harness;
mod host;
mod json;
mod kv;
mod lifecycle;
mod locks;
mod memory;
mod mistakes;
mod new;
mod old_components;
mod pinned;
mod policy;
mod postgres;
mod queue;
mod recordings;
mod reloads;
mod rights;
mod sandbox;
mod short_machine;
mod starting;
mod steps;
mod swaps;
mod tcp;
mod telemetry;
mod terminal;
mod topologies;
mod worker_options;
