//! From an outcome to where the job goes. Pure: decides, and writes nothing.

use super::WorkerOptions;
use toril_queue::{FailedAttempt, Job, Retry, SettlementKind, json};
use toril_sandbox::Outcome;

/// How long a job rests after the host failed it. At once could be at once again, for ever.
const HOST_FAILED_DELAY_MS: u64 = 5_000;

/// Why a job must fail without being run, if it must.
pub(super) fn must_not_run(job: &Job, options: &WorkerOptions) -> Option<String> {
    if let Some(reason) = &job.deferred_failure {
        return Some(reason.clone());
    }
    let started_too_often = options
        .started_attempts_max()
        .is_some_and(|max| max < job.attempts_started);
    started_too_often.then(|| "job started more than allowable limit".to_owned())
}

/// Where a job goes after an attempt; `None` where nothing is left to write.
pub(super) fn of(job: &Job, outcome: Outcome, options: &WorkerOptions) -> Option<SettlementKind> {
    match outcome {
        Outcome::Completed(value) => Some(SettlementKind::Completed {
            value,
            attempts_made: job.attempts_made.saturating_add(1),
            keep: job
                .options
                .remove_on_complete
                .unwrap_or(options.remove_on_complete),
        }),
        Outcome::Failed {
            message,
            stack,
            unrecoverable,
        } => {
            let attempt = FailedAttempt {
                made: job.attempts_made.saturating_add(1),
                reason: message,
                stacktrace: stacktrace(job, stack),
            };
            Some(after_failure(job, attempt, unrecoverable, options))
        }
        Outcome::Wait | Outcome::RateLimited(_) => Some(SettlementKind::Wait),
        Outcome::GivenBack => Some(SettlementKind::GiveBack { delay_ms: None }),
        Outcome::HostFailed(_) => Some(SettlementKind::GiveBack {
            delay_ms: Some(HOST_FAILED_DELAY_MS),
        }),
        Outcome::Moved(_) | Outcome::Lost => None,
    }
}

fn after_failure(
    job: &Job,
    attempt: FailedAttempt,
    unrecoverable: bool,
    options: &WorkerOptions,
) -> SettlementKind {
    let started_enough = options
        .started_attempts_max()
        .is_some_and(|max| max <= job.attempts_started);
    let is_last = unrecoverable || started_enough || !job.options.has_attempts_left(attempt.made);
    let retry = if is_last {
        Retry::Never
    } else {
        retry_after(job, attempt.made, options)
    };
    match retry {
        Retry::Never => SettlementKind::Failed {
            attempt,
            attempts: job.options.attempts,
            keep: job.options.remove_on_fail.unwrap_or(options.remove_on_fail),
        },
        Retry::AtOnce => SettlementKind::Retry {
            attempt,
            lifo: job.options.lifo,
        },
        Retry::After(delay_ms) => SettlementKind::Delayed {
            delay_ms,
            attempt: Some(attempt),
        },
    }
}

/// When the next attempt comes. A strategy that nobody knows waits its plain delay.
fn retry_after(job: &Job, attempts_made: u32, options: &WorkerOptions) -> Retry {
    let Some(backoff) = &job.options.backoff else {
        return Retry::AtOnce;
    };
    if let Some(delays) = options.backoff.get(backoff.strategy()) {
        let at = (attempts_made.max(1) as usize - 1).min(delays.len().saturating_sub(1));
        return match delays.get(at) {
            None | Some(0) => Retry::AtOnce,
            Some(delay_ms) => Retry::After(*delay_ms),
        };
    }
    backoff.retry(attempts_made, fastrand::f64())
}

/// The strategy that the job names, where neither BullMQ nor the config has it.
pub(super) fn unknown_strategy<'a>(job: &'a Job, options: &WorkerOptions) -> Option<&'a str> {
    let backoff = job.options.backoff.as_ref()?;
    let is_known = backoff.is_built_in() || options.backoff.contains_key(backoff.strategy());
    (!is_known).then(|| backoff.strategy())
}

/// How large the stack traces of a job may become, the newest one aside: a job may be tried any number of times, and
/// Redis takes no value above 512 MiB.
const STACKTRACE_BYTES_MAX: usize = 1 << 20;

/// Appends to the stored traces, keeping as many as the job wants and as there is room for.
fn stacktrace(job: &Job, stack: String) -> String {
    let stored = job.stacktrace.as_deref().unwrap_or("[]");
    let mut traces: Vec<serde_json::Value> = json::read(stored).unwrap_or_default();
    traces.push(stack.into());
    traces.drain(..job.options.dropped_traces(traces.len()));
    let mut room = STACKTRACE_BYTES_MAX;
    let fitting = traces.iter().rev().take_while(|trace| {
        let fits = room > 0;
        room = room.saturating_sub(
            trace
                .as_str()
                .map_or_else(|| trace.to_string().len(), str::len),
        );
        fits
    });
    let extra = traces.len() - fitting.count();
    traces.drain(..extra);
    serde_json::Value::Array(traces).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toril_queue::JobOptions;

    fn job(opts: &str, attempts_made: u32) -> Job {
        Job {
            options: JobOptions::parse(opts),
            attempts_made,
            ..Job::lone("paint", "{}")
        }
    }

    fn after(job: &Job, outcome: Outcome) -> SettlementKind {
        of(job, outcome, &WorkerOptions::default()).unwrap()
    }

    #[test]
    fn failure_retries_while_attempts_last() {
        let opts = r#"{"attempts":3,"backoff":{"type":"exponential","delay":100}}"#;
        let delayed = after(&job(opts, 1), Outcome::failed("no"));
        assert!(
            matches!(
                delayed,
                SettlementKind::Delayed {
                    delay_ms: 200,
                    attempt: Some(_)
                }
            ),
            "{delayed:?}"
        );
        let failed = after(&job(opts, 2), Outcome::failed("no"));
        assert!(
            matches!(failed, SettlementKind::Failed { attempts: 3.0, .. }),
            "{failed:?}"
        );
        let unrecoverable = after(&job(opts, 0), Outcome::unrecoverable("no"));
        assert!(
            matches!(unrecoverable, SettlementKind::Failed { .. }),
            "{unrecoverable:?}"
        );
    }

    #[test]
    fn own_strategy_gives_its_delays_and_then_its_last() {
        let mut options = WorkerOptions::default();
        options.backoff.insert("gentle".into(), vec![10, 200]);
        for (made, delay) in [(1, 10), (2, 200), (9, 200)] {
            let job = job(r#"{"attempts":99,"backoff":{"type":"gentle"}}"#, 0);
            assert_eq!(retry_after(&job, made, &options), Retry::After(delay));
        }
        let unknown = job(r#"{"attempts":99,"backoff":{"type":"other","delay":7}}"#, 0);
        assert_eq!(retry_after(&unknown, 1, &options), Retry::After(7));
    }

    #[test]
    fn attempts_of_any_kind_are_compared_as_javascript_does() {
        for (attempts, made, is_last) in [
            ("\"3\"", 1, false),
            ("\"3\"", 2, true),
            ("2.5", 1, false),
            ("2.5", 2, true),
            ("true", 0, true),
            ("null", 0, true),
            ("-1", 0, true),
        ] {
            let job = job(&format!(r#"{{"attempts":{attempts}}}"#), made);
            let kind = after(&job, Outcome::failed("no"));
            let failed = matches!(kind, SettlementKind::Failed { .. });
            assert_eq!(failed, is_last, "{attempts} after {made}");
        }
    }

    #[test]
    fn delay_of_minus_one_ends_the_attempts() {
        let job = job(r#"{"attempts":3,"backoff":-1}"#, 0);
        let kind = after(&job, Outcome::failed("no"));
        assert!(matches!(kind, SettlementKind::Failed { .. }), "{kind:?}");
    }

    #[test]
    fn retry_without_backoff_is_at_once() {
        let retry = after(
            &job(r#"{"attempts":2,"lifo":true}"#, 0),
            Outcome::failed("no"),
        );
        assert!(
            matches!(retry, SettlementKind::Retry { lifo: true, .. }),
            "{retry:?}"
        );
    }

    #[test]
    fn failure_of_the_host_spends_neither_an_attempt_nor_a_start() {
        let later = after(&job("{}", 0), Outcome::HostFailed("no room".into()));
        assert!(
            matches!(later, SettlementKind::GiveBack { delay_ms: Some(_) }),
            "{later:?}"
        );
        let now = after(&job("{}", 0), Outcome::GivenBack);
        assert!(
            matches!(now, SettlementKind::GiveBack { delay_ms: None }),
            "{now:?}"
        );
    }

    #[test]
    fn stack_traces_are_limited_to_the_newest() {
        for (opts, stored, kept) in [
            (r#"{"stackTraceLimit":2}"#, r#"["a","b"]"#, r#"["b","c"]"#),
            (r#"{"stackTraceLimit":"1"}"#, r#"["a","b"]"#, r#"["c"]"#),
            (r#"{"stackTraceLimit":0}"#, r#"["a","b"]"#, "[]"),
            ("{}", "broken", r#"["c"]"#),
        ] {
            let mut job = job(opts, 0);
            job.stacktrace = Some(stored.into());
            assert_eq!(stacktrace(&job, "c".into()), kept);
        }
    }

    #[test]
    fn stack_traces_of_many_attempts_have_a_size() {
        let mut job = job(r#"{"attempts":1000}"#, 0);
        for attempt in 0..10 {
            job.stacktrace = Some(stacktrace(
                &job,
                format!("{attempt}{}", "x".repeat(400_000)),
            ));
        }
        let kept = job.stacktrace.unwrap();
        assert!(
            kept.len() < STACKTRACE_BYTES_MAX + 500_000,
            "{}",
            kept.len()
        );
        assert!(kept.contains("\"9x"), "the newest stays");
    }

    #[test]
    fn counts_of_any_size_do_not_begin_anew() {
        let opts = r#"{"attempts":3}"#;
        let failed = after(&job(opts, u32::MAX), Outcome::failed("no"));
        assert!(
            matches!(failed, SettlementKind::Failed { .. }),
            "{failed:?}"
        );
    }

    #[test]
    fn job_that_started_too_often_is_not_run() {
        let options = WorkerOptions {
            max_started_attempts: Some(2),
            ..WorkerOptions::default()
        };
        let mut job = job("{}", 0);
        job.attempts_started = 2;
        assert_eq!(must_not_run(&job, &options), None);
        job.attempts_started = 3;
        assert_eq!(
            must_not_run(&job, &options).as_deref(),
            Some("job started more than allowable limit")
        );
    }
}
