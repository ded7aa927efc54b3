//! What a host counts, for Prometheus. Each metric is defined where it is registered, in [`Metrics::new`]: its name and
//! meaning; its kind and its labels follow from its type. Knows nothing of queues: the gauges are handed in.

use std::fmt::{Debug, Write as _};
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use toril_sandbox::Outcome;

/// What is known of a metric beside its values. The book lists them; a test compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The whole name; of a counter with `_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub meaning: &'static str,
}

/// A kind of metric, by its name in the text format.
trait Kind {
    const NAME: &'static str;
}

impl<N, A> Kind for Counter<N, A> {
    const NAME: &'static str = "counter";
}

impl Kind for Gauge {
    const NAME: &'static str = "gauge";
}

impl Kind for Histogram {
    const NAME: &'static str = "histogram";
}

/// A label's value that comes from outside. The library writes values as they are: one with a quotation mark would end
/// early, and make the whole text unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Text(String);

impl EncodeLabelValue for Text {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        for character in self.0.chars() {
            match character {
                '\\' => encoder.write_str("\\\\")?,
                '"' => encoder.write_str("\\\"")?,
                '\n' => encoder.write_str("\\n")?,
                other => encoder.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.to_owned())
    }
}

/// Defines sets of labels, with the names that they are described by.
macro_rules! labels {
    ($($name:ident { $($label:ident: $type:ty),+ })+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name {
            $($label: $type),+
        }

        impl Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($label)),+];
        }
    )+};
}

trait Labels {
    const NAMES: &'static [&'static str];
}

labels! {
    OfHost { version: &'static str }
    OfMemory { kind: &'static str }
    OfQueue { queue: Text }
    OfOutcome { queue: Text, outcome: OutcomeLabel }
    OfVersion { queue: Text, digest: Text }
    OfServing { queue: Text, digest: Text, role: &'static str }
}

impl OfQueue {
    fn new(queue: &str) -> Self {
        OfQueue {
            queue: queue.into(),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OutcomeLabel {
    Completed,
    Failed,
    Moved,
    Waiting,
    RateLimited,
    Lost,
    HostFailed,
}

impl OutcomeLabel {
    const ALL: [OutcomeLabel; 7] = [
        OutcomeLabel::Completed,
        OutcomeLabel::Failed,
        OutcomeLabel::Moved,
        OutcomeLabel::Waiting,
        OutcomeLabel::RateLimited,
        OutcomeLabel::Lost,
        OutcomeLabel::HostFailed,
    ];
}

impl From<&Outcome> for OutcomeLabel {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed(_) => OutcomeLabel::Completed,
            Outcome::Failed { .. } => OutcomeLabel::Failed,
            Outcome::Moved(_) => OutcomeLabel::Moved,
            Outcome::Wait | Outcome::GivenBack => OutcomeLabel::Waiting,
            Outcome::RateLimited(_) => OutcomeLabel::RateLimited,
            Outcome::Lost => OutcomeLabel::Lost,
            Outcome::HostFailed(_) => OutcomeLabel::HostFailed,
        }
    }
}

impl EncodeLabelValue for OutcomeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            OutcomeLabel::Completed => "completed",
            OutcomeLabel::Failed => "failed",
            OutcomeLabel::Moved => "moved",
            OutcomeLabel::Waiting => "waiting",
            OutcomeLabel::RateLimited => "rate_limited",
            OutcomeLabel::Lost => "lost",
            OutcomeLabel::HostFailed => "host_failed",
        })
    }
}

/// Registers metrics and keeps their descriptions.
#[derive(Default)]
struct Definitions {
    registry: Registry,
    descriptions: Vec<Description>,
}

impl Definitions {
    /// Defines a metric that is there once for each set of its labels.
    fn define<L, M>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        constructor: fn() -> M,
    ) -> Many<L, M>
    where
        L: Labels + EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static,
        M: Kind + EncodeMetric + TypedMetric + Debug + Send + Sync + 'static,
    {
        let family = Family::new_with_constructor(constructor);
        // The library adds `_total` to counters, and a full stop to the meaning.
        let registered = name.trim_end_matches("_total");
        self.registry.register(registered, meaning, family.clone());
        self.descriptions.push(Description {
            name,
            kind: M::NAME,
            labels: L::NAMES,
            meaning,
        });
        family
    }
}

type Seconds = Counter<f64, AtomicU64>;
/// A family whose metrics are made by a function.
type Many<L, M> = Family<L, M, fn() -> M>;

/// All that one host counts.
pub struct Metrics {
    registry: Registry,
    descriptions: Vec<Description>,
    taken: Many<OfQueue, Counter>,
    attempts: Many<OfOutcome, Counter>,
    seconds: Many<OfQueue, Histogram>,
    cpu: Many<OfQueue, Seconds>,
    running: Many<OfQueue, Gauge>,
    concurrency: Many<OfQueue, Gauge>,
    paused: Many<OfQueue, Gauge>,
    serving: Many<OfServing, Gauge>,
    version_running: Many<OfVersion, Gauge>,
    swaps: Many<OfQueue, Counter>,
    refusals: Many<OfQueue, Counter>,
    calls: Many<OfQueue, Counter>,
    redis_errors: Many<OfQueue, Counter>,
    locks_lost: Many<OfQueue, Counter>,
    outcomes_dropped: Many<OfQueue, Counter>,
    ids_without_job: Many<OfQueue, Counter>,
    stalled: Many<OfQueue, Counter>,
    scheduler_errors: Many<OfQueue, Counter>,
    memory: Many<OfMemory, Gauge>,
}

/// The memory of all guests together, in bytes.
pub struct GuestMemory {
    /// What they hold, idle instances included.
    pub held: usize,
    /// What they may hold.
    pub max: usize,
}

/// What is counted of one queue. Clones count together.
#[derive(Clone)]
pub struct QueueMetrics {
    pub(crate) taken: Counter,
    attempts: [Counter; OutcomeLabel::ALL.len()],
    seconds: Histogram,
    cpu: Seconds,
    pub(crate) swaps: Counter,
    pub(crate) refusals: Counter,
    pub(crate) calls: Counter,
    pub(crate) redis_errors: Counter,
    pub(crate) locks_lost: Counter,
    pub(crate) outcomes_dropped: Counter,
    pub(crate) ids_without_job: Counter,
    pub(crate) stalled: Counter,
    pub(crate) scheduler_errors: Counter,
}

impl QueueMetrics {
    pub(crate) fn attempt(&self, outcome: &Outcome, wall: Duration, cpu: Duration) {
        self.attempts[OutcomeLabel::from(outcome) as usize].inc();
        self.seconds.observe(wall.as_secs_f64());
        self.cpu.inc_by(cpu.as_secs_f64());
    }
}

/// What a queue is doing now.
pub struct QueueGauges<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Jobs that are held.
    pub running: usize,
    /// Jobs that may run at once.
    pub concurrency: usize,
    /// True while no jobs are taken.
    pub paused: bool,
    /// The digest of the active version.
    pub active: Option<&'a str>,
    /// The digest of the candidate.
    pub candidate: Option<&'a str>,
    /// The digests of versions, and the attempts that run on each.
    pub versions: Vec<(&'a str, usize)>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of a host that did nothing yet.
    pub fn new() -> Self {
        let mut metrics = Definitions::default();
        let info: Many<OfHost, Gauge> = metrics.define(
            "toril_info",
            "1, with the version of the host",
            Gauge::default,
        );
        let version = env!("CARGO_PKG_VERSION");
        info.get_or_create(&OfHost { version }).set(1);
        Metrics {
            taken: metrics.define(
                "toril_jobs_taken_total",
                "jobs taken from the queue",
                Counter::default,
            ),
            attempts: metrics.define(
                "toril_attempts_total",
                "attempts that ended: completed, failed, moved, waiting, rate_limited, lost or host_failed",
                Counter::default,
            ),
            seconds: metrics.define(
                "toril_attempt_seconds",
                "wall time of an attempt",
                // From 0.1 ms to some 14 minutes.
                || Histogram::new(exponential_buckets(0.0001, 4.0, 12)),
            ),
            cpu: metrics.define(
                "toril_cpu_seconds_total",
                "processor time of attempts, of the guests and of the host on their behalf",
                Counter::default,
            ),
            running: metrics.define(
                "toril_jobs_running",
                "jobs held now: running, or waiting to be settled",
                Gauge::default,
            ),
            concurrency: metrics.define(
                "toril_concurrency",
                "jobs that may run at once",
                Gauge::default,
            ),
            paused: metrics.define("toril_paused", "1 while this host has paused the queue", Gauge::default),
            serving: metrics.define(
                "toril_version_serving",
                "1 for the processor that is active, and for the candidate of a canary",
                Gauge::default,
            ),
            version_running: metrics.define(
                "toril_version_attempts_running",
                "attempts that run now, by processor",
                Gauge::default,
            ),
            swaps: metrics.define(
                "toril_swaps_total",
                "times the active processor was replaced",
                Counter::default,
            ),
            refusals: metrics.define(
                "toril_refusals_total",
                "processors and settings of the queue that were refused",
                Counter::default,
            ),
            calls: metrics.define(
                "toril_settle_calls_total",
                "calls to Redis that settle and fetch jobs",
                Counter::default,
            ),
            redis_errors: metrics.define(
                "toril_redis_errors_total",
                "calls that settle and fetch jobs that Redis refused or did not answer",
                Counter::default,
            ),
            locks_lost: metrics.define(
                "toril_locks_lost_total",
                "running jobs whose lock was lost",
                Counter::default,
            ),
            outcomes_dropped: metrics.define(
                "toril_outcomes_dropped_total",
                "outcomes that were dropped: the lock was lost, the job was taken over or removed, or Redis refused or was unreachable at the end",
                Counter::default,
            ),
            ids_without_job: metrics.define(
                "toril_ids_without_job_total",
                "waiting ids that were dropped because no job belongs to them",
                Counter::default,
            ),
            stalled: metrics.define(
                "toril_stalled_total",
                "jobs of dead workers that this host returned to the queue",
                Counter::default,
            ),
            scheduler_errors: metrics.define(
                "toril_scheduler_errors_total",
                "times a scheduler's job was postponed because its next time could not be computed",
                Counter::default,
            ),
            memory: metrics.define(
                "toril_guest_memory_bytes",
                "memory that all guests hold together (kind `held`), and may hold at most (kind `max`)",
                Gauge::default,
            ),
            registry: metrics.registry,
            descriptions: metrics.descriptions,
        }
    }

    /// What each metric is, in the order of the text.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// The metrics of a queue, to count with.
    pub fn queue(&self, queue: &str) -> QueueMetrics {
        let of = OfQueue::new(queue);
        let counter = |family: &Many<OfQueue, Counter>| family.get_or_create(&of).clone();
        let attempts = OutcomeLabel::ALL.map(|outcome| {
            let queue = queue.into();
            let of = OfOutcome { queue, outcome };
            self.attempts.get_or_create(&of).clone()
        });
        QueueMetrics {
            taken: counter(&self.taken),
            attempts,
            seconds: self.seconds.get_or_create(&of).clone(),
            cpu: self.cpu.get_or_create(&of).clone(),
            swaps: counter(&self.swaps),
            refusals: counter(&self.refusals),
            calls: counter(&self.calls),
            redis_errors: counter(&self.redis_errors),
            locks_lost: counter(&self.locks_lost),
            outcomes_dropped: counter(&self.outcomes_dropped),
            ids_without_job: counter(&self.ids_without_job),
            stalled: counter(&self.stalled),
            scheduler_errors: counter(&self.scheduler_errors),
        }
    }

    /// All metrics, in the text format of OpenMetrics, which Prometheus reads.
    pub fn text<'a>(
        &self,
        queues: impl IntoIterator<Item = QueueGauges<'a>>,
        memory: &GuestMemory,
    ) -> String {
        self.clear_gauges();
        for (kind, bytes) in [("held", memory.held), ("max", memory.max)] {
            let gauge = self.memory.get_or_create(&OfMemory { kind });
            gauge.set(number(bytes));
        }
        for gauges in queues {
            self.set_gauges(&gauges);
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# EOF");
        }
        text
    }

    /// What is gone must not stay.
    fn clear_gauges(&self) {
        for family in [&self.running, &self.concurrency, &self.paused] {
            family.clear();
        }
        self.serving.clear();
        self.version_running.clear();
    }

    fn set_gauges(&self, gauges: &QueueGauges<'_>) {
        let of = OfQueue::new(gauges.queue);
        self.running.get_or_create(&of).set(number(gauges.running));
        self.concurrency
            .get_or_create(&of)
            .set(number(gauges.concurrency));
        self.paused.get_or_create(&of).set(gauges.paused.into());
        for (role, digest) in [("active", gauges.active), ("candidate", gauges.candidate)] {
            if let Some(digest) = digest {
                let of = OfServing {
                    queue: gauges.queue.into(),
                    digest: digest.into(),
                    role,
                };
                self.serving.get_or_create(&of).set(1);
            }
        }
        for (digest, running) in &gauges.versions {
            let of = OfVersion {
                queue: gauges.queue.into(),
                digest: (*digest).into(),
            };
            self.version_running
                .get_or_create(&of)
                .set(number(*running));
        }
    }
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
