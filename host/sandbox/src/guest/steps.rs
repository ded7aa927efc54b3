//! `toril:processor/steps`: what one attempt of the job has done, a later one does not do again.

use serde_json::value::RawValue;

use super::AttemptState;
use super::current_job::Answer;
use crate::backend::{CallResult, ChildOutcome, JobError, NewJob};
use crate::bindings::toril::processor::steps::{Called, Host, NewJob as GuestJob};
use crate::cancel::Stop;
use crate::digest::Digest;
use crate::flow_json::invalid;
use crate::names::{JobRef, QueueRef};
use crate::steps::{Kept, Open, Steps, other_kind};

/// BullMQ's options that a call sets itself, or that would hide what became of it.
const NOT_OF_A_CALL: [&str; 6] = [
    "jobId",
    "parent",
    "deduplication",
    "debounce",
    "repeat",
    "removeDependencyOnFailure",
];
/// Options that say what a child's failure means for its parent.
const FAILURE_POLICIES: [&str; 3] = [
    "failParentOnFailure",
    "continueParentOnFailure",
    "ignoreDependencyOnFailure",
];

impl AttemptState {
    /// What is known of the job's steps. Looked at when the first one is begun: most jobs have none.
    fn steps(&mut self) -> CallResult<&mut Steps> {
        self.check_unmoved()?;
        let read = || Box::new(Steps::of(self.current.backend.steps()));
        Ok(self.current.steps.get_or_insert_with(read))
    }

    /// Ends the guest here, at a boundary between two steps, where the host wants its job back.
    fn boundary(&self) -> wasmtime::Result<()> {
        match self.current.cancel.gives_back_at_step() {
            true => Err(wasmtime::Error::new(Stop::Shutdown)),
            false => Ok(()),
        }
    }

    async fn keep(&mut self, name: &str, kept: Kept) -> CallResult<()> {
        let now_ms = self.current.backend.now_ms();
        let limits = self.policy.limits.clone();
        let record = self.steps()?.record(name, kept, now_ms, &limits)?;
        self.current.backend.keep_step(name, &record).await?;
        self.steps()?.keep(name, record);
        Ok(())
    }

    /// Begins a step. Its name is stored and shown: it may not have a secret in it.
    fn begin_step(&mut self, name: &str) -> CallResult<Option<Kept>> {
        if self.policy.grants.secrets.are_in(name) {
            let refused = "name of a step contains a secret and would be stored".to_owned();
            return Err(JobError::Invalid(refused));
        }
        self.steps()?.begin(name)
    }

    fn try_begin(&mut self, name: &str) -> CallResult<Option<String>> {
        match self.begin_step(name)? {
            Some(Kept::Value(value)) => Ok(Some(value.get().to_owned())),
            Some(other) => other_kind(name, &other, "step"),
            None => {
                self.steps()?.set_open(name, Open::Step);
                Ok(None)
            }
        }
    }

    async fn try_finish(&mut self, name: &str, value: String) -> CallResult<()> {
        let value = self.raw("step value", value)?;
        self.steps()?.check_open(name, Open::Step)?;
        self.keep(name, Kept::Value(value)).await?;
        self.steps()?.set_open(name, Open::Closed);
        Ok(())
    }

    async fn try_sleep(&mut self, name: &str, duration_ms: u64) -> CallResult<bool> {
        let now_ms = self.current.backend.now_ms();
        let until = match self.begin_step(name)? {
            Some(Kept::Until(until)) => until,
            Some(other) => return other_kind(name, &other, "sleep"),
            None => {
                let until = now_ms.saturating_add(duration_ms);
                self.keep(name, Kept::Until(until)).await?;
                until
            }
        };
        let sleeps = until > now_ms;
        if sleeps {
            self.try_move_to_delayed(until).await?;
        }
        Ok(sleeps)
    }

    fn try_cursor(&mut self, name: &str) -> CallResult<Option<String>> {
        let place = match self.begin_step(name)? {
            Some(Kept::Cursor(place)) => Some(place.get().to_owned()),
            Some(other) => return other_kind(name, &other, "cursor"),
            None => None,
        };
        self.steps()?.set_open(name, Open::Cursor);
        Ok(place)
    }

    async fn try_set_cursor(&mut self, name: &str, place: String) -> CallResult<()> {
        let place = self.raw("place of a cursor", place)?;
        self.steps()?.check_open(name, Open::Cursor)?;
        self.keep(name, Kept::Cursor(place)).await
    }

    async fn try_call(&mut self, name: &str, queue: &str, job: GuestJob) -> CallResult<Called> {
        let kept = match self.begin_step(name)? {
            Some(Kept::Child(child)) => Some(job_of_key(&child)?),
            Some(other) => return other_kind(name, &other, "call"),
            None => None,
        };
        let max = self.read_bytes_max();
        let mut outcome = match &kept {
            Some(child) => self.current.backend.child_outcome(child, max).await?,
            None => ChildOutcome::Unknown,
        };
        let child = match (kept, &outcome) {
            (Some(child), known) if *known != ChildOutcome::Unknown => child,
            // Not added yet: the attempt that noted it ended before.
            (kept, _) => {
                outcome = ChildOutcome::Pending;
                self.add_called(name, queue, job, kept).await?
            }
        };
        if outcome == ChildOutcome::Pending {
            let key = child.to_string();
            if self.try_move_to_waiting_children(Some(&key)).await? {
                return Ok(Called::Waiting);
            }
            outcome = self.current.backend.child_outcome(&child, max).await?;
        }
        match outcome {
            ChildOutcome::Completed(value) => Ok(Called::Completed(value)),
            ChildOutcome::Failed(reason) => Ok(Called::Failed(reason)),
            ChildOutcome::FailsParent => {
                Err(JobError::ChildFailed(format!("child {child} failed")))
            }
            ChildOutcome::Unknown | ChildOutcome::Pending => Err(JobError::NotInState(format!(
                "child {child} no longer exists, and its result is unknown"
            ))),
        }
    }

    /// Adds the job of a call. Its id is noted first, so that any number of attempts
    /// add it once.
    async fn add_called(
        &mut self,
        name: &str,
        queue: &str,
        job: GuestJob,
        noted: Option<JobRef>,
    ) -> CallResult<JobRef> {
        let queue = self.queue(queue)?;
        let noted = noted.filter(|noted| noted.queue == queue);
        let is_noted = noted.is_some();
        let child = match noted {
            Some(noted) => noted,
            None => self.child_of_call(name, queue)?,
        };
        let mut jobs = self.new_jobs(vec![job])?;
        let own = self.own_job()?;
        for job in &mut jobs {
            make_child(job, own.clone(), &child.id)?;
        }
        self.admit(&child.queue, &jobs)?;
        if !is_noted {
            self.keep(name, Kept::Child(child.to_string())).await?;
        }
        self.current.backend.add(&child.queue, jobs).await?;
        Ok(child)
    }

    /// The child of this name: the same in each attempt, until the step is dropped.
    fn child_of_call(&self, name: &str, queue: QueueRef) -> CallResult<JobRef> {
        let own = self.own_job()?;
        let job = self.current.backend.job();
        let (added, dropped) = (job.timestamp, self.current.backend.steps_dropped());
        let hash = Digest::of(format!("{own}\n{added}\n{dropped}\n{name}").as_bytes());
        // For people; what tells children apart is the hash.
        let readable = format!("{}-{name}", own.id);
        let readable = readable.chars().take(80).map(|char| match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => char,
            _ => '-',
        });
        let id = readable.collect::<String>() + "-" + hash.short();
        Ok(JobRef { queue, id })
    }

    fn raw(&self, what: &str, json: String) -> CallResult<Box<RawValue>> {
        self.check_size(what, &json)?;
        RawValue::from_string(json)
            .map_err(|error| JobError::Invalid(format!("{what} is not JSON: {error}")))
    }
}

/// Makes a new job that of a call: a child of this one.
fn make_child(job: &mut NewJob, own: JobRef, id: &str) -> CallResult<()> {
    let is_set = |key: &&str| match *key {
        "parent" => job.parent.is_some(),
        key => job.options.get(key).is_some_and(|value| !value.is_null()),
    };
    if let Some(key) = NOT_OF_A_CALL.iter().find(|key| is_set(key)) {
        let reason = format!("a job that is called cannot have the option `{key}`");
        return Err(JobError::Invalid(reason));
    }
    let has_policy = FAILURE_POLICIES.iter().any(is_set);
    let options = &mut job.options;
    options.insert("jobId".into(), id.into());
    if !has_policy {
        options.insert("ignoreDependencyOnFailure".into(), true.into());
    }
    job.parent = Some(own);
    Ok(())
}

/// The job of a key that [`AttemptState::child_of_call`] made: its id has no colon.
fn job_of_key(key: &str) -> CallResult<JobRef> {
    let (queue, id) = key.rsplit_once(':').unwrap_or_default();
    let queue = QueueRef::parse(queue).map_err(invalid)?;
    let id = id.to_owned();
    Ok(JobRef { queue, id })
}

impl Host for AttemptState {
    fn begin(&mut self, name: String) -> Answer<Option<String>> {
        let begun = self.try_begin(&name);
        // Before the first step there is nothing to go on from.
        let has_any = self
            .current
            .steps
            .as_ref()
            .is_some_and(|steps| steps.has_any());
        if matches!(begun, Ok(None)) && has_any {
            self.boundary()?;
        }
        Ok(begun)
    }

    async fn finish(&mut self, name: String, value: String) -> Answer<()> {
        let finished = self.try_finish(&name, value).await;
        if finished.is_ok() {
            self.boundary()?;
        }
        Ok(finished)
    }

    async fn sleep(&mut self, name: String, duration_ms: u64) -> Answer<bool> {
        Ok(self.try_sleep(&name, duration_ms).await)
    }

    async fn call(&mut self, name: String, queue: String, job: GuestJob) -> Answer<Called> {
        Ok(self.try_call(&name, &queue, job).await)
    }

    fn cursor(&mut self, name: String) -> Answer<Option<String>> {
        Ok(self.try_cursor(&name))
    }

    async fn set_cursor(&mut self, name: String, place: String) -> Answer<()> {
        let kept = self.try_set_cursor(&name, place).await;
        if kept.is_ok() {
            self.boundary()?;
        }
        Ok(kept)
    }
}
