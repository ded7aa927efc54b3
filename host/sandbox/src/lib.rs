//! Runs one attempt of a job in WebAssembly, within a [`Policy`]. Knows no Redis.
//!
//! An [`Engine`] compiles components into [`Processor`]s; [`attempt::run`] runs a job in one of them and
//! returns its [`Outcome`]. What a guest calls arrives in `guest/`, which asks the policy and then the
//! [`JobBackend`]: the trait that says where a job's changes go.
//!
//! A [`dry_run`] is a backend in memory: processors run without Redis.
//!
//! This file only declares and re-exports. Modules import downwards: `dry_run`, `attempt`, `compile`, `engine`
//! and `reuse`, `guest`, `flow_json`, `backend`, `policy`, `connections`, `new_jobs` and `names`, and below these what knows no
//! job.

pub mod attempt;
pub mod backend;
mod bindings;
mod cache;
mod cancel;
mod compile;
mod compiler;
mod component_sizes;
mod connections;
mod cpu_time;
mod deadline;
mod digest;
pub mod dry_run;
mod engine;
mod engine_options;
mod flow_json;
mod function_cache;
mod guest;
mod guest_threads;
mod inspect;
mod limits;
mod lone_job;
mod machine_memory;
mod memory_budget;
mod memory_images;
pub mod names;
mod new_jobs;
mod open_files;
mod outcome;
pub mod policy;
mod pool;
mod prepared;
pub mod recording;
pub mod regular_file;
mod reuse;
pub mod short_machine;
pub mod slow;
mod steps;
mod ticker;
mod world;

pub use attempt::{AttemptInput, AttemptResult};
pub use backend::{JobBackend, JobError, JobView};
pub use cache::Cache;
pub use cache::check_cache_dir;
pub use cancel::{Cancel, Stop, cancellation};
pub use compile::{Checked, LoadError, Processor};
pub use connections::{Connections, TlsFiles};
pub use deadline::{Deadline, DeadlineSource};
pub use digest::{Digest, short_digest};
pub use engine::Engine;
pub use engine_options::EngineOptions;
pub use guest_threads::{AttemptFuture, GuestThreads};
pub use inspect::{Inspection, NotAProcessor, inspect};
pub use limits::{GUEST_MEMORY_BYTES_MAX, Limits, NameLimits, TABLE_ELEMENTS_MAX, check_at_most};
pub use lone_job::LoneJob;
pub use memory_images::make_memory_images;
pub use open_files::raise_limit as raise_open_files_limit;
pub use outcome::{MovedTo, Outcome};
pub use policy::{
    DirGrant, Grants, HostAndPort, HttpGrant, KvGrant, Net, Policy, PostgresGrant, Record,
    Recorded, Reuse, Secret, SecretSource, Secrets, Stub, TcpGrant,
};
pub use steps::{Kept, StepRecord};
pub use world::World;
