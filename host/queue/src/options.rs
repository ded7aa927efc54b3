//! Job options as BullMQ stores them: JSON with a few short keys.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The options of a stored job that its worker looks at.
///
/// Each option is read by itself: one that cannot be read counts as absent and loses no other.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct JobOptions {
    /// How often the job may be tried; 0 and 1 mean once.
    #[serde(deserialize_with = "lenient")]
    pub attempts: Option<f64>,
    /// How long to wait before the next attempt.
    #[serde(deserialize_with = "lenient")]
    pub backoff: Option<Backoff>,
    /// Add to, and retry at, the head of the line.
    #[serde(deserialize_with = "lenient")]
    pub lifo: Option<bool>,
    /// Which completed jobs to keep.
    #[serde(rename = "removeOnComplete", deserialize_with = "lenient")]
    pub remove_on_complete: Option<KeepJobs>,
    /// Which failed jobs to keep.
    #[serde(rename = "removeOnFail", deserialize_with = "lenient")]
    pub remove_on_fail: Option<KeepJobs>,
    /// How many stack traces to keep, newest last.
    #[serde(rename = "stackTraceLimit", deserialize_with = "lenient")]
    pub stack_trace_limit: Option<f64>,
    /// The trace that the producer began: a carrier of its context, JSON text.
    #[serde(rename = "tm", deserialize_with = "lenient")]
    pub trace: Option<String>,
    /// How many log lines to keep.
    #[serde(rename = "kl", deserialize_with = "lenient")]
    pub keep_logs: Option<f64>,
}

impl JobOptions {
    /// Reads stored options; what is not an object has none.
    pub fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "StoredBackoff")]
pub struct Backoff {
    /// `fixed`, `exponential`, or the name of a strategy of the user's.
    pub kind: String,
    /// Milliseconds.
    pub delay_ms: f64,
    /// The share of the delay that is random, 0 to 1.
    pub jitter: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredBackoff {
    Delay(f64),
    Strategy {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        delay: f64,
        #[serde(default)]
        jitter: f64,
    },
}

impl From<StoredBackoff> for Backoff {
    fn from(stored: StoredBackoff) -> Self {
        match stored {
            StoredBackoff::Delay(delay_ms) => Backoff {
                kind: "fixed".into(),
                delay_ms,
                jitter: 0.0,
            },
            StoredBackoff::Strategy {
                kind,
                delay,
                jitter,
            } => Backoff {
                kind,
                delay_ms: delay,
                jitter,
            },
        }
    }
}

impl Backoff {
    /// The delay in ms before the attempt after the `attempts_made`th; `random` is in 0..1.
    ///
    /// A strategy that is not one of BullMQ's own waits its plain delay.
    pub fn delay_after(&self, attempts_made: u32, random: f64) -> u64 {
        let longest = match self.kind.as_str() {
            "exponential" => {
                let doublings = f64::from(attempts_made.saturating_sub(1));
                (2f64.powf(doublings) * self.delay_ms).round()
            }
            _ => self.delay_ms,
        };
        let jitter = self.jitter.clamp(0.0, 1.0);
        let delay = if jitter > 0.0 {
            (random * longest * jitter + longest * (1.0 - jitter)).floor()
        } else {
            longest
        };
        // `as` saturates, and turns what is no number into 0.
        delay as u64
    }
}

/// Which finished jobs to keep (`removeOnComplete`, `removeOnFail`).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "StoredKeepJobs")]
pub struct KeepJobs {
    /// Keeps this many of the newest; 0 keeps none, absent or negative keeps all.
    pub count: Option<i64>,
    /// Keeps them for this many seconds.
    pub age_s: Option<f64>,
    /// Removes at most this many by age in one go.
    pub limit: Option<u64>,
}

impl KeepJobs {
    /// Keeps every job.
    pub const ALL: KeepJobs = KeepJobs {
        count: None,
        age_s: None,
        limit: None,
    };
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredKeepJobs {
    Remove(bool),
    Count(f64),
    Rule {
        count: Option<f64>,
        age: Option<f64>,
        limit: Option<f64>,
    },
}

impl From<StoredKeepJobs> for KeepJobs {
    fn from(stored: StoredKeepJobs) -> Self {
        let count_only = |count| KeepJobs {
            count: Some(count),
            ..KeepJobs::ALL
        };
        match stored {
            StoredKeepJobs::Remove(true) => count_only(0),
            StoredKeepJobs::Remove(false) => KeepJobs::ALL,
            StoredKeepJobs::Count(count) => count_only(count as i64),
            StoredKeepJobs::Rule { count, age, limit } => KeepJobs {
                count: count.map(|count| count as i64),
                age_s: age,
                limit: limit.map(|limit| limit as u64),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_that_cannot_be_read_loses_no_other() {
        let options = JobOptions::parse(
            r#"{"attempts":3,"backoff":{"delay":[]},"removeOnComplete":{"age":5,"count":2},"kl":"x","new":1}"#,
        );
        assert_eq!(options.attempts, Some(3.0));
        assert_eq!(options.backoff, None);
        assert_eq!(options.keep_logs, None);
        assert_eq!(
            options.remove_on_complete,
            Some(KeepJobs {
                count: Some(2),
                age_s: Some(5.0),
                limit: None
            })
        );
    }

    #[test]
    fn options_that_are_no_object_are_none() {
        assert_eq!(JobOptions::parse("[1"), JobOptions::default());
        assert_eq!(JobOptions::parse("7"), JobOptions::default());
    }

    #[test]
    fn keep_jobs_reads_all_forms() {
        let keep = |json: &str| serde_json::from_str::<KeepJobs>(json).unwrap();
        assert_eq!(keep("true").count, Some(0));
        assert_eq!(keep("false"), KeepJobs::ALL);
        assert_eq!(keep("100").count, Some(100));
        assert_eq!(
            keep(r#"{"age":60}"#),
            KeepJobs {
                age_s: Some(60.0),
                ..KeepJobs::ALL
            }
        );
    }

    #[test]
    fn backoff_grows_and_jitters_as_bullmq_documents() {
        let backoff = |json: &str| serde_json::from_str::<Backoff>(json).unwrap();
        assert_eq!(backoff("250").delay_after(3, 0.5), 250);
        let exponential = backoff(r#"{"type":"exponential","delay":100}"#);
        assert_eq!(
            [1, 2, 3].map(|made| exponential.delay_after(made, 0.0)),
            [100, 200, 400]
        );
        let jittered = backoff(r#"{"type":"fixed","delay":1000,"jitter":0.5}"#);
        assert_eq!(
            [0.0, 0.5, 0.999].map(|random| jittered.delay_after(1, random)),
            [500, 750, 999]
        );
        assert_eq!(
            backoff(r#"{"type":"exponential","delay":1e300}"#).delay_after(900, 0.0),
            u64::MAX
        );
    }
}
