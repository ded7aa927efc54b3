//! Rehearsals: recorded attempts run again on a candidate, before any live job meets it. Nothing leaves the machine.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

use crate::served_queue::deployment::Deployments;
use toril_queue::{Queue, QueueError, RecordingEntry};
use toril_sandbox::recording::{Departure, Recording, Rerun};
use toril_sandbox::{Engine, LoadError, Outcome, Policy, Processor};

/// A candidate that takes this many times the processor time of the version that ran is too slow,
const CPU_RATIO_MAX: f64 = 1.5;
/// if that is this much in an attempt, on average: less is noise.
const CPU_NOISE: Duration = Duration::from_micros(200);
/// The same for memory.
const MEMORY_RATIO_MAX: f64 = 1.5;
/// A wasm page or some: less is chance.
const MEMORY_NOISE_BYTES: usize = 1 << 20;
/// A candidate may take this many times as long as the recorded attempt computed,
const DEADLINE_RATIO: u64 = 20;
/// and so long in any case: nothing is waited for.
const DEADLINE_MIN_MS: u64 = 1_000;

/// How one recorded attempt ended on the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Found {
    /// The candidate made the same calls and returned the same outcome.
    Same,
    /// The recorded attempt failed, and the candidate does not fail, or continues beyond the point at which that attempt
    /// ended.
    Fixed {
        /// The outcome on the candidate.
        now: String,
    },
    /// The candidate returned another value.
    OtherValue {
        /// The recorded value.
        recorded: String,
        /// The value of the candidate.
        now: String,
    },
    /// The candidate failed, and the recorded attempt did not, or it failed for another reason.
    NewFailure {
        /// The reason.
        reason: String,
    },
    /// The candidate made another call, one more, or one less.
    OtherCalls {
        /// The first call that differs.
        departure: String,
    },
    /// The attempt cannot be compared: the recording is cut or incomplete, or the attempt was stopped from outside.
    NotComparable {
        /// The reason.
        reason: String,
    },
}

impl Found {
    /// True for what may be a fault of the candidate.
    pub fn is_regression(&self) -> bool {
        matches!(
            self,
            Found::OtherValue { .. } | Found::NewFailure { .. } | Found::OtherCalls { .. }
        )
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Same => f.write_str("same"),
            Found::Fixed { now } => write!(f, "failed, and now {now}"),
            Found::OtherValue { recorded, now } => {
                write!(f, "other value\n  recorded: {recorded}\n  now:      {now}")
            }
            Found::NewFailure { reason } => write!(f, "new failure: {reason}"),
            Found::OtherCalls { departure } => write!(f, "other calls: {departure}"),
            Found::NotComparable { reason } => write!(f, "not comparable: {reason}"),
        }
    }
}

/// A recorded attempt that ran on the candidate.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    /// The job's id.
    pub id: String,
    /// The number of the start, counted from 1.
    pub attempt: u32,
    /// How it ended.
    pub found: Found,
}

/// The result of a rehearsal.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rehearsal)]
pub struct Report {
    /// The attempts, newest first.
    pub attempts: Vec<Rehearsed>,
    /// Processor time of the candidate divided by that of the versions that ran; null if these are not available.
    pub cpu_ratio: Option<f64>,
    /// Memory of the candidate divided by that of the versions that ran; null if these are not available.
    pub memory_ratio: Option<f64>,
    /// Faults of the candidate as a whole, such as too much processor time or memory.
    pub too_much: Vec<String>,
}

impl Report {
    /// The attempts with what may be a fault of the candidate.
    pub fn regressions(&self) -> impl Iterator<Item = &Rehearsed> {
        let attempts = self.attempts.iter();
        attempts.filter(|attempt| attempt.found.is_regression())
    }

    fn count(&self, is: impl Fn(&Found) -> bool) -> usize {
        let attempts = self.attempts.iter();
        attempts.filter(|attempt| is(&attempt.found)).count()
    }

    /// How many attempts could be compared.
    pub fn compared(&self) -> usize {
        self.attempts.len() - self.count(|found| matches!(found, Found::NotComparable { .. }))
    }

    /// True if the candidate is worse in no more than so many percent of the attempts that could be compared, and takes not
    /// much more. Without any there is nothing to go by.
    pub fn passes(&self, percent_max: f64) -> bool {
        let worse = 100.0 * self.regressions().count() as f64;
        let compared = self.compared();
        compared > 0 && worse <= percent_max * compared as f64 && self.too_much.is_empty()
    }

    /// What was found, in a line.
    pub fn sum(&self) -> String {
        let kinds = [
            ("the same", self.count(|found| *found == Found::Same)),
            (
                "fixed",
                self.count(|found| matches!(found, Found::Fixed { .. })),
            ),
            ("worse", self.regressions().count()),
            ("not comparable", self.attempts.len() - self.compared()),
        ];
        let found = kinds.into_iter().filter(|(_, count)| *count > 0);
        let found: Vec<String> = found
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let mut said = match &found[..] {
            [] => vec!["no attempt is recorded".to_owned()],
            found => vec![format!("recorded attempts: {}", found.join(", "))],
        };
        said.extend(self.too_much.iter().cloned());
        said.join("; ")
    }
}

/// Environment variables that are granted now: recordings have their names only.
pub type Env = BTreeMap<String, String>;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum NotRehearsed {
    /// The candidate is no processor for these jobs.
    #[error("candidate was refused: {0}")]
    Refused(#[from] LoadError),
    /// The recordings cannot be read.
    #[error(transparent)]
    Redis(#[from] QueueError),
}

/// Reads a recording; none where it is gone, or cannot be read.
pub async fn read(queue: &Queue, entry: &RecordingEntry) -> Result<Option<Recording>, QueueError> {
    let Some(bytes) = queue.recording(&entry.id, entry.attempt).await? else {
        return Ok(None);
    };
    let recording = Recording::decode(&bytes);
    let pass_over = |error: &_| warn!(job_id = entry.id, %error, "recording is skipped");
    Ok(recording.inspect_err(pass_over).ok())
}

/// A rehearsal that goes on: one recording after the other, so that one is in memory at a time.
pub struct Rehearsal {
    engine: Arc<Engine>,
    candidate: Vec<u8>,
    env: Env,
    loaded: Option<Processor>,
    /// The versions that ran the recorded attempts, as far as they are available, to compare time and memory.
    before: BTreeMap<String, Option<Arc<Processor>>>,
    now: Cost,
    then: Cost,
    compared: u32,
    report: Report,
}

/// What a version takes for the attempts of a rehearsal.
#[derive(Default)]
struct Cost {
    cpu: Duration,
    memory_bytes: usize,
}

impl Cost {
    fn add(&mut self, rerun: &Rerun) {
        self.cpu += rerun.cpu;
        self.memory_bytes += rerun.memory_bytes;
    }
}

impl Rehearsal {
    /// Begins the rehearsal of a candidate.
    pub fn new(engine: &Arc<Engine>, candidate: Vec<u8>, env: Env) -> Self {
        Rehearsal {
            engine: Arc::clone(engine),
            candidate,
            env,
            loaded: None,
            before: BTreeMap::new(),
            now: Cost::default(),
            then: Cost::default(),
            compared: 0,
            report: Report::default(),
        }
    }

    /// Names a version that ran recorded attempts, or says that it is not available.
    pub fn set_before(&mut self, digest: &str, processor: Option<Arc<Processor>>) {
        self.before.insert(digest.to_owned(), processor);
    }

    /// Runs the newest recorded attempts of a queue; until `gives_up` says so, after any of them.
    pub async fn run_newest(
        mut self,
        queue: &Queue,
        count: NonZeroUsize,
        gives_up: impl Fn() -> bool,
    ) -> Result<Report, NotRehearsed> {
        let deployments = Deployments::of(queue);
        for entry in queue.recordings(count.get()).await? {
            if gives_up() {
                break;
            }
            let Some(recording) = read(queue, &entry).await? else {
                continue;
            };
            if !self.before.contains_key(&recording.component) {
                let component = deployments.component(&recording.component).await?;
                let processor = match component {
                    Some(component) => self.engine.load(component, &Policy::unjudged()).await.ok(),
                    None => None,
                };
                self.set_before(&recording.component, processor.map(Arc::new));
            }
            self.run(&recording).await?;
        }
        Ok(self.end())
    }

    /// Runs one recorded attempt.
    pub async fn run(&mut self, recording: &Recording) -> Result<(), NotRehearsed> {
        let policy = recording.policy(&self.env);
        let candidate = match self.loaded.take() {
            Some(candidate) => candidate,
            None => {
                let component = std::mem::take(&mut self.candidate);
                self.engine.load(component, &policy).await?
            }
        };
        let mut limited = (*policy).clone();
        let deadline_ms = (recording.cpu_us / 1_000).saturating_mul(DEADLINE_RATIO);
        let limits = &mut limited.limits;
        limits.deadline_ms = limits.deadline_ms.min(deadline_ms.max(DEADLINE_MIN_MS));
        let limited = Arc::new(limited);
        // Live jobs have their places, too.
        let place = self.engine.place().await;
        let rerun = recording
            .clone()
            .rerun(&self.engine, &candidate, &limited)
            .await;
        let before = self.before.get(&recording.component).cloned().flatten();
        if rerun.departure.is_none()
            && let Some(before) = before
        {
            let before = recording
                .clone()
                .rerun(&self.engine, &before, &policy)
                .await;
            self.then.add(&before);
            self.now.add(&rerun);
            self.compared += 1;
        }
        drop(place);
        self.loaded = Some(candidate);
        self.report.attempts.push(Rehearsed {
            id: recording.job.id.to_string(),
            attempt: recording.job.attempts_started,
            found: found(recording, rerun),
        });
        Ok(())
    }

    /// What it found.
    pub fn end(mut self) -> Report {
        if self.compared == 0 {
            return self.report;
        }
        let (now, then) = (&self.now, &self.then);
        let cpu = now.cpu.as_secs_f64() / then.cpu.as_secs_f64().max(f64::MIN_POSITIVE);
        let memory = now.memory_bytes as f64 / then.memory_bytes.max(1) as f64;
        let report = &mut self.report;
        (report.cpu_ratio, report.memory_ratio) = (Some(cpu), Some(memory));
        if cpu > CPU_RATIO_MAX && now.cpu.saturating_sub(then.cpu) / self.compared > CPU_NOISE {
            let reason = format!("it takes {cpu:.1} times the processor time");
            report.too_much.push(reason);
        }
        let more = now.memory_bytes.saturating_sub(then.memory_bytes) / self.compared as usize;
        if memory > MEMORY_RATIO_MAX && more > MEMORY_NOISE_BYTES {
            let reason = format!("it takes {memory:.1} times the memory");
            report.too_much.push(reason);
        }
        self.report
    }
}

fn found(recording: &Recording, rerun: Rerun) -> Found {
    let learned = &recording.learned;
    let not_comparable = |reason: &str| Found::NotComparable {
        reason: reason.to_owned(),
    };
    if let Some(what) = learned.unrecorded.first() {
        return not_comparable(&format!("{what} is in no recording"));
    }
    let did_the_same = rerun.departure.is_none() && rerun.missing.is_none();
    if learned.is_stopped && did_the_same {
        return match rerun.outcome == recording.outcome {
            true => Found::Same,
            false => not_comparable("the attempt was stopped from outside"),
        };
    }
    if rerun.is_same(recording) {
        return Found::Same;
    }
    if learned.is_cut && rerun.departure == Some(Departure::Cut) {
        return not_comparable("the recording has reached its limit of bytes");
    }
    let failed = matches!(recording.outcome, Outcome::Failed { .. });
    let goes_on = rerun
        .departure
        .as_ref()
        .is_some_and(Departure::is_beyond_the_end);
    let departure = rerun.departure.map(|departure| departure.to_string());
    let missing = rerun
        .missing
        .map(|call| format!("it ends where the recorded attempt continued with {call}"));
    match (departure, rerun.outcome) {
        // What comes after the failure was never recorded.
        (Some(departure), _) if failed && goes_on => Found::Fixed {
            now: format!("goes on: {departure}"),
        },
        (Some(departure), _) => Found::OtherCalls { departure },
        (None, Outcome::Failed { message, .. }) => Found::NewFailure { reason: message },
        (None, now) if failed => Found::Fixed { now: brief(&now) },
        (None, now) => match missing {
            Some(departure) => Found::OtherCalls { departure },
            None => Found::OtherValue {
                recorded: brief(&recording.outcome),
                now: brief(&now),
            },
        },
    }
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed(value) => format!("completed: {value}"),
        Outcome::Failed { message, .. } => format!("failed: {message}"),
        Outcome::Moved(to) => format!("moved to {}", to.state()),
        other => format!("{other:?}"),
    }
}
