//! Queues in memory: processors run their jobs, children and flows without Redis, with a clock that can be set.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use toril_sandbox::{Engine, EngineOptions, Policy, dry_run::DryRun};
//!
//! let engine = std::sync::Arc::new(Engine::new(&EngineOptions::default())?);
//! let mut dry_run = DryRun::new(engine);
//! let component = std::fs::read("paint.wasm")?;
//! dry_run.serve("paint", component, Policy::default()).await?;
//! let id = dry_run.add("paint", "walls", r#"{"price":100}"#, "{}")?;
//! dry_run.run_to_end().await?;
//! assert_eq!(dry_run.job("paint", &id).and_then(|job| job.returnvalue), Some("100".into()));
//! # Ok(())
//! # }
//! ```

mod adding;
mod backend;
mod families;
mod kv;
mod queues;
mod settling;
mod staging;
mod steps;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::attempt::{self, AttemptInput, AttemptResult};
use crate::backend::{CallResult, HttpAnswers, JobBackend, JobError, NewJob, ShowCall, Shown};
use crate::compile::{LoadError, Processor};
use crate::engine::Engine;
use crate::flow_json::{self, FlowOptions};
use crate::names::{JobRef, QueueRef};
use crate::outcome::Outcome;
use crate::policy::Policy;
use backend::DryBackend;
pub(crate) use staging::backend_of;
use store::Store;
pub use store::{State, StoredJob};

/// The prefix of all queues that are named without one.
const PREFIX: &str = "bull";
/// Attempts after which a run is taken to go on for ever.
const ATTEMPTS_MAX: usize = 10_000;

/// Queues in memory, and the processors that work them.
pub struct DryRun {
    engine: Arc<Engine>,
    store: Arc<Mutex<Store>>,
    served: BTreeMap<QueueRef, Served>,
    show: Option<ShowCall>,
}

#[derive(Clone)]
struct Served {
    processor: Arc<Processor>,
    policy: Arc<Policy>,
}

/// An attempt that ended.
#[derive(Debug)]
pub struct DryRunAttempt {
    /// The job, `prefix:queue:id` as text.
    pub job: JobRef,
    /// What came of the attempt.
    pub outcome: Outcome,
    /// Processor time of the guest and of the host's work for it.
    pub cpu: Duration,
}

/// Why a dry run was given up.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// Jobs go on and on.
    #[error("jobs still run after {ATTEMPTS_MAX} attempts")]
    Endless,
    /// The host failed, not a job.
    #[error("host failed: {0}")]
    HostFailed(String),
}

impl DryRun {
    /// A dry run without queues; its clock says what the machine's says now.
    pub fn new(engine: Arc<Engine>) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = since_epoch.map_or(0, |elapsed| elapsed.as_millis() as u64);
        DryRun {
            engine,
            store: Arc::new(Mutex::new(Store::new(now_ms))),
            served: BTreeMap::new(),
            show: None,
        }
    }

    /// Shows each call that a guest makes.
    pub fn show(&mut self, show: Box<dyn FnMut(String) + Send>) {
        let show = Mutex::new(show);
        let show = move |call: &str| (show.lock())(call.to_owned());
        self.show = Some(Arc::new(show));
    }

    /// Answers the requests of guests, which then reach no server.
    pub fn answer_requests(&mut self, answers: Arc<dyn HttpAnswers>) {
        self.store.lock().answers = Some(answers);
    }

    /// Lets a component work a queue.
    pub async fn serve(
        &mut self,
        queue: &str,
        component: Vec<u8>,
        policy: Policy,
    ) -> Result<(), LoadError> {
        let policy = Arc::new(policy);
        let processor = Arc::new(self.engine.load(component, &policy).await?);
        self.serve_loaded(queue, processor, policy);
        Ok(())
    }

    /// Lets a loaded processor work a queue; one processor may work several.
    pub fn serve_loaded(&mut self, queue: &str, processor: Arc<Processor>, policy: Arc<Policy>) {
        if let Ok(queue) = QueueRef::new(PREFIX, queue) {
            self.served.insert(queue, Served { processor, policy });
        }
    }

    /// Adds a job as a producer does. `data` and `options`, BullMQ's `JobsOptions`, are JSON.
    pub fn add(&self, queue: &str, name: &str, data: &str, options: &str) -> CallResult<String> {
        let queue = QueueRef::new(PREFIX, queue).map_err(flow_json::invalid)?;
        let options: Map<String, Value> = flow_json::options("options", options)?;
        let job: NewJob = flow_json::new_job(name.to_owned(), data.to_owned(), options)?;
        let ids = self.store.lock().add(&queue, vec![job])?;
        let missing = || JobError::Unavailable("no id was made".into());
        ids.into_iter().next().ok_or_else(missing)
    }

    /// Adds a flow as a producer does: BullMQ's `FlowJob`, JSON. Returns the id of its root.
    pub fn add_flow(&self, flow: &str) -> CallResult<String> {
        let flow = flow_json::parse_flows(&format!("[{flow}]"))?;
        let flows = flow_json::flows(flow, &FlowOptions::default(), PREFIX)?;
        let trees = self.store.lock().add_flows(flows)?;
        let id = trees.first().and_then(|tree| tree["id"].as_str());
        Ok(id.unwrap_or_default().to_owned())
    }

    /// What the clock says, in ms since the epoch.
    pub fn now_ms(&self) -> u64 {
        self.store.lock().now_ms
    }

    /// Sets the clock, in ms since the epoch. Guests keep seeing the machine's own.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.store.lock().now_ms = now_ms;
    }

    /// Sets the clock, and lets guests see it: for them the time stands still until it is set again.
    pub fn show_now_ms(&self, now_ms: u64) {
        let mut store = self.store.lock();
        (store.now_ms, store.shows_clock) = (now_ms, true);
    }

    /// Sets the clock forward.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut store = self.store.lock();
        store.now_ms = store.now_ms.saturating_add(millis);
    }

    /// A job as it is now.
    pub fn job(&self, queue: &str, id: &str) -> Option<StoredJob> {
        let queue = QueueRef::new(PREFIX, queue).ok()?;
        let id = id.to_owned();
        self.store.lock().jobs.get(&JobRef { queue, id }).cloned()
    }

    /// All jobs of all queues.
    pub fn jobs(&self) -> BTreeMap<JobRef, StoredJob> {
        self.store.lock().jobs.clone()
    }

    /// Runs one attempt of the next job of any queue. None: no job is ready.
    pub async fn run_next(&mut self) -> Option<DryRunAttempt> {
        let (job, served) = self.take()?;
        self.attempt(job, served).await
    }

    async fn attempt(&self, job: JobRef, served: Served) -> Option<DryRunAttempt> {
        let (refusal, taken) = {
            let store = self.store.lock();
            (store.must_not_run(&job), store.jobs.get(&job).cloned()?)
        };
        let result = match refusal {
            Some(reason) => AttemptResult::without_a_guest(Outcome::unrecoverable(reason)),
            None => {
                let backend = DryBackend::new(Arc::clone(&self.store), job.clone(), taken);
                let backend: Box<dyn JobBackend> = Box::new(backend);
                let input = AttemptInput::new(match &self.show {
                    Some(show) => Box::new(Shown::calls(backend, Arc::clone(show))),
                    None => backend,
                });
                attempt::run(&self.engine, &served.processor, &served.policy, input).await
            }
        };
        let outcome = self.store.lock().settle(&job, result.outcome);
        let cpu = result.cpu;
        Some(DryRunAttempt { job, outcome, cpu })
    }

    fn take(&self) -> Option<(JobRef, Served)> {
        let mut store = self.store.lock();
        self.served
            .iter()
            .find_map(|(queue, served)| Some((store.take(queue)?, served.clone())))
    }

    /// Runs jobs until none is ready. Delayed ones stay.
    pub async fn run(&mut self) -> Result<Vec<DryRunAttempt>, DryRunError> {
        let mut all = Vec::new();
        while let Some(ended) = self.run_next().await {
            if let Outcome::HostFailed(reason) = ended.outcome {
                return Err(DryRunError::HostFailed(reason));
            }
            all.push(ended);
            if all.len() > ATTEMPTS_MAX {
                return Err(DryRunError::Endless);
            }
        }
        Ok(all)
    }

    /// Runs jobs until none is ready or delayed: whenever all wait, the clock goes to the time of the next one.
    pub async fn run_to_end(&mut self) -> Result<Vec<DryRunAttempt>, DryRunError> {
        let mut all = self.run().await?;
        loop {
            let next = self.next_served_due();
            let Some(due) = next else { return Ok(all) };
            self.set_now_ms(due.max(self.now_ms()));
            let ended = self.run().await?;
            if ended.is_empty() || all.len() > ATTEMPTS_MAX {
                return match ended.is_empty() {
                    true => Ok(all),
                    false => Err(DryRunError::Endless),
                };
            }
            all.extend(ended);
        }
    }

    fn next_served_due(&self) -> Option<u64> {
        self.store
            .lock()
            .next_due_ms(&|queue| self.served.contains_key(queue))
    }
}
