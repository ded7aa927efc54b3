//! The queue against a real Redis, in one binary.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod adding;
mod bytes;
mod cancelling;
mod concurrency;
mod connections;
mod damage;
mod harness;
mod ids;
mod kv;
mod locks;
mod pausing;
mod recordings;
mod schedulers;
mod settling;
mod taking;
