//! What a running job changes about itself.

use crate::error::QueueError;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::request::Request;
use crate::time::SAFE_INTEGER_MAX;
use crate::writer::Writer;

impl Queue {
    /// Replaces the data of a job. `token` is that of its lock, or `None` for a job that nobody works on, such as one that
    /// was just moved: a job that is locked is refused then.
    pub async fn update_data(
        &self,
        id: &str,
        token: Option<&str>,
        data: &str,
    ) -> Result<(), QueueError> {
        self.update_field(id, token, "data", data, "updateData")
            .await
    }

    /// Stores the progress of a job and emits `progress`.
    pub async fn update_progress(
        &self,
        id: &str,
        token: Option<&str>,
        progress: &str,
    ) -> Result<(), QueueError> {
        self.update_field(id, token, "progress", progress, "updateProgress")
            .await
    }

    /// Notes the version of the processor that a job goes on with when it comes back.
    pub async fn pin_version(&self, id: &str, token: &str, digest: &str) -> Result<(), QueueError> {
        self.update_field(id, Some(token), "torilVersion", digest, "pinVersion")
            .await
    }

    pub(crate) async fn update_field(
        &self,
        id: &str,
        token: Option<&str>,
        field: &str,
        value: &str,
        command: &'static str,
    ) -> Result<(), QueueError> {
        let script = script!("update_job", "events", "ids", "writer");
        let mut call = script.call(self.keys.meta());
        call.arg(id)
            .arg(Writer::attempt(token).as_argument())
            .arg(field)
            .arg(value);
        match self.redis.run(script, &call).await? {
            0 => Ok(()),
            code => Err(QueueError::job(code, id, command)),
        }
    }

    /// Appends a line to a job's log and returns how many lines are kept.
    pub async fn add_log(
        &self,
        id: &str,
        line: &str,
        keep: Option<u64>,
    ) -> Result<u64, QueueError> {
        self.add_log_once(id, line, keep, &Request::untracked())
            .await
    }

    /// Appends a line to a job's log, once however often the same request is sent.
    pub async fn add_log_once(
        &self,
        id: &str,
        line: &str,
        keep: Option<u64>,
        request: &Request,
    ) -> Result<u64, QueueError> {
        self.add_log_by(Writer::Outsider, id, line, keep, request)
            .await
    }

    /// Appends a line to a job's log as [`Queue::add_log_once`] does, on behalf of an attempt.
    pub async fn add_log_by(
        &self,
        writer: Writer<'_>,
        id: &str,
        line: &str,
        keep: Option<u64>,
        request: &Request,
    ) -> Result<u64, QueueError> {
        let script = script!("add_log", "ids", "request", "writer");
        let mut call = script.call(self.keys.meta());
        call.arg(id)
            .arg(writer.as_argument())
            .arg(line)
            .arg(keep.map(|keep| keep.to_string()).unwrap_or_default());
        request.push(&mut call, self.keys.base())?;
        let reply: i64 = self.redis.run(script, &call).await?;
        u64::try_from(reply).map_err(|_| QueueError::job(reply, id, "addLog"))
    }

    /// Limits the queue for a time, as BullMQ's `queue.rateLimit` does.
    pub async fn rate_limit(&self, duration_ms: u64) -> Result<(), QueueError> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.of("limiter"))
            // As BullMQ: more than any `max`.
            .arg(SAFE_INTEGER_MAX)
            .arg("PX")
            .arg(duration_ms.clamp(1, SAFE_INTEGER_MAX));
        Ok(command.query_async(&mut self.redis.shared()).await?)
    }
}
