//! What a host counts, for Prometheus. Every name is in [`METRICS`], and nowhere else.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::host::QueueStatus;
use toril_sandbox::Outcome;

/// The metrics: name, kind, labels, meaning. The README's table is this one; a test compares them.
pub const METRICS: [[&str; 4]; 16] = [
    [
        "toril_info",
        "gauge",
        "version",
        "1, with the version of the host",
    ],
    [
        "toril_jobs_taken_total",
        "counter",
        "queue",
        "jobs taken from the queue",
    ],
    [
        "toril_attempts_total",
        "counter",
        "queue, outcome",
        "attempts that ended: completed, failed, moved, waiting, rate_limited, lost or host_failed",
    ],
    [
        "toril_attempt_seconds",
        "histogram",
        "queue",
        "wall time of an attempt",
    ],
    [
        "toril_cpu_seconds_total",
        "counter",
        "queue",
        "processor time of attempts, the guest\'s and the host\'s for it",
    ],
    [
        "toril_jobs_running",
        "gauge",
        "queue",
        "jobs that are held now",
    ],
    [
        "toril_concurrency",
        "gauge",
        "queue",
        "jobs that may run at once",
    ],
    [
        "toril_paused",
        "gauge",
        "queue",
        "1 while no jobs are taken",
    ],
    [
        "toril_version_serving",
        "gauge",
        "queue, digest, role",
        "1 for the processor that is active, and for the candidate of a canary",
    ],
    [
        "toril_version_attempts_running",
        "gauge",
        "queue, digest",
        "attempts that run now, by processor",
    ],
    [
        "toril_swaps_total",
        "counter",
        "queue",
        "times the processor was exchanged",
    ],
    [
        "toril_refusals_total",
        "counter",
        "queue",
        "processors that were not taken",
    ],
    [
        "toril_settle_calls_total",
        "counter",
        "queue",
        "calls to redis that settle and take jobs",
    ],
    [
        "toril_redis_errors_total",
        "counter",
        "queue",
        "such calls that redis did not answer",
    ],
    [
        "toril_locks_lost_total",
        "counter",
        "queue",
        "running jobs whose lock was lost",
    ],
    [
        "toril_stalled_total",
        "counter",
        "queue",
        "jobs of dead workers that this host gave back",
    ],
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    queue: String,
    outcome: Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVersion {
    queue: String,
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfServing {
    queue: String,
    digest: String,
    role: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHost {
    version: &'static str,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ended {
    Completed,
    Failed,
    Moved,
    Waiting,
    RateLimited,
    Lost,
    HostFailed,
}

impl Ended {
    const ALL: [Ended; 7] = [
        Ended::Completed,
        Ended::Failed,
        Ended::Moved,
        Ended::Waiting,
        Ended::RateLimited,
        Ended::Lost,
        Ended::HostFailed,
    ];
}

impl From<&Outcome> for Ended {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed(_) => Ended::Completed,
            Outcome::Failed { .. } => Ended::Failed,
            Outcome::Moved(_) => Ended::Moved,
            Outcome::Wait => Ended::Waiting,
            Outcome::RateLimited(_) => Ended::RateLimited,
            Outcome::Lost => Ended::Lost,
            Outcome::HostFailed(_) => Ended::HostFailed,
        }
    }
}

impl EncodeLabelValue for Ended {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Ended::Completed => "completed",
            Ended::Failed => "failed",
            Ended::Moved => "moved",
            Ended::Waiting => "waiting",
            Ended::RateLimited => "rate_limited",
            Ended::Lost => "lost",
            Ended::HostFailed => "host_failed",
        })
    }
}

/// All that one host counts.
pub struct Metrics {
    registry: Registry,
    taken: Family<OfQueue, Counter>,
    attempts: Family<OfOutcome, Counter>,
    seconds: Family<OfQueue, Histogram>,
    cpu: Family<OfQueue, Counter<f64, AtomicU64>>,
    running: Family<OfQueue, Gauge>,
    concurrency: Family<OfQueue, Gauge>,
    paused: Family<OfQueue, Gauge>,
    serving: Family<OfServing, Gauge>,
    version_running: Family<OfVersion, Gauge>,
    swaps: Family<OfQueue, Counter>,
    refusals: Family<OfQueue, Counter>,
    calls: Family<OfQueue, Counter>,
    redis_errors: Family<OfQueue, Counter>,
    locks_lost: Family<OfQueue, Counter>,
    stalled: Family<OfQueue, Counter>,
}

/// What is counted of one queue. Clones count together.
#[derive(Clone)]
pub struct QueueMetrics {
    pub(crate) taken: Counter,
    attempts: [Counter; Ended::ALL.len()],
    seconds: Histogram,
    cpu: Counter<f64, AtomicU64>,
    pub(crate) swaps: Counter,
    pub(crate) refusals: Counter,
    pub(crate) calls: Counter,
    pub(crate) redis_errors: Counter,
    pub(crate) locks_lost: Counter,
    pub(crate) stalled: Counter,
}

impl QueueMetrics {
    pub(crate) fn attempt(&self, outcome: &Outcome, wall: Duration, cpu: Duration) {
        self.attempts[Ended::from(outcome) as usize].inc();
        self.seconds.observe(wall.as_secs_f64());
        self.cpu.inc_by(cpu.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of a host that did nothing yet.
    pub fn new() -> Self {
        // From 0.1 ms to some 14 minutes.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 4.0, 12));
        let mut metrics = Metrics {
            registry: Registry::default(),
            taken: Family::default(),
            attempts: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            cpu: Family::default(),
            running: Family::default(),
            concurrency: Family::default(),
            paused: Family::default(),
            serving: Family::default(),
            version_running: Family::default(),
            swaps: Family::default(),
            refusals: Family::default(),
            calls: Family::default(),
            redis_errors: Family::default(),
            locks_lost: Family::default(),
            stalled: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let info: Family<OfHost, Gauge> = Family::default();
        info.get_or_create(&OfHost {
            version: env!("CARGO_PKG_VERSION"),
        })
        .set(1);
        let registry = &mut self.registry;
        let mut names = METRICS.iter();
        // In the order of the table; the library adds `_total` to counters, and a full stop to the meaning.
        macro_rules! register {
            ($($metric:expr),*) => {$(
                if let Some([name, _, _, meaning]) = names.next() {
                    registry.register(name.trim_end_matches("_total"), *meaning, $metric.clone());
                }
            )*};
        }
        register!(
            info,
            self.taken,
            self.attempts,
            self.seconds,
            self.cpu,
            self.running,
            self.concurrency,
            self.paused,
            self.serving,
            self.version_running,
            self.swaps,
            self.refusals,
            self.calls,
            self.redis_errors,
            self.locks_lost,
            self.stalled
        );
    }

    /// The metrics of a queue, to count with.
    pub fn queue(&self, queue: &str) -> QueueMetrics {
        let of = OfQueue {
            queue: queue.to_owned(),
        };
        let counter =
            |family: &Family<OfQueue, Counter<u64, AtomicU64>>| family.get_or_create(&of).clone();
        let attempts = Ended::ALL.map(|outcome| {
            let of = OfOutcome {
                queue: queue.to_owned(),
                outcome,
            };
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
            stalled: counter(&self.stalled),
        }
    }

    /// All metrics, in the text format of OpenMetrics, which Prometheus reads.
    pub fn text(&self, queues: &[QueueStatus]) -> String {
        self.set_gauges(queues);
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# EOF");
        }
        text
    }

    fn set_gauges(&self, queues: &[QueueStatus]) {
        // What is gone must not stay.
        for family in [&self.running, &self.concurrency, &self.paused] {
            family.clear();
        }
        self.serving.clear();
        self.version_running.clear();
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        for status in queues {
            let of = OfQueue {
                queue: status.queue.clone(),
            };
            self.running.get_or_create(&of).set(number(status.running));
            self.concurrency
                .get_or_create(&of)
                .set(number(status.concurrency));
            self.paused.get_or_create(&of).set(status.paused.into());
            let serving = [("active", &status.digest), ("candidate", &status.candidate)];
            for (role, digest) in serving {
                if let Some(digest) = digest.clone() {
                    let queue = status.queue.clone();
                    let of = OfServing {
                        queue,
                        digest,
                        role,
                    };
                    self.serving.get_or_create(&of).set(1);
                }
            }
            for version in &status.versions {
                let of = OfVersion {
                    queue: status.queue.clone(),
                    digest: version.digest.clone(),
                };
                self.version_running
                    .get_or_create(&of)
                    .set(number(version.in_flight));
            }
        }
    }
}
