//! BullMQ's protocol over its keys in Redis. Knows nothing of wasm.
//!
//! A [`Queue`] is a name, a prefix and a connection. Each operation is one script of our own
//! (`lua/*.lua`); the hot path is one of them, [`Queue::settle_and_fetch`], which settles many jobs and
//! takes the next ones in one call. The formats are those of BullMQ 6: <https://docs.bullmq.io>.
//!
//! This file only declares and re-exports. Modules import downwards in the order below: `redis` knows no
//! queue, `queue` knows no operation, and the operations are `impl Queue` blocks in a file each.

mod access;
mod add;
mod admin;
mod cancel;
mod control;
mod cron;
mod dependencies;
mod error;
mod events;
mod flow;
#[doc(hidden)]
pub mod fuzzing;
mod getters;
mod job;
mod job_json;
mod job_locks;
mod job_state;
mod keys;
mod kv;
mod marker;
mod new_job;
mod queue;
mod recordings;
mod redis;
mod request;
mod schedule;
mod scheduler;
mod settle;
mod steps;
mod time;
mod update;
mod writer;

pub use self::redis::connection::{Redis, ServerInfo, redacted};
pub use self::redis::script::{Part, Script, script};
pub use access::QueueAccess;
pub use cancel::{AttemptId, CancelledJob, Lock};
pub use cron::{Cron, CronOptions, Zone};
pub use dependencies::{Dependencies, DependenciesQuery, DependencyCounts, DependencyKinds, Page};
pub use error::{ErrorCode, QueueError, RedisFailure};
pub use events::{Events, QueueEvent};
pub use flow::{
    FlowJob, FlowNode, FlowOptions, FlowPlan, FlowQuery, FlowQueueOptions, FlowTree, Flows,
    parse_flow,
};
pub use getters::JobRecord;
pub use job::Job;
pub use job_json::{JobJson, raw_json};
pub use job_locks::LockedAttempt;
pub use job_state::JobState;
pub use keys::{QueueKeys, QueueName};
pub use kv::{KvOwner, KvPage, KvRefusal, KvRoom, KvStore, KvUsage, KvVersioned};
pub use marker::{Marker, MarkerWait};
pub use new_job::NewJob;
pub use queue::Queue;
pub use recordings::{RecordingEntry, RecordingLimits};
pub use request::{Caller, Request};
pub use schedule::{ScheduledJob, next_scheduled_job};
pub use settle::{FailedAttempt, Fetch, Limiter, Moved, Settled, Settlement, SettlementKind};
pub use steps::{ChildOutcome, STEP_PREFIX};
pub use time::now_ms;
pub use toril_options::{Backoff, JobOptions, KeepJobs, Retry, json};
pub use update::JobWrite;
pub use writer::Writer;
