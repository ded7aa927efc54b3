//! The jobs that keys act on.

use serde_json::{Map, Value};
use toril::config::{Config, read_authority};
use toril::queue::{JobState, NewJob, Queue, QueueName, Redis};

/// What a job that is added again keeps of its options. Not its id, which is taken, nor who waits for it or made it.
const OPTIONS_KEPT: [&str; 8] = [
    "attempts",
    "backoff",
    "lifo",
    "priority",
    "removeOnComplete",
    "removeOnFail",
    "stackTraceLimit",
    "timeout",
];

/// A job as it was added.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AddedJob {
    pub(super) queue: String,
    name: String,
    /// JSON.
    data: String,
    options: Map<String, Value>,
}

impl AddedJob {
    /// The job of an event `active`. None: it was not added by itself, or has run before, and may have changed its data.
    pub(super) fn of(queue: &str, job: &Value) -> Option<Self> {
        let is_first = job["attemptsStarted"].as_u64().unwrap_or(1) <= 1;
        if !is_first || job["parentKey"].is_string() {
            return None;
        }
        let mut options = job["opts"].as_object().cloned().unwrap_or_default();
        options.retain(|name, _| OPTIONS_KEPT.contains(&&**name));
        Some(AddedJob {
            queue: queue.to_owned(),
            name: job["name"].as_str()?.to_owned(),
            data: job["data"].to_string(),
            options,
        })
    }

    /// The same job with other data, JSON.
    pub(super) fn with_data(&self, data: String) -> Self {
        AddedJob {
            data,
            ..self.clone()
        }
    }

    /// The data, for people.
    pub(super) fn pretty_data(&self) -> String {
        let data: Value = toril::queue::json::read(&self.data).unwrap_or_default();
        let pretty = serde_json::to_string_pretty(&data).unwrap_or_default();
        pretty + "\n"
    }
}

/// Adds jobs and retries them, over a connection of its own.
pub(super) struct Jobs {
    config: Config,
    url: String,
    redis: Option<Redis>,
}

impl Jobs {
    pub(super) fn new(config: Config, url: &str) -> Self {
        Jobs {
            config,
            url: url.to_owned(),
            redis: None,
        }
    }

    /// Adds it once more.
    pub(super) async fn add(&mut self, job: &AddedJob) -> anyhow::Result<()> {
        let new = NewJob::new(&job.name, &job.data, job.options.clone())?;
        self.queue(&job.queue).await?.add(&new).await?;
        Ok(())
    }

    /// Lets a job that failed run again: at once, where it waits for its next attempt. Returns its state where it does neither.
    pub(super) async fn retry(
        &mut self,
        queue: &str,
        id: &str,
    ) -> anyhow::Result<Option<JobState>> {
        let queue = self.queue(queue).await?;
        match queue.state(id).await? {
            JobState::Failed => queue.retry(id, false).await?,
            JobState::Delayed => queue.promote(id).await?,
            state => return Ok(Some(state)),
        }
        Ok(None)
    }

    async fn queue(&mut self, name: &str) -> anyhow::Result<Queue> {
        let redis = match &self.redis {
            Some(redis) => redis.clone(),
            None => {
                let authority = read_authority(self.config.redis.ca_file.as_deref())?;
                let redis = Redis::connect_trusting(&self.url, authority.as_deref()).await?;
                self.redis.insert(redis).clone()
            }
        };
        let spec = self.config.queues.get(name);
        let prefix = spec.and_then(|spec| spec.prefix.as_deref());
        let prefix = prefix.unwrap_or(&self.config.redis.prefix);
        Ok(Queue::new(redis, prefix, &QueueName::new(name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn job_is_added_again_as_it_was_added_without_what_only_one_can_have() {
        let job = json!({
            "name": "walls", "data": { "walls": 4 }, "attemptsStarted": 1,
            "opts": { "attempts": 3, "jobId": "7", "repeat": { "every": 5 }, "de": { "id": "x" } },
        });
        let added = AddedJob::of("paint", &job).unwrap();
        assert_eq!((&*added.name, &*added.data), ("walls", r#"{"walls":4}"#));
        assert_eq!(Value::Object(added.options), json!({ "attempts": 3 }));
        let again = json!({ "name": "walls", "data": {}, "attemptsStarted": 2 });
        assert_eq!(AddedJob::of("paint", &again), None);
        let child = json!({ "name": "walls", "data": {}, "attemptsStarted": 1, "parentKey": "bull:flat:1" });
        assert_eq!(AddedJob::of("paint", &child), None);
    }
}
