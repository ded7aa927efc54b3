//! Removing, retrying and promoting jobs from outside: what an operator asks for.

use redis::Value;
use toril_options::JobOptions;

use crate::access::QueueAccess;
use crate::error::{ErrorCode, QueueError};
use crate::job_state::JobState;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::redis::text::text;
use crate::request::Request;
use crate::writer::Writer;

impl Queue {
    /// Removes a job and, unless told otherwise, its children. When one of them is being worked on,
    /// nothing is removed.
    pub async fn remove(&self, id: &str, with_children: bool) -> Result<(), QueueError> {
        self.remove_within(id, with_children, None, &Request::untracked())
            .await
    }

    /// Removes a job as [`Queue::remove`] does, if all that this writes to lies within the access.
    pub async fn remove_within(
        &self,
        id: &str,
        with_children: bool,
        access: Option<&QueueAccess>,
        request: &Request,
    ) -> Result<(), QueueError> {
        let script = script!(once
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
        request.push(&mut call, self.keys.base())?;
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
        let request = Request::untracked();
        self.remove_unprocessed_children_by(Writer::Outsider, id, None, &request)
            .await
    }

    /// Removes children as [`Queue::remove_unprocessed_children`] does, on behalf of an attempt, if all that this writes
    /// to lies within the access.
    pub async fn remove_unprocessed_children_by(
        &self,
        writer: Writer<'_>,
        id: &str,
        access: Option<&QueueAccess>,
        request: &Request,
    ) -> Result<u64, QueueError> {
        const COMMAND: &str = "removeUnprocessedChildren";
        let script = script!(once
            "remove_unprocessed_children",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove",
            "access",
            "writer"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(writer.as_argument());
        if let Some(access) = access {
            access.add_to(&mut call);
        }
        request.push(&mut call, self.keys.base())?;
        match self.redis.run(script, &call).await? {
            // As in BullMQ, a job that is gone has no children.
            Value::Int(-1) => Ok(0),
            Value::Int(removed) => {
                u64::try_from(removed).map_err(|_| QueueError::job(removed, id, COMMAND))
            }
            Value::BulkString(base) => Err(beyond_access(&base)),
            _ => Err(QueueError::Reply(COMMAND)),
        }
    }

    /// Frees a job from its parent. False: the parent does not wait for it. A job without a parent is an
    /// error, as in BullMQ.
    pub async fn remove_child_dependency(&self, id: &str) -> Result<bool, QueueError> {
        self.remove_child_dependency_by(Writer::Outsider, id, &Request::untracked())
            .await
    }

    /// Frees a job from its parent as [`Queue::remove_child_dependency`] does, on behalf of an attempt.
    pub async fn remove_child_dependency_by(
        &self,
        writer: Writer<'_>,
        id: &str,
        request: &Request,
    ) -> Result<bool, QueueError> {
        const COMMAND: &str = "removeChildDependency";
        let script = script!(once
            "remove_child_dependency",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove",
            "writer"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(writer.as_argument());
        request.push(&mut call, self.keys.base())?;
        match self.redis.run(script, &call).await? {
            Value::Int(0) => Ok(true),
            Value::Int(1) => Ok(false),
            Value::Int(code) => Err(QueueError::job(code, id, COMMAND)),
            Value::BulkString(parent) => Err(QueueError::Job {
                code: ErrorCode::ParentJobNotExist,
                subject: text(&parent),
                command: COMMAND,
            }),
            _ => Err(QueueError::Reply(COMMAND)),
        }
    }

    /// Puts a failed job, or a completed one, back in line.
    pub async fn retry(&self, id: &str, completed: bool) -> Result<(), QueueError> {
        self.retry_within(id, completed, None, &Request::untracked())
            .await
    }

    /// Puts a job back in line as [`Queue::retry`] does, if its parent lies within the access, and once however often the
    /// same request is sent.
    pub async fn retry_within(
        &self,
        id: &str,
        completed: bool,
        access: Option<&QueueAccess>,
        request: &Request,
    ) -> Result<(), QueueError> {
        const COMMAND: &str = "reprocessJob";
        let state = match completed {
            true => JobState::Completed,
            false => JobState::Failed,
        };
        let record = self.job(id).await?;
        let opts = record.as_ref().and_then(|record| record.get("opts"));
        let lifo = opts.is_some_and(|opts| JobOptions::parse(opts).lifo);
        let script = script!(
            once "retry_job",
            "chunks",
            "events",
            "ids",
            "line",
            "parent",
            "remove",
            "access"
        );
        let mut call = script.call(self.keys.meta());
        call.arg(id).arg(state.to_string()).arg(u8::from(lifo));
        if let Some(access) = access {
            access.add_to(&mut call);
        }
        request.push(&mut call, self.keys.base())?;
        match self.redis.run(script, &call).await? {
            Value::Int(0) => Ok(()),
            Value::Int(-3) => Err(QueueError::not_in_state(id, state, COMMAND)),
            Value::Int(code) => Err(QueueError::job(code, id, COMMAND)),
            Value::BulkString(base) => Err(beyond_access(&base)),
            _ => Err(QueueError::Reply(COMMAND)),
        }
    }

    /// Makes a delayed job wait no longer.
    pub async fn promote(&self, id: &str) -> Result<(), QueueError> {
        self.promote_once(id, &Request::untracked()).await
    }

    /// Makes a delayed job wait no longer, once however often the same request is sent.
    pub async fn promote_once(&self, id: &str, request: &Request) -> Result<(), QueueError> {
        let script = script!(once "promote_job", "events", "ids", "line");
        let mut call = script.call(self.keys.meta());
        call.arg(id);
        request.push(&mut call, self.keys.base())?;
        match self.redis.run(script, &call).await? {
            0 => Ok(()),
            -3 => Err(QueueError::not_in_state(id, JobState::Delayed, "promote")),
            code => Err(QueueError::job(code, id, "promote")),
        }
    }
}

fn beyond_access(base: &[u8]) -> QueueError {
    QueueError::BeyondAccess(text(base))
}
