//! Looking after jobs, queues and schedulers of a dry run.
//!
//! A scheduler adds its first job, and no further ones: they would never end. One with a pattern adds none, since reading
//! patterns is the queue's, which a dry run does not have.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::backend::{DryBackend, parsed};
use super::store::{Scheduler, State, Store, StoredJob};
use crate::backend::{
    CallResult, CustomEvent, Finished, JobError, NewScheduler, QueueBackend, SchedulerBackend,
    SchedulerRange,
};
use crate::names::{JobRef, QueueRef};
use crate::policy::QueueAccess;

#[async_trait]
impl QueueBackend for DryBackend {
    async fn change_delay(&mut self, job: &JobRef, delay_ms: u64) -> CallResult<()> {
        let mut store = self.store();
        store.must_be(job, "delayed", "changeDelay")?;
        store.delay(job, delay_ms);
        Ok(())
    }

    async fn change_priority(&mut self, job: &JobRef, priority: u32, lifo: bool) -> CallResult<()> {
        let mut store = self.store();
        let stored = store.existing(job, "changePriority")?;
        stored.priority = priority.into();
        if matches!(stored.state, State::Waiting | State::Prioritized) {
            store.leave_line(job);
            store.make_ready(job, lifo);
        }
        Ok(())
    }

    async fn promote(&mut self, job: &JobRef) -> CallResult<()> {
        let mut store = self.store();
        store.must_be(job, "delayed", "promote")?;
        store.make_ready(job, false);
        Ok(())
    }

    async fn retry(
        &mut self,
        job: &JobRef,
        ended: Finished,
        access: &QueueAccess,
    ) -> CallResult<()> {
        let mut store = self.store();
        store.retry(job, ended, access)
    }

    async fn counts(&mut self, queue: &QueueRef) -> CallResult<String> {
        let store = self.store();
        let states = [
            State::Active,
            State::Completed,
            State::Delayed(0),
            State::Failed,
            State::Prioritized,
            State::Waiting,
            State::WaitingChildren,
        ];
        let mut counts: Map<String, Value> = states
            .iter()
            .map(|state| (state.name().to_owned(), json!(0)))
            .collect();
        for (id, job) in &store.jobs {
            if id.queue == *queue
                && let Some(count) = counts.get_mut(job.state.name())
            {
                *count = json!(count.as_u64().unwrap_or(0) + 1);
            }
        }
        Ok(Value::Object(counts).to_string())
    }

    async fn remove_deduplication_key(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        let mut store = self.store();
        Ok(store.queue(queue).deduplicated.remove(id).is_some())
    }

    async fn rate_limit(&mut self, queue: &QueueRef, duration_ms: u64) -> CallResult<()> {
        let mut store = self.store();
        let until = store.now_ms.saturating_add(duration_ms);
        store.queue(queue).limited_until_ms = until;
        Ok(())
    }

    async fn publish_event(&mut self, _: &QueueRef, _: &CustomEvent) -> CallResult<()> {
        Ok(())
    }
}

#[async_trait]
impl SchedulerBackend for DryBackend {
    async fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>> {
        self.store().upsert_scheduler(queue, scheduler)
    }

    async fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<bool> {
        let mut store = self.store();
        Ok(store.remove_scheduler(queue, id))
    }

    async fn scheduler(&mut self, queue: &QueueRef, id: &str) -> CallResult<String> {
        let mut store = self.store();
        let found = store.queue(queue).schedulers.get(id);
        Ok(found.map_or("null".into(), |found| described(id, found).to_string()))
    }

    async fn schedulers(&mut self, queue: &QueueRef, range: SchedulerRange) -> CallResult<String> {
        let mut store = self.store();
        let mut all: Vec<_> = store.queue(queue).schedulers.iter().collect();
        all.sort_by_key(|(id, scheduler)| (scheduler.next_ms, (*id).clone()));
        if !range.asc {
            all.reverse();
        }
        let length = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let place = |at: i64| usize::try_from(if at < 0 { at + length } else { at });
        let (start, end) = (place(range.start).unwrap_or(0), place(range.end));
        let count = end.map_or(0, |end| (end + 1).saturating_sub(start));
        let shown = all.into_iter().skip(start).take(count);
        let shown: Value = shown.map(|(id, found)| described(id, found)).collect();
        Ok(shown.to_string())
    }
}

/// As BullMQ's `JobSchedulerJson`.
fn described(id: &str, scheduler: &Scheduler) -> Value {
    let mut json = scheduler.schedule.clone();
    json.insert("key".into(), json!(id));
    json.insert("name".into(), json!(scheduler.template.name));
    json.insert("next".into(), json!(scheduler.next_ms));
    json.insert("iterationCount".into(), json!(1));
    let template =
        json!({ "data": parsed(&scheduler.template.data), "opts": scheduler.template.options });
    json.insert("template".into(), template);
    Value::Object(json)
}

impl Store {
    fn existing(&mut self, job: &JobRef, command: &str) -> CallResult<&mut StoredJob> {
        let missing = || JobError::NotFound(format!("Missing key for job {}. {command}", job.id));
        self.jobs.get_mut(job).ok_or_else(missing)
    }

    fn must_be(&mut self, job: &JobRef, state: &str, command: &str) -> CallResult<()> {
        let is = self.existing(job, command)?.state.name();
        match is == state {
            true => Ok(()),
            false => Err(JobError::NotInState(format!(
                "Job {} is not in the {state} state. {command}",
                job.id
            ))),
        }
    }

    fn retry(&mut self, id: &JobRef, ended: Finished, access: &QueueAccess) -> CallResult<()> {
        let state = match ended {
            Finished::Completed => State::Completed,
            Finished::Failed => State::Failed,
        };
        self.must_be(id, state.name(), "reprocessJob")?;
        let parent = self.jobs.get(id).and_then(|job| job.parent.clone());
        if let Some(parent) = &parent {
            access.check_parent(parent)?;
        }
        if let Some(job) = self.jobs.get_mut(id) {
            (job.failed_reason, job.returnvalue) = (None, None);
        }
        self.make_ready(id, false);
        if let Some(parent) = parent.and_then(|parent| self.jobs.get_mut(&parent)) {
            let children = &mut parent.children;
            let failed = children.failed.len();
            children.failed.retain(|child| child != id);
            let took_back = failed > children.failed.len()
                || children.processed.remove(id).is_some()
                || children.ignored.remove(id).is_some();
            if took_back {
                children.pending.insert(id.clone());
            }
        }
        Ok(())
    }

    fn upsert_scheduler(
        &mut self,
        queue: &QueueRef,
        scheduler: NewScheduler,
    ) -> CallResult<Option<String>> {
        let NewScheduler {
            id,
            schedule,
            template,
        } = scheduler;
        let every = schedule.get("every").and_then(Value::as_f64);
        if every.is_none_or(|every| every < 1.0) {
            return Err(JobError::Unavailable(
                "a dry run supports only schedulers with `every`".into(),
            ));
        }
        self.remove_scheduler(queue, &id);
        let start = schedule.get("startDate").and_then(Value::as_u64);
        let next_ms = self.now_ms.max(start.unwrap_or(0));
        let mut job = template.clone();
        let job_id = format!("repeat:{id}:{next_ms}");
        let delay_ms = next_ms - self.now_ms;
        job.options.insert("delay".into(), json!(delay_ms));
        self.add_scheduled(queue, job, &job_id)?;
        let scheduler = Scheduler {
            schedule,
            template,
            next_ms,
        };
        self.queue(queue).schedulers.insert(id, scheduler);
        Ok(Some(job_id))
    }

    fn remove_scheduler(&mut self, queue: &QueueRef, id: &str) -> bool {
        let Some(removed) = self.queue(queue).schedulers.remove(id) else {
            return false;
        };
        let job = JobRef {
            queue: queue.clone(),
            id: format!("repeat:{id}:{}", removed.next_ms),
        };
        let waits = |job: &StoredJob| !job.state.is_finished() && job.state != State::Active;
        if self.jobs.get(&job).is_some_and(waits) {
            self.forget(&job);
        }
        true
    }
}
