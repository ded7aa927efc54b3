//! A candidate that takes some of the jobs, and what came of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Version;
use super::verdict::Counts;
use toril_queue::Job;

/// Which jobs a candidate takes, and when it is aborted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CanaryRule {
    /// The share of the jobs, in percent.
    pub percent: f64,
    /// The names of the jobs; an empty list means all names.
    pub jobs: Vec<String>,
    /// The candidate is aborted if the share of its jobs that fail at their first attempt exceeds that of the active version
    /// by more than this many percent, and by more than chance explains.
    pub margin_percent: f64,
    /// How many jobs must have finished their first attempts on each version before the candidate can be aborted.
    pub minimum: u64,
}

impl Default for CanaryRule {
    fn default() -> Self {
        CanaryRule {
            percent: 100.0,
            jobs: Vec::new(),
            margin_percent: 5.0,
            minimum: 20,
        }
    }
}

impl CanaryRule {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), String> {
        let is_percentage = |value: f64| (0.0..=100.0).contains(&value);
        if !is_percentage(self.percent) || !is_percentage(self.margin_percent) {
            return Err("percentages of a canary must be between 0 and 100".into());
        }
        if self.percent == 0.0 {
            return Err("a canary of 0 % would get no job: give it a share of the jobs".into());
        }
        if self.minimum == 0 {
            return Err("the minimum of a canary must be 1 or more".into());
        }
        if self.jobs.iter().any(String::is_empty) {
            return Err("the name of a job that a canary takes must not be empty".into());
        }
        Ok(())
    }

    fn is_for(&self, job_name: &str) -> bool {
        self.jobs.is_empty() || self.jobs.iter().any(|name| name == job_name)
    }

    /// A job is always taken, or never: its later attempts go where the first one went, on every host.
    fn takes(&self, candidate: &str, job_name: &str, job_id: &str) -> bool {
        if !self.is_for(job_name) {
            return false;
        }
        let hash = Sha256::new()
            .chain_update(candidate)
            .chain_update(job_id)
            .finalize();
        let place = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        f64::from(place) / (f64::from(u32::MAX) + 1.0) * 100.0 < self.percent
    }
}

/// How jobs ended their first attempts, by who ran them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The active version's jobs.
    pub active: Counts,
    /// The candidate's.
    pub candidate: Counts,
}

/// A candidate at work.
pub struct Canary {
    /// The revision of the deployment with which it began.
    pub id: u64,
    /// The candidate.
    pub version: Arc<Version>,
    /// What it takes.
    pub rule: CanaryRule,
    /// Whose counts these are: they begin at zero wherever a host begins to run the candidate.
    pub counter: Uuid,
    active: [AtomicU64; 2],
    candidate: [AtomicU64; 2],
}

impl Canary {
    /// A candidate that took no job yet.
    pub fn new(id: u64, version: Arc<Version>, rule: CanaryRule) -> Arc<Self> {
        Arc::new(Canary {
            id,
            version,
            rule,
            counter: Uuid::new_v4(),
            active: Default::default(),
            candidate: Default::default(),
        })
    }

    pub(super) fn takes(&self, job: &Job) -> bool {
        self.rule.takes(self.version.digest(), &job.name, &job.id)
    }

    /// A job counts once, by its first attempt: one that is tried again says nothing new. It counts for the active version,
    /// too, only if the candidate could have taken it.
    pub(super) fn counts(&self, job: &Job) -> bool {
        job.attempts_made == 0 && self.rule.is_for(&job.name)
    }

    pub(super) fn count(&self, is_candidate: bool, failed: bool) {
        let counts = if is_candidate {
            &self.candidate
        } else {
            &self.active
        };
        counts[usize::from(failed)].fetch_add(1, Ordering::Relaxed);
    }

    /// What ended here. It only grows, so that it can be reported any number of times.
    pub fn tally(&self) -> Tally {
        let load = |counts: &[AtomicU64; 2]| [0, 1].map(|at| counts[at].load(Ordering::Relaxed));
        Tally {
            active: load(&self.active),
            candidate: load(&self.candidate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_kept_and_a_job_stays_where_it_is() {
        let rule = CanaryRule {
            percent: 10.0,
            ..CanaryRule::default()
        };
        let taken = |digest: &str| {
            (0..10_000)
                .filter(|id: &u32| rule.takes(digest, "any", &id.to_string()))
                .collect::<Vec<_>>()
        };
        let jobs = taken("sha256:a");
        assert!((900..1100).contains(&jobs.len()), "{} jobs", jobs.len());
        assert_eq!(jobs, taken("sha256:a"));
        assert_ne!(jobs, taken("sha256:b"), "another candidate, other jobs");
    }

    #[test]
    fn job_counts_once_and_only_where_the_candidate_could_have_taken_it() {
        let rule = CanaryRule {
            jobs: vec!["walls".into()],
            ..CanaryRule::default()
        };
        assert!(rule.is_for("walls") && !rule.is_for("floor"));
        assert!(CanaryRule::default().is_for("floor"));
    }

    #[test]
    fn all_none_and_named_jobs() {
        let rule = |percent, jobs: &[&str]| CanaryRule {
            percent,
            jobs: jobs.iter().map(|name| (*name).to_owned()).collect(),
            ..CanaryRule::default()
        };
        for id in 0..1000 {
            let id = id.to_string();
            assert!(rule(100.0, &[]).takes("d", "any", &id));
            assert!(!rule(0.0, &[]).takes("d", "any", &id));
            assert!(rule(100.0, &["paint"]).takes("d", "paint", &id));
            assert!(!rule(100.0, &["paint"]).takes("d", "fix", &id));
        }
        for percent in [101.0, -1.0, 0.0, -0.0, f64::NAN] {
            assert!(rule(percent, &[]).check().is_err(), "{percent}");
        }
        assert!(
            rule(100.0, &[""]).check().is_err() && rule(100.0, &["paint", ""]).check().is_err()
        );
    }
}
