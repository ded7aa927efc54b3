//! How a host serves a queue: each option is defined once, in [`with_worker_options`], for all surfaces.
//!
//! | surface | name of an option | where |
//! |---|---|---|
//! | embedding | the field of [`WorkerOptions`] | here |
//! | `toril.toml` | the same | `served_queue::spec::QueueFile` |
//! | admin API | BullMQ's, given beside the field | [`ApiWorkerOptions`] |
//!
//! To add an option, add it to the list. Where its form differs between surfaces, name a type for the API, or a
//! function for the file.

pub(crate) mod in_file;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toril_queue::{KeepJobs, Limiter};
use utoipa::ToSchema;

/// The list of all options, handed to a macro that defines something of them. An entry is
/// `field: type = default, "name in the API" type in the API;`, with the attributes that the file's form needs.
macro_rules! with_worker_options {
    ($define:ident) => {
        $define! {
            /// How many jobs may run at once. The default is higher than BullMQ's 1, because an instance costs microseconds.
            concurrency: usize = 50, "concurrency" usize;
            /// How long a lock lasts without renewal, in ms.
            lock_duration_ms: u64 = 30_000, "lockDuration" u64;
            /// How often locks are renewed, in ms (default: half of the time that they last).
            lock_renew_time_ms: Option<u64> = None, "lockRenewTime" u64;
            /// How often to look for jobs of dead workers, in ms.
            stalled_interval_ms: u64 = 30_000, "stalledInterval" u64;
            /// How often a job may return to the queue because its worker died.
            max_stalled_count: u32 = 1, "maxStalledCount" u32;
            /// How often a job may be started, whatever its outcome.
            max_started_attempts: Option<u32> = None, "maxStartedAttempts" u32;
            /// How long to wait on an empty queue before looking again: in ms, and in the API in seconds.
            drain_delay_ms: u64 = 5_000, "drainDelay" Seconds;
            /// The name of the worker. It becomes `processedBy`, and part of the name that `getWorkers` shows.
            name: Option<String> = None, "name" String;
            /// How many jobs may start within a time.
            #[serde(with = "crate::worker::options::in_file::limiter")]
            #[schemars(with = "Option<crate::worker::options::in_file::LimiterInFile>")]
            limiter: Option<Limiter> = None, "limiter" LimiterOptions;
            /// How long to wait at most before looking again at a queue whose rate is limited, in ms.
            maximum_rate_limit_delay_ms: u64 = 30_000, "maximumRateLimitDelay" u64;
            /// How long to wait at most before calling Redis again after it did not answer, in ms.
            run_retry_delay_ms: u64 = 2_000, "runRetryDelay" u64;
            /// Which completed jobs to keep, unless the job says otherwise.
            #[serde(with = "crate::worker::options::in_file::keep_jobs")]
            #[schemars(with = "crate::worker::options::in_file::KeepInFile")]
            remove_on_complete: KeepJobs = KeepJobs::ALL, "removeOnComplete" KeepRule;
            /// Which failed jobs to keep, unless the job says otherwise.
            #[serde(with = "crate::worker::options::in_file::keep_jobs")]
            #[schemars(with = "crate::worker::options::in_file::KeepInFile")]
            remove_on_fail: KeepJobs = KeepJobs::ALL, "removeOnFail" KeepRule;
            /// Minutes of metrics to keep (default: none are collected).
            metrics_points: Option<u32> = None, "metrics" MetricsOptions;
            /// Custom backoff strategies by name: the delays before the next attempts, in ms. The last delay repeats.
            backoff: BTreeMap<String, Vec<u64>> = BTreeMap::new(), "backoff" Backoffs;
            /// Does not look for jobs of dead workers: other workers do.
            skip_stalled_check: bool = false, "skipStalledCheck" bool;
            /// Does not renew locks: only for jobs that take less time than a lock lasts.
            skip_lock_renewal: bool = false, "skipLockRenewal" bool;
            /// Starts at once. If it is false, the queue is paused until it is resumed.
            autorun: bool = true, "autorun" bool;
            /// How many bytes of data and options the jobs that are held at once may have, the first job aside.
            held_bytes_max: usize = 256 << 20, "heldBytesMax" usize;
        }
    };
}
pub(crate) use with_worker_options;

macro_rules! define_options {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($($file:tt)+)])?
        $(#[schemars($($schema:tt)+)])?
        $field:ident: $type:ty = $default:expr, $api:tt $api_type:ident;
    )+) => {
        /// How a host serves a queue. The names and defaults are those of BullMQ's `WorkerOptions`, but for `concurrency`.
        #[derive(Debug, Clone, PartialEq)]
        pub struct WorkerOptions {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for WorkerOptions {
            fn default() -> Self {
                WorkerOptions { $($field: $default,)+ }
            }
        }

        /// BullMQ's `WorkerOptions` under BullMQ's names. Times are in milliseconds, `drainDelay` in seconds.
        #[derive(Debug, Default, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = Options)]
        pub(crate) struct ApiWorkerOptions {
            /// The prefix of the queue's keys (default: the host's).
            pub(crate) prefix: Option<String>,
            $($(#[doc = $doc])+ #[serde(rename = $api)] $field: Option<$api_type>,)+
        }

        impl From<ApiWorkerOptions> for WorkerOptions {
            fn from(api: ApiWorkerOptions) -> Self {
                let mut options = WorkerOptions::default();
                $(if let Some(value) = api.$field {
                    options.$field = value.into();
                })+
                options
            }
        }
    };
}
with_worker_options!(define_options);

/// Nearly two years.
const METRICS_POINTS_MAX: u32 = 1_000_000;

/// Ten years: Redis refuses to wait for much longer, or to keep a key.
const TIME_MS_MAX: u64 = 315_360_000_000;

/// Strategies that no option can replace.
const BUILT_IN_BACKOFFS: [&str; 2] = ["fixed", "exponential"];

/// A time in seconds.
#[derive(Debug, Deserialize, ToSchema)]
struct Seconds(f64);

impl From<Seconds> for u64 {
    fn from(Seconds(seconds): Seconds) -> u64 {
        (seconds * 1000.0) as u64
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimiterOptions {
    /// How many jobs.
    max: u32,
    /// The time in milliseconds.
    duration: u64,
}

impl From<LimiterOptions> for Option<Limiter> {
    fn from(options: LimiterOptions) -> Self {
        Some(Limiter {
            max: options.max,
            duration_ms: options.duration,
        })
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MetricsOptions {
    /// How many minutes.
    max_data_points: u32,
}

impl From<MetricsOptions> for Option<u32> {
    fn from(options: MetricsOptions) -> Self {
        Some(options.max_data_points)
    }
}

#[derive(Debug, Deserialize, ToSchema)]
struct Backoffs(BTreeMap<String, Vec<u64>>);

impl From<Backoffs> for BTreeMap<String, Vec<u64>> {
    fn from(Backoffs(strategies): Backoffs) -> Self {
        strategies
    }
}

/// `true`, a count, or `{ count, age, limit }`, as in BullMQ; `age` is in seconds.
#[derive(Debug, ToSchema)]
#[schema(value_type = Object)]
struct KeepRule(KeepJobs);

impl From<KeepRule> for KeepJobs {
    fn from(KeepRule(rule): KeepRule) -> Self {
        rule
    }
}

impl<'de> Deserialize<'de> for KeepRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        in_file::keep_jobs::deserialize(deserializer).map(KeepRule)
    }
}

impl WorkerOptions {
    /// How often a job may be picked up; as in BullMQ, 0 is no limit.
    pub(super) fn started_attempts_max(&self) -> Option<u32> {
        self.max_started_attempts.filter(|max| *max > 0)
    }

    /// How often locks are renewed, in ms.
    pub(super) fn lock_renew_time_ms(&self) -> u64 {
        let half = (self.lock_duration_ms / 2).max(1);
        self.lock_renew_time_ms.unwrap_or(half)
    }

    /// Minutes of metrics to keep; as in BullMQ, 0 collects none.
    pub(super) fn metrics_points(&self) -> Option<u32> {
        self.metrics_points.filter(|points| *points > 0)
    }

    /// Refuses what would stop a queue.
    pub(crate) fn check(&self) -> Result<(), String> {
        Self::check_concurrency(self.concurrency)?;
        self.check_times()?;
        self.check_backoff()?;
        if self
            .metrics_points
            .is_some_and(|points| points > METRICS_POINTS_MAX)
        {
            return Err(format!(
                "`metrics_points` must be {METRICS_POINTS_MAX} or less: one is for a minute, and a queue that was idle for as long has all of them written at once"
            ));
        }
        let name = self.name.as_deref().unwrap_or_default();
        if !name.chars().all(|c| c.is_ascii_graphic()) {
            return Err(
                "`name` must be of printable ASCII characters without spaces: Redis lists workers by it"
                    .to_owned(),
            );
        }
        match self.limiter {
            Some(limiter) if limiter.max == 0 => Err("`limiter.max` must be 1 or more".to_owned()),
            _ => Ok(()),
        }
    }

    /// Refuses a number of jobs at once that would stop a queue, or that no host can run.
    pub(crate) fn check_concurrency(concurrency: usize) -> Result<(), String> {
        match u32::try_from(concurrency) {
            Ok(0) => Err("`concurrency` must be 1 or more".to_owned()),
            Ok(_) => Ok(()),
            Err(_) => Err(format!("`concurrency` must be {} or less", u32::MAX)),
        }
    }

    fn check_times(&self) -> Result<(), String> {
        let limiter = self.limiter.map_or(1, |limiter| limiter.duration_ms);
        for (name, value) in [
            ("lock_duration_ms", self.lock_duration_ms),
            ("stalled_interval_ms", self.stalled_interval_ms),
            ("drain_delay_ms", self.drain_delay_ms),
            (
                "maximum_rate_limit_delay_ms",
                self.maximum_rate_limit_delay_ms,
            ),
            ("run_retry_delay_ms", self.run_retry_delay_ms),
            ("lock_renew_time_ms", self.lock_renew_time_ms()),
            ("limiter.duration_ms", limiter),
        ] {
            if value == 0 {
                return Err(format!("`{name}` must be 1 or more"));
            }
            check_time(name, value)?;
        }
        if self
            .lock_renew_time_ms
            .is_some_and(|time| time >= self.lock_duration_ms)
        {
            return Err("`lock_renew_time_ms` must be below `lock_duration_ms`".to_owned());
        }
        Ok(())
    }

    fn check_backoff(&self) -> Result<(), String> {
        for (name, delays) in &self.backoff {
            if BUILT_IN_BACKOFFS.contains(&name.as_str()) {
                return Err(format!(
                    "`backoff.{name}` cannot be set: BullMQ has a strategy of this name"
                ));
            }
            if delays.is_empty() {
                return Err(format!("`backoff.{name}` must have one delay or more"));
            }
            for delay in delays {
                check_time(&format!("backoff.{name}"), *delay)?;
            }
        }
        Ok(())
    }
}

fn check_time(name: &str, ms: u64) -> Result<(), String> {
    match ms <= TIME_MS_MAX {
        true => Ok(()),
        false => Err(format!(
            "`{name}` must be {TIME_MS_MAX} ms (ten years) or less"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_api(json: &str) -> Result<WorkerOptions, serde_json::Error> {
        serde_json::from_str::<ApiWorkerOptions>(json).map(WorkerOptions::from)
    }

    /// The description is derived from the same macro as the reader, by another crate.
    #[test]
    fn description_of_the_api_has_the_names_that_it_reads() {
        let schema = <ApiWorkerOptions as utoipa::PartialSchema>::schema();
        let schema = serde_json::to_value(schema).unwrap();
        let names = schema["properties"].as_object().unwrap().keys();
        for name in names {
            let read = from_api(&serde_json::json!({ name: null }).to_string());
            assert!(read.is_ok(), "{name}: {read:?}");
        }
    }

    #[test]
    fn api_has_the_names_and_units_of_bullmq() {
        let options = from_api(
            r#"{ "concurrency": 7, "lockDuration": 1000, "drainDelay": 0.5, "name": "w1",
                 "limiter": { "max": 3, "duration": 100 }, "metrics": { "maxDataPoints": 9 },
                 "removeOnComplete": true, "removeOnFail": { "age": 60, "count": 5 },
                 "backoff": { "slow": [1, 2] }, "autorun": false, "lockRenewTime": 300,
                 "maximumRateLimitDelay": 400, "runRetryDelay": 500, "maxStartedAttempts": null }"#,
        );
        let expected = WorkerOptions {
            concurrency: 7,
            lock_duration_ms: 1000,
            drain_delay_ms: 500,
            name: Some("w1".into()),
            limiter: Some(Limiter {
                max: 3,
                duration_ms: 100,
            }),
            metrics_points: Some(9),
            remove_on_complete: KeepJobs {
                count: Some(0),
                ..KeepJobs::ALL
            },
            remove_on_fail: KeepJobs {
                count: Some(5),
                age_s: Some(60.0),
                limit: None,
            },
            backoff: [("slow".to_owned(), vec![1, 2])].into(),
            autorun: false,
            lock_renew_time_ms: Some(300),
            maximum_rate_limit_delay_ms: 400,
            run_retry_delay_ms: 500,
            ..WorkerOptions::default()
        };
        assert_eq!(options.unwrap(), expected);
        assert_eq!(from_api("{}").unwrap(), WorkerOptions::default());
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for json in [
            r#"{ "concurency": 1 }"#,
            r#"{ "lock_duration_ms": 1 }"#,
            r#"{ "removeOnFail": { "cuont": 5 } }"#,
            r#"{ "limiter": { "max": 1, "duration_ms": 1 } }"#,
        ] {
            let error = from_api(json).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{json}: {error}");
        }
    }

    #[test]
    fn values_that_would_stop_a_queue_are_refused() {
        for json in [
            r#"{ "concurrency": 0 }"#,
            r#"{ "lockDuration": 0 }"#,
            r#"{ "stalledInterval": 0 }"#,
            r#"{ "drainDelay": 0 }"#,
            r#"{ "drainDelay": -1 }"#,
            r#"{ "maximumRateLimitDelay": 0 }"#,
            r#"{ "runRetryDelay": 0 }"#,
            r#"{ "lockRenewTime": 0 }"#,
            r#"{ "lockRenewTime": 30000 }"#,
            r#"{ "lockDuration": 10, "lockRenewTime": 11 }"#,
            r#"{ "metrics": { "maxDataPoints": 1000001 } }"#,
            r#"{ "name": "with space" }"#,
            r#"{ "limiter": { "max": 0, "duration": 1 } }"#,
            r#"{ "limiter": { "max": 1, "duration": 0 } }"#,
            r#"{ "limiter": { "max": 1, "duration": 9223372036854775807 } }"#,
            r#"{ "concurrency": 18446744073709551615 }"#,
            r#"{ "lockDuration": 9223372036854775807 }"#,
            r#"{ "stalledInterval": 9223372036854775807 }"#,
            r#"{ "drainDelay": 9e300 }"#,
            r#"{ "drainDelay": 315360001 }"#,
            r#"{ "maximumRateLimitDelay": 315360000001 }"#,
            r#"{ "runRetryDelay": 18446744073709551615 }"#,
            r#"{ "backoff": { "a": [] } }"#,
            r#"{ "backoff": { "a": [1, 18446744073709551615] } }"#,
            r#"{ "backoff": { "fixed": [1] } }"#,
            r#"{ "backoff": { "exponential": [1] } }"#,
        ] {
            assert!(from_api(json).unwrap().check().is_err(), "{json}");
        }
    }
}
