//! BullMQ's protocol over its keys in Redis. Knows nothing of wasm.
//!
//! A [`Queue`] is a name, a prefix and a connection. Each operation is one script of our own
//! (`lua/*.lua`); the hot path is one of them, [`Queue::settle_and_fetch`], which settles many jobs and
//! takes the next ones in one call. The formats are those of BullMQ 6: <https://docs.bullmq.io>.

mod add;
mod address;
mod connection;
mod dependencies;
mod error;
mod events;
mod flow;
mod getters;
mod job;
mod keys;
mod locks;
mod options;
mod queue;
mod reader;
mod remove;
mod scheduler;
mod sentinel;
mod settle;
mod update;
mod wait;

pub use add::NewJob;
pub use connection::{Redis, redacted, script};
pub use dependencies::{Dependencies, DependenciesQuery, DependencyCounts, DependencyKinds, Page};
pub use error::{ErrorCode, QueueError};
pub use events::{Event, Events};
pub use flow::{
    FlowJob, FlowNode, FlowOptions, FlowPlan, FlowQuery, FlowQueueOptions, FlowTree, Flows,
    parse_flow,
};
pub use getters::{JobRecord, JobState};
pub use job::Job;
pub use keys::QueueKeys;
pub use options::{Backoff, JobOptions, KeepJobs};
pub use queue::{Queue, now_ms};
pub use settle::{Attempt, Fetch, Limiter, Moved, Settled, Settlement, SettlementKind};
pub use wait::{Marker, MarkerWait};
