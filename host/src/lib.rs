//! Toril, a WebAssembly host for [BullMQ](https://docs.bullmq.io) job processors.
//!
//! The life of a job: a [`worker`] takes it from its [`queue`] in Redis, leases the processor from the queue's
//! [`versions`], and lets the [`sandbox`] run it. What the guest changes goes through a [`redis_backend`]. One `Outcome`
//! comes back; only the worker settles it, together with the next fetch.
//!
//! What each queue should be and what is deployed on it is reconciled by its task in [`served_queue`]. A [`host`] works
//! any number of queues, attached and detached while it runs; [`daemon`] makes one for `toril serve` after [`config`]
//! read what the operator wants; [`private_redis`] stands in where there is no Redis. A [`processor_file`] is a component,
//! or source in a [`language`] that is built into one; [`cases`] test it.

pub mod admin;
pub mod cases;
pub mod component_file;
pub mod config;
pub mod daemon;
pub mod host;
pub mod language;
mod listeners;
pub mod metrics;
pub mod private_redis;
pub mod processor_file;
pub mod redis_backend;
pub mod rehearsal;
mod retries;
pub mod served_queue;
pub mod telemetry;
mod unknown_key;
pub mod versions;
pub mod watch;
pub mod worker;

pub use toril_queue as queue;
pub use toril_sandbox as sandbox;
