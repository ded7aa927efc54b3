//! Adding jobs.

use std::iter;

use crate::error::QueueError;
use crate::new_job::NewJob;
use crate::queue::Queue;
use crate::redis::connection::Redis;
use crate::redis::script::script;
use crate::redis::text::text;
use crate::request::Request;

/// The most jobs of one call: Redis takes about a million arguments.
const JOBS_MAX: usize = 80_000;

impl Queue {
    /// Adds a job and returns its id: the one of the job that is there already, if one is.
    pub async fn add(&self, job: &NewJob) -> Result<String, QueueError> {
        self.add_bulk(std::slice::from_ref(job))
            .await?
            .pop()
            .ok_or(QueueError::Reply("add"))
    }

    /// Adds jobs, all or none, and returns their ids.
    pub async fn add_bulk(&self, jobs: &[NewJob]) -> Result<Vec<String>, QueueError> {
        self.add_bulk_once(jobs, &Request::untracked()).await
    }

    /// Adds jobs, all or none, and once however often the same request is sent.
    pub async fn add_bulk_once(
        &self,
        jobs: &[NewJob],
        request: &Request,
    ) -> Result<Vec<String>, QueueError> {
        if jobs.len() > JOBS_MAX {
            return Err(QueueError::Invalid(format!(
                "{} jobs cannot be added in one call, which accepts {JOBS_MAX} at most\nhint: add them in several calls",
                jobs.len()
            )));
        }
        let base = self.keys.base();
        let queued = jobs.iter().map(|job| QueuedJob {
            base,
            job,
            waits_for_children: false,
        });
        add_jobs(&self.redis, queued, request).await
    }
}

/// A job on its way to a queue.
pub(super) struct QueuedJob<'a> {
    pub(super) base: &'a str,
    pub(super) job: &'a NewJob,
    /// Its children are added with it, after it.
    pub(super) waits_for_children: bool,
}

/// Adds jobs to any queues in one call, all or none.
pub(super) async fn add_jobs<'a>(
    redis: &Redis,
    jobs: impl Iterator<Item = QueuedJob<'a>> + Clone,
    request: &Request,
) -> Result<Vec<String>, QueueError> {
    let Some(first) = jobs.clone().next() else {
        return Ok(Vec::new());
    };
    redis.check_one_slot(jobs.clone().flat_map(|queued| {
        let parent = queued.job.parent.as_ref().map(|(key, _)| key.as_str());
        iter::once(queued.base).chain(parent)
    }))?;
    let script = script!(
        once "add",
        "chunks",
        "events",
        "ids",
        "line",
        "parent",
        "remove",
        "store",
        "deduplication"
    );
    let mut call = script.call(&format!("{}:meta", first.base));
    for QueuedJob {
        base,
        job,
        waits_for_children,
    } in jobs.clone()
    {
        let (parent_key, parent) = job
            .parent
            .as_ref()
            .map_or(("", ""), |(key, record)| (key.as_str(), record.as_str()));
        call.arg(base)
            .arg(job.id().unwrap_or_default())
            .arg(&job.name)
            .arg(&job.data)
            .arg(job.opts_json())
            .arg(job.timestamp)
            .arg(job.options.delay_ms)
            .arg(job.options.priority)
            .arg(u8::from(job.options.lifo))
            .arg(parent_key)
            .arg(parent)
            .arg(u8::from(waits_for_children))
            .arg(job.deduplication.as_deref().unwrap_or_default());
    }
    request.push(&mut call, first.base)?;
    let redis::Value::Array(reply) = redis.run(script, &call).await? else {
        return Err(QueueError::Reply("add"));
    };
    if let [redis::Value::Int(code), redis::Value::Int(number)] = reply[..] {
        let refused = usize::try_from(number - 1)
            .ok()
            .and_then(|at| jobs.clone().nth(at));
        let parent =
            refused.and_then(|queued| queued.job.parent.as_ref().map(|(key, _)| key.clone()));
        return Err(QueueError::job(code, parent.unwrap_or_default(), "addJob"));
    }
    let id = |value| match value {
        redis::Value::BulkString(id) => Ok(text(&id)),
        _ => Err(QueueError::Reply("add")),
    };
    reply.into_iter().map(id).collect()
}
