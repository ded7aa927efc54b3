//! Sets the stage for a case in the dry run, runs its job, and notes what is there afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::answers::Answers;
use super::expectation::{Fields, OutcomeName};
use super::file::{Case, ChildFile};
use toril_queue::json;
use toril_sandbox::backend::reason;
use toril_sandbox::dry_run::{DryRun, State, StoredJob};
use toril_sandbox::names::JobRef;
use toril_sandbox::{Engine, MovedTo, Outcome, Policy, Processor};

/// The prefix of the dry run's queues.
const PREFIX: &str = "bull";

/// Where a case runs.
pub(super) struct Stage<'queue> {
    pub(super) queue: &'queue str,
    pub(super) engine: Arc<Engine>,
    pub(super) processor: Arc<Processor>,
    pub(super) policy: Arc<Policy>,
}

/// What came of an attempt.
pub(super) struct Ran {
    pub(super) seen: Fields,
    /// The stack, if it failed.
    pub(super) stack: Option<String>,
    /// What is wrong, whatever was expected.
    pub(super) problems: Vec<String>,
}

type Calls = Arc<Mutex<Vec<String>>>;

impl Stage<'_> {
    pub(super) async fn run(self, case: &Case) -> anyhow::Result<Ran> {
        let calls = Calls::default();
        let answers = Arc::new(Answers::new(&case.http, self.requests_shown(&calls))?);
        let mut dry_run = self.dry_run(case, &calls, &answers)?;
        let id = self.add_job(&dry_run, case)?;
        let before = dry_run.jobs();
        let ended = dry_run.run_job(self.queue, &id).await;
        let outcome = ended.context("the job did not run")?.outcome;
        let stack = match &outcome {
            Outcome::HostFailed(reason) => anyhow::bail!("host failed: {reason}"),
            Outcome::Failed { stack, .. } => Some(stack.clone()),
            _ => None,
        };
        let job = dry_run.job(self.queue, &id);
        let calls = std::mem::take(&mut *calls.lock());
        let end = End {
            outcome: &outcome,
            job: job.as_ref(),
            now_ms: dry_run.now_ms(),
        };
        let mut seen = end.fields(&case.job.data()?);
        seen.push("calls", calls, true);
        let added = added(&dry_run.jobs(), &before);
        let is_telling = !added.is_empty();
        seen.push("added", added, is_telling);
        let problems = answers.problems();
        Ok(Ran {
            seen,
            stack,
            problems,
        })
    }

    /// Requests are calls as others are; secrets in them are not shown.
    fn requests_shown(&self, calls: &Calls) -> Arc<dyn Fn(String) + Send + Sync> {
        let (calls, policy) = (Arc::clone(calls), Arc::clone(&self.policy));
        Arc::new(move |request: String| {
            let shown = policy.grants.secrets.redact(&request).into_owned();
            calls.lock().push(shown);
        })
    }

    fn dry_run(
        &self,
        case: &Case,
        calls: &Calls,
        answers: &Arc<Answers>,
    ) -> anyhow::Result<DryRun> {
        let mut dry_run = DryRun::new(Arc::clone(&self.engine));
        dry_run.show_now_ms(case.now_ms()?);
        dry_run.answer_requests(Arc::clone(answers) as _);
        let (processor, policy) = (Arc::clone(&self.processor), Arc::clone(&self.policy));
        dry_run.serve_loaded(self.queue, processor, policy);
        let calls = Arc::clone(calls);
        dry_run.show(Box::new(move |call| calls.lock().push(call)));
        Ok(dry_run)
    }

    /// Adds the job and its children; returns its id.
    fn add_job(&self, dry_run: &DryRun, case: &Case) -> anyhow::Result<String> {
        let job = &case.job;
        let options = with_id(job.options(), job.id.as_deref());
        let id = dry_run.add(self.queue, &job.name, &job.data()?, &options);
        let id = id.map_err(|error| anyhow!("the job cannot be added: {}", reason(error)))?;
        for child in &case.children {
            let added = self.add_child(dry_run, &id, child);
            added.with_context(|| format!("child `{}`", child.name))?;
        }
        let reason = job.failed_reason.as_deref();
        dry_run.set_attempts(self.queue, &id, job.attempts_made, reason);
        if let Some(progress) = job.progress() {
            dry_run.set_progress(self.queue, &id, &progress);
        }
        for (name, value) in job.steps() {
            dry_run.keep_step(self.queue, &id, name, &value);
        }
        Ok(id)
    }

    fn add_child(&self, dry_run: &DryRun, parent: &str, child: &ChildFile) -> anyhow::Result<()> {
        let mut options = child.options();
        let parent = json!({ "id": parent, "queue": format!("{PREFIX}:{}", self.queue) });
        options.insert("parent".into(), parent);
        let options = with_id(options, child.id.as_deref());
        let id = dry_run.add(&child.queue, &child.name, &child.data()?, &options);
        let id = id.map_err(|error| anyhow!("it cannot be added: {}", reason(error)))?;
        let outcome = match (child.value()?, &child.failed_reason) {
            (Some(value), _) => Outcome::Completed(value),
            (None, Some(reason)) => Outcome::unrecoverable(reason.as_str()),
            (None, None) => return Ok(()),
        };
        dry_run.end(&child.queue, &id, outcome);
        Ok(())
    }
}

fn with_id(mut options: Map<String, Value>, id: Option<&str>) -> String {
    if let Some(id) = id {
        options.insert("jobId".into(), id.into());
    }
    Value::Object(options).to_string()
}

/// The end of an attempt.
struct End<'run> {
    outcome: &'run Outcome,
    /// None: its options keep no job that ended.
    job: Option<&'run StoredJob>,
    now_ms: u64,
}

impl End<'_> {
    fn fields(&self, data_before: &str) -> Fields {
        let mut seen = Fields::default();
        let name = name(self.outcome);
        seen.push("outcome", <&'static str>::from(name), true);
        match self.outcome {
            Outcome::Completed(value) => seen.push("value", parsed(value), true),
            Outcome::Failed {
                message,
                unrecoverable,
                ..
            } => {
                seen.push("failed_reason", message.as_str(), true);
                seen.push("unrecoverable", *unrecoverable, *unrecoverable);
            }
            _ => {}
        }
        let state = self.job.map_or("removed", |job| job.state.name());
        seen.push("state", state, name == OutcomeName::Failed);
        if let Some(delay_ms) = self.delay_ms() {
            seen.push("delay_ms", delay_ms, true);
        }
        if let Some(job) = self.job {
            seen.push("progress", parsed(&job.progress), false);
            let changed = parsed(&job.data) != parsed(data_before);
            seen.push("data", parsed(&job.data), changed);
            seen.push("logs", job.logs.clone(), false);
        }
        seen
    }

    /// How long until the job, or its queue, goes on.
    fn delay_ms(&self) -> Option<u64> {
        match (self.outcome, self.job?.state) {
            (Outcome::RateLimited(duration_ms), _) => Some(*duration_ms),
            (_, State::Delayed(due)) => Some(due.saturating_sub(self.now_ms)),
            _ => None,
        }
    }
}

fn name(outcome: &Outcome) -> OutcomeName {
    match outcome {
        Outcome::Completed(_) => OutcomeName::Completed,
        Outcome::Failed { .. } => OutcomeName::Failed,
        Outcome::Moved(MovedTo::Delayed) => OutcomeName::Delayed,
        Outcome::Moved(MovedTo::WaitingChildren) => OutcomeName::WaitingChildren,
        Outcome::RateLimited(_) => OutcomeName::RateLimited,
        Outcome::Moved(MovedTo::Wait)
        | Outcome::Wait
        | Outcome::GivenBack
        | Outcome::Lost
        | Outcome::HostFailed(_) => OutcomeName::Waiting,
    }
}

/// The jobs that were not there before, by queue and id.
fn added(jobs: &BTreeMap<JobRef, StoredJob>, before: &BTreeMap<JobRef, StoredJob>) -> Vec<Value> {
    let new = jobs.iter().filter(|(id, _)| !before.contains_key(id));
    let as_json = |(id, job): (&JobRef, &StoredJob)| {
        let mut added = json!({
            "queue": id.queue.name(), "name": job.name, "id": id.id, "data": parsed(&job.data),
            "state": job.state.name(),
        });
        if !job.options.is_empty() {
            added["opts"] = Value::Object(job.options.clone());
        }
        if let Some(parent) = &job.parent {
            added["parent"] = parent.to_string().into();
        }
        added
    };
    new.map(as_json).collect()
}

fn parsed(text: &str) -> Value {
    json::read(text).unwrap_or_else(|_| text.into())
}
