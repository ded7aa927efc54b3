//! What a running job changes about itself.

use crate::error::QueueError;
use crate::queue::Queue;
use crate::redis::script::script;
use crate::request::Request;
use crate::steps::STEP_PREFIX;
use crate::time::SAFE_INTEGER_MAX;
use crate::writer::Writer;

/// What an attempt writes to its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobWrite {
    /// Its data.
    Data(String),
    /// Its progress, which emits `progress`.
    Progress(String),
    /// A line of its log.
    Log(String),
    /// What is kept of a step: a field of the job's hash, and its value.
    Step(String, String),
}

impl JobWrite {
    /// Keeps something of a step.
    pub fn step(name: &str, record: &str) -> Self {
        JobWrite::Step(format!("{STEP_PREFIX}{name}"), record.to_owned())
    }

    /// How many bytes it stores.
    pub fn bytes(&self) -> usize {
        self.pair().1.len()
    }

    /// As `lua/write_job.lua` reads it.
    fn pair(&self) -> (&str, &str) {
        match self {
            JobWrite::Data(data) => ("data", data),
            JobWrite::Progress(progress) => ("progress", progress),
            JobWrite::Log(line) => ("", line),
            JobWrite::Step(field, record) => (field, record),
        }
    }

    /// As BullMQ's errors name it.
    fn command(&self) -> &'static str {
        match self {
            JobWrite::Data(_) => "updateData",
            JobWrite::Progress(_) => "updateProgress",
            JobWrite::Log(_) => "addLog",
            JobWrite::Step(..) => "keepStep",
        }
    }
}

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
        let (pair, request) = ([(field, value)], Request::untracked());
        let written = self.write_fields(id, Writer::attempt(token), None, &pair, &request);
        written
            .await?
            .map(drop)
            .map_err(|code| QueueError::job(code, id, command))
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
        let pair = [("", line)];
        let written = self.write_fields(id, Writer::Outsider, keep, &pair, request);
        written
            .await?
            .map_err(|code| QueueError::job(code, id, "addLog"))
    }

    /// Carries out what an attempt writes, in this order, in one call and once however often the same request is sent.
    /// A refusal changes nothing. Returns how many lines the log keeps, or 0 where none was added.
    pub async fn write_job(
        &self,
        id: &str,
        writer: Writer<'_>,
        writes: &[JobWrite],
        keep_logs: Option<u64>,
        request: &Request,
    ) -> Result<u64, QueueError> {
        let Some(last) = writes.last() else {
            return Ok(0);
        };
        let pairs: Vec<_> = writes.iter().map(JobWrite::pair).collect();
        let written = self.write_fields(id, writer, keep_logs, &pairs, request);
        written
            .await?
            .map_err(|code| QueueError::job(code, id, last.command()))
    }

    /// The inner error is the code of a refusal.
    async fn write_fields(
        &self,
        id: &str,
        writer: Writer<'_>,
        keep_logs: Option<u64>,
        pairs: &[(&str, &str)],
        request: &Request,
    ) -> Result<Result<u64, i64>, QueueError> {
        let script = script!(once "write_job", "events", "ids", "writer");
        let mut call = script.call(self.keys.meta());
        call.arg(id)
            .arg(writer.as_argument())
            .arg(keep_logs.map(|keep| keep.to_string()).unwrap_or_default());
        for (field, value) in pairs {
            call.arg(field).arg(value);
        }
        request.push(&mut call, self.keys.base())?;
        let reply: i64 = self.redis.run(script, &call).await?;
        Ok(u64::try_from(reply).map_err(|_| reply))
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
