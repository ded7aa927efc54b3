//! In which state a job is.

use serde::{Deserialize, Serialize};

/// The state of a job, in BullMQ's words.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum JobState {
    /// Done, with a value.
    Completed,
    /// Done, with a reason.
    Failed,
    /// Waits for its time.
    Delayed,
    /// Waits, ordered by priority.
    Prioritized,
    /// A worker has it.
    Active,
    /// Waits for a worker.
    Waiting,
    /// Waits for its children.
    WaitingChildren,
    /// In none of the queue's lists.
    Unknown,
}
