//! Toril, a WebAssembly host for [BullMQ](https://docs.bullmq.io) job processors.
//!
//! The life of a job: a [`worker`] takes it from its [`queue`] in Redis, looks up the processor in the
//! [`registry`], and lets the [`sandbox`] run it. What the guest changes goes through a [`redis_backend`]. One
//! `Outcome` comes back; only the worker settles it, together with the next fetch.
//!
//! What is deployed for all hosts is kept in Redis and followed by the [`fleet`].
//! A [`host`] works any number of queues, attached and detached while it runs; [`daemon`] makes one for
//! `toril serve` after [`config`] read what the operator wants;
//! [`private_redis`] stands in where there is no Redis.

pub mod admin;
pub mod config;
pub mod daemon;
pub mod fleet;
pub mod host;
mod listeners;
pub mod metrics;
pub mod private_redis;
pub mod redis_backend;
pub mod registry;
pub mod telemetry;
mod watch;
pub mod worker;

pub use toril_queue as queue;
pub use toril_sandbox as sandbox;
