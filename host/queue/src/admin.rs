//! Removing, retrying and promoting jobs from outside: what an operator asks for.

use redis::Value;

use crate::access::QueueAccess;
use crate::error::{ErrorCode, QueueError};
use crate::queue::Queue;
use crate::redis::script::script;

impl Queue {
    /// Removes a job and, unless told otherwise, its children. When one of them is being worked on,
    /// nothing is removed.
    pub async fn remove(&self, id: &str, with_children: bool) -> Result<(), QueueError> {
        self.remove_within(id, with_children, None).await
    }

    /// Removes a job as [`Queue::remove`] does, if all that this writes to lies within the access.
    pub async fn remove_within(
        &self,
        id: &str,
        with_children: bool,
        access: Option<&QueueAccess>,
    ) -> Result<(), QueueError> {
        let script = script!(
            "remove_job",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove",
            "access"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(u8::from(with_children));
        if let Some(access) = access {
            access.add_to(&mut call);
        }
        match self.redis.run(script, &call).await? {
            Value::Int(1) => Ok(()),
            Value::Int(0) => Err(QueueError::Locked(id.to_owned())),
            Value::Int(code) => Err(QueueError::job(code, id, "removeJob")),
            Value::BulkString(base) => Err(beyond_access(&base)),
            _ => Err(QueueError::Reply("removeJob")),
        }
    }

    /// Removes the children of a job that are neither active nor finished; returns how many.
    pub async fn remove_unprocessed_children(&self, id: &str) -> Result<u64, QueueError> {
        self.remove_unprocessed_children_within(id, None).await
    }

    /// Removes children as [`Queue::remove_unprocessed_children`] does, if all that this writes to lies within
    /// the access.
    pub async fn remove_unprocessed_children_within(
        &self,
        id: &str,
        access: Option<&QueueAccess>,
    ) -> Result<u64, QueueError> {
        let script = script!(
            "remove_unprocessed_children",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove",
            "access"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        if let Some(access) = access {
            access.add_to(&mut call);
        }
        match self.redis.run(script, &call).await? {
            Value::Int(removed) => Ok(u64::try_from(removed).unwrap_or(0)),
            Value::BulkString(base) => Err(beyond_access(&base)),
            _ => Err(QueueError::Reply("removeUnprocessedChildren")),
        }
    }

    /// Frees a job from its parent. False: the parent does not wait for it. A job without a parent is an
    /// error, as in BullMQ.
    pub async fn remove_child_dependency(&self, id: &str) -> Result<bool, QueueError> {
        const COMMAND: &str = "removeChildDependency";
        let script = script!(
            "remove_child_dependency",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        match self.redis.run(script, &call).await? {
            Value::Int(0) => Ok(true),
            Value::Int(1) => Ok(false),
            Value::Int(code) => Err(QueueError::job(code, id, COMMAND)),
            Value::BulkString(parent) => Err(QueueError::Job {
                code: ErrorCode::ParentJobNotExist,
                subject: String::from_utf8_lossy(&parent).into_owned(),
                command: COMMAND,
            }),
            _ => Err(QueueError::Reply(COMMAND)),
        }
    }

    /// Puts a failed job, or a completed one, back in line.
    pub async fn retry(&self, id: &str, completed: bool) -> Result<(), QueueError> {
        let state = if completed { "completed" } else { "failed" };
        let lifo = self.job(id).await?.and_then(|record| {
            let opts: serde_json::Value = serde_json::from_str(record.get("opts")?).ok()?;
            opts.get("lifo")?.as_bool()
        });
        let script = script!("retry_job", "events", "ids", "line");
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(state).arg(u8::from(lifo.unwrap_or(false)));
        self.in_state(
            self.redis.run(script, &call).await?,
            id,
            state,
            "reprocessJob",
        )
    }

    /// Makes a delayed job wait no longer.
    pub async fn promote(&self, id: &str) -> Result<(), QueueError> {
        let script = script!("promote_job", "events", "ids", "line");
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        let code = self.redis.run(script, &call).await?;
        self.in_state(code, id, "delayed", "promote")
    }

    fn in_state(
        &self,
        code: i64,
        id: &str,
        state: &str,
        command: &'static str,
    ) -> Result<(), QueueError> {
        match code {
            0 => Ok(()),
            -3 => Err(QueueError::Invalid(format!(
                "Job {id} is not in the {state} state. {command}"
            ))),
            code => Err(QueueError::job(code, id, command)),
        }
    }
}

fn beyond_access(base: &[u8]) -> QueueError {
    QueueError::BeyondAccess(String::from_utf8_lossy(base).into_owned())
}
