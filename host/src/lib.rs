//! Toril, a WebAssembly host for [BullMQ](https://docs.bullmq.io) job processors.
//!
//! The life of a job: a [`worker`] takes it from its [`queue`] in Redis, an [`execution`] looks up the
//! processor in the [`registry`] and runs it in a fresh instance that the [`runtime`] makes. What the
//! guest calls arrives in [`imports`], which write to the queue. One `Outcome` comes back; only the
//! worker settles it, together with the next fetch.
//!
//! What is deployed for all hosts is kept in Redis and followed by the [`fleet`].
//! A [`host`] works any number of queues, attached and detached while it runs; [`daemon`] makes one for
//! `toril serve` after [`config`] read what the operator wants;
//! [`private_redis`] stands in where there is no Redis.

pub mod admin;
pub mod config;
pub mod daemon;
pub mod execution;
pub mod fleet;
pub mod host;
pub mod imports;
pub mod metrics;
pub mod private_redis;

pub mod registry;
pub mod runtime;
pub mod telemetry;
mod watch;
pub mod worker;

pub use toril_queue as queue;
