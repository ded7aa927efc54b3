//! The queue against a real Redis, in one binary.

mod adding;
mod connections;
mod harness;
mod ids;
mod locks;
mod settling;
mod taking;
