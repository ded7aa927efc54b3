//! Requests to cancel jobs, as one host keeps them: which of its starts each is for.
//!
//! A request can be read before the host knows of the start that it is for: the job is still on its way from Redis, or the
//! reply that had it was lost and the job is found again later. So a request is kept until its time has passed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::served_queue::deployment::{Asked, CancelRequest};
use toril_queue::{AttemptId, Job};

/// For how long a request is kept, in Redis and by each host. A job whose host died starts again within this time, unless its
/// lock holds for longer.
pub(crate) const KEPT: Duration = Duration::from_secs(300);
/// For how long at least, also where the clock of Redis jumps.
const KEPT_MIN: Duration = Duration::from_secs(60);
/// How many requests a host keeps for one queue; the oldest ones are dropped.
pub(crate) const REQUESTS_MAX: usize = 1_000;

/// The requests of one queue that the host has read.
pub(crate) struct Requests {
    /// The place in the stream of the last one.
    last: String,
    /// Oldest first.
    kept: Vec<Kept>,
}

struct Kept {
    request: CancelRequest,
    until: Instant,
    /// The token of the start that was stopped last because of it.
    stopped: Option<Arc<str>>,
}

impl Default for Requests {
    fn default() -> Self {
        Requests {
            // Before all of the stream.
            last: "0".to_owned(),
            kept: Vec::new(),
        }
    }
}

impl Requests {
    /// From where requests are new.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    /// Keeps a request that was read. A host that begins reads what was asked for before.
    pub(crate) fn note(&mut self, asked: Asked, now: Instant) {
        let left = KEPT.saturating_sub(asked.age).max(KEPT_MIN);
        self.last = asked.place;
        if self.kept.len() >= REQUESTS_MAX {
            self.kept.remove(0);
        }
        self.kept.push(Kept {
            request: asked.request,
            until: now + left,
            stopped: None,
        });
    }

    /// Forgets those whose time has passed. True where none is left.
    pub(crate) fn is_empty_at(&mut self, now: Instant) -> bool {
        self.kept.retain(|kept| kept.until > now);
        self.kept.is_empty()
    }

    /// The reason with which a start should stop, the first time that it is asked for.
    pub(crate) fn stop(&mut self, job: &Job) -> Option<Arc<str>> {
        let kept = self.kept.iter_mut();
        let kept = kept.rev().find(|kept| kept.request.is_for(job))?;
        let is_new = kept.stopped.as_ref() != Some(&job.token);
        kept.stopped = Some(Arc::clone(&job.token));
        is_new.then(|| kept.request.said.as_str().into())
    }
}

impl CancelRequest {
    /// True for the start that ran when it was asked for, and for later ones of the same attempt.
    pub(crate) fn is_for(&self, job: &Job) -> bool {
        *self.id == *job.id && (*self.token == *job.token || self.attempt == AttemptId::of(job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(token: &str, attempts_made: u32) -> Job {
        let mut job = Job::lone("paint", "{}");
        (job.token, job.timestamp) = (token.into(), 7);
        job.attempts_made = attempts_made;
        job
    }

    fn asked(of: &Job, said: &str) -> Asked {
        Asked {
            place: "7-0".to_owned(),
            age: Duration::ZERO,
            request: CancelRequest {
                id: of.id.to_string(),
                token: of.token.to_string(),
                attempt: AttemptId::of(of),
                said: said.to_owned(),
            },
        }
    }

    #[test]
    fn request_is_kept_until_its_start_shows_up_or_its_time_has_passed() {
        let (now, first) = (Instant::now(), start("worker:1", 0));
        let mut requests = Requests::default();
        requests.note(asked(&first, "enough"), now);
        assert_eq!(requests.last(), "7-0");
        let mut other = start("worker:2", 0);
        other.id = "other".into();
        assert_eq!(requests.stop(&other), None);
        assert!(!requests.is_empty_at(now + KEPT / 2));
        assert_eq!(requests.stop(&first).as_deref(), Some("enough"));
        assert_eq!(requests.stop(&first), None, "it is told once");
        assert!(requests.is_empty_at(now + KEPT));
        assert_eq!(requests.stop(&start("worker:3", 0)), None);
    }

    #[test]
    fn request_that_is_read_long_after_it_was_made_is_soon_forgotten() {
        let (now, job) = (Instant::now(), start("worker:1", 0));
        let mut requests = Requests::default();
        let long_ago = Asked {
            age: KEPT * 2,
            ..asked(&job, "long ago")
        };
        requests.note(long_ago, now);
        assert!(!requests.is_empty_at(now + KEPT_MIN / 2));
        assert!(requests.is_empty_at(now + KEPT_MIN));
    }

    #[test]
    fn request_is_for_all_starts_of_its_attempt_and_for_no_other_attempt() {
        let mut requests = Requests::default();
        let first = start("worker:1", 0);
        requests.note(asked(&first, ""), Instant::now());
        // Tried again after a failure of its own.
        assert_eq!(requests.stop(&start("worker:2", 1)), None);
        // Added again under the same id.
        let mut added_again = start("worker:3", 0);
        added_again.timestamp = 8;
        assert_eq!(requests.stop(&added_again), None);
        // Its host died, or gave it back.
        assert!(requests.stop(&first).is_some());
        assert!(requests.stop(&start("worker:4", 0)).is_some());
    }

    #[test]
    fn requests_are_bounded_and_the_oldest_ones_go() {
        let mut requests = Requests::default();
        let starts: Vec<Job> = (0..=REQUESTS_MAX)
            .map(|n| start(&format!("worker:{n}"), u32::try_from(n).unwrap()))
            .collect();
        for start in &starts {
            requests.note(asked(start, ""), Instant::now());
        }
        assert_eq!(requests.kept.len(), REQUESTS_MAX);
        assert!(requests.stop(&starts[0]).is_none());
        assert!(requests.stop(&starts[REQUESTS_MAX]).is_some());
    }
}
