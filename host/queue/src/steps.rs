//! What a job keeps of its steps: fields of its own hash.

use redis::Value as Reply;

use crate::error::QueueError;
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::redis::text;

/// What the field of a step begins with; its name follows.
pub const STEP_PREFIX: &str = "toril:step:";

/// What became of a child of a job, as the job's own keys say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildOutcome {
    /// It is no child of the job, or of no kind that leaves a trace.
    Unknown,
    /// The job waits for it.
    Pending,
    /// Its value, JSON.
    Completed(String),
    /// Why it failed; the job may go on.
    Failed(String),
    /// It failed, and the job fails with it.
    FailsParent,
}

impl Queue {
    /// Drops a step of a finished job, and those that were noted after it; returns how many.
    pub async fn drop_steps(
        &self,
        id: &str,
        completed: bool,
        from: &str,
    ) -> Result<u64, QueueError> {
        const COMMAND: &str = "dropSteps";
        let script = script!("drop_steps", "ids");
        let mut call = script.call(self.keys.meta());
        let state = match completed {
            true => JobState::Completed,
            false => JobState::Failed,
        };
        call.arg(id).arg(state.to_string());
        call.arg(STEP_PREFIX).arg(from);
        match self.redis.run::<i64>(script, &call).await? {
            -3 => Err(QueueError::not_in_state(id, state, COMMAND)),
            reply @ ..0 => Err(QueueError::job(reply, id, COMMAND)),
            0 => Err(QueueError::Invalid(format!(
                "job {id} has no step `{from}`"
            ))),
            dropped => u64::try_from(dropped).map_err(|_| QueueError::Reply(COMMAND)),
        }
    }

    /// What became of a child of a job, by the child's key, if its value has no more bytes than that.
    pub async fn child_outcome(
        &self,
        id: &str,
        child: &str,
        bytes_max: usize,
    ) -> Result<ChildOutcome, QueueError> {
        let script = script!("read_child", "ids");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(child).arg(bytes_max);
        let reply = match self.redis.run(script, &call).await? {
            Reply::Int(0) => {
                let what = "results of the child";
                return Err(QueueError::TooLarge { what, bytes_max });
            }
            reply => text::read::<(String, String)>(reply),
        };
        let (kind, text) = reply.map_err(|_| QueueError::Reply("read_child"))?;
        match kind.as_str() {
            "completed" => Ok(ChildOutcome::Completed(text)),
            "failed" => Ok(ChildOutcome::Failed(text)),
            "pending" => Ok(ChildOutcome::Pending),
            "unsuccessful" => Ok(ChildOutcome::FailsParent),
            "unknown" => Ok(ChildOutcome::Unknown),
            _ => Err(QueueError::Reply("read_child")),
        }
    }
}
