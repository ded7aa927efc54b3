//! The options of a stored job that its worker looks at: JSON with a few short names.

use crate::backoff::Backoff;
use crate::js;
use crate::keep::KeepJobs;
use crate::lua;
use crate::raw::{self, Kind, Raw};

/// Their names, and where each is put. The long form of a short name is read, too, as in BullMQ.
const NAMES: [(&str, usize); 10] = [
    ("attempts", 0),
    ("backoff", 1),
    ("lifo", 2),
    ("removeOnComplete", 3),
    ("removeOnFail", 4),
    ("stackTraceLimit", 5),
    ("tm", 6),
    ("kl", 7),
    ("keepLogs", 7),
    ("timeout", 8),
];

/// The options of a stored job that its worker looks at.
///
/// Each option is read by itself: one of the wrong kind is what JavaScript makes of it, and loses no other.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct JobOptions {
    /// How often the job may be tried; up to 1, and NaN, mean once. See [`JobOptions::has_attempts_left`].
    pub attempts: f64,
    /// How long to wait before the next attempt.
    pub backoff: Option<Backoff>,
    /// Retry at the head of the line.
    pub lifo: bool,
    /// Which completed jobs to keep.
    pub remove_on_complete: Option<KeepJobs>,
    /// Which failed jobs to keep.
    pub remove_on_fail: Option<KeepJobs>,
    /// How many stack traces to keep, newest last. See [`JobOptions::dropped_traces`].
    stack_trace_limit: Option<f64>,
    /// The trace that the producer began: a carrier of its context, JSON text.
    pub trace: Option<String>,
    /// How many log lines to keep, if not all.
    pub keep_logs: Option<u64>,
    /// How long an attempt may take, in ms. BullMQ stores this option and does nothing with it.
    pub timeout_ms: Option<u64>,
}

impl JobOptions {
    /// Reads stored options; what is not an object has none.
    pub fn parse(json: &str) -> Self {
        let Some(fields) = raw::fields(json, &NAMES) else {
            return JobOptions::default();
        };
        let [
            attempts,
            backoff,
            lifo,
            complete,
            fail,
            traces,
            trace,
            logs,
            timeout,
        ] = fields;
        JobOptions {
            attempts: attempts.map_or(0.0, Raw::to_number),
            backoff: backoff.and_then(Backoff::read),
            lifo: lifo.is_some_and(Raw::is_truthy),
            remove_on_complete: complete.and_then(KeepJobs::read),
            remove_on_fail: fail.and_then(KeepJobs::read),
            stack_trace_limit: traces.and_then(stack_trace_limit),
            trace: trace.and_then(Raw::as_text),
            keep_logs: logs.and_then(keep_logs),
            timeout_ms: timeout.and_then(timeout_ms),
        }
    }

    /// True when a job that failed as often may be tried once more.
    pub fn has_attempts_left(&self, attempts_made: u32) -> bool {
        f64::from(attempts_made) < self.attempts
    }

    /// How many of so many stack traces are dropped, from the oldest.
    pub fn dropped_traces(&self, traces: usize) -> usize {
        match self.stack_trace_limit {
            None => 0,
            Some(limit) if limit >= 0.0 => traces.saturating_sub(limit as usize),
            // `slice` with a positive number drops as many.
            Some(limit) => traces.min(-limit as usize),
        }
    }
}

/// None keeps all. A zero that is no number keeps all, since BullMQ asks for the number with `===`.
fn stack_trace_limit(option: Raw<'_>) -> Option<f64> {
    let limit = option.to_number().trunc();
    if option.kind() == Kind::Number && option.to_number() == 0.0 {
        return Some(0.0);
    }
    (option.is_truthy() && limit != 0.0 && !limit.is_nan()).then_some(limit)
}

/// BullMQ hands the option to a script as text. Where the script breaks on it, all lines are kept.
fn keep_logs(option: Raw<'_>) -> Option<u64> {
    if !option.is_truthy() {
        return None;
    }
    let keep = match option.kind() {
        Kind::Number => option.to_number(),
        _ => lua::text_to_number(&option.to_text())?,
    };
    let is_count = keep.fract() == 0.0 && (1.0..=js::SAFE_INTEGER_MAX).contains(&keep);
    is_count.then_some(keep as u64)
}

/// A number above 0, or a text that is one, in whole milliseconds; JavaScript's timers wait for 1 at least. What else
/// it may be sets no time limit.
fn timeout_ms(option: Raw<'_>) -> Option<u64> {
    if !matches!(option.kind(), Kind::Number | Kind::Text) {
        return None;
    }
    let timeout = option.to_number();
    (timeout > 0.0 && timeout.is_finite()).then(|| timeout.max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_is_a_number_above_zero() {
        for (timeout, expected) in [
            ("300", Some(300)),
            ("300.9", Some(300)),
            ("0.1", Some(1)),
            (r#"" 300 ""#, Some(300)),
            ("1e30", Some(u64::MAX)),
            ("1e999", None),
            ("0", None),
            ("-0.0", None),
            ("-5", None),
            ("\"\"", None),
            (r#""soon""#, None),
            ("true", None),
            ("null", None),
            ("[300]", None),
            ("{}", None),
        ] {
            let options = JobOptions::parse(&format!(r#"{{"timeout":{timeout},"attempts":2}}"#));
            assert_eq!(options.timeout_ms, expected, "{timeout}");
            assert_eq!(options.attempts, 2.0);
        }
    }

    #[test]
    fn option_of_the_wrong_kind_loses_no_other() {
        let options = JobOptions::parse(
            r#"{"attempts":3,"backoff":{"delay":[]},"removeOnComplete":{"age":5,"count":2},"kl":"x","new":1}"#,
        );
        assert_eq!(options.attempts, 3.0);
        assert_eq!(options.keep_logs, None);
        let keep = KeepJobs {
            count: Some(2),
            age_s: Some(5.0),
            limit: None,
        };
        assert_eq!(options.remove_on_complete, Some(keep));
    }

    #[test]
    fn options_that_are_no_object_are_none() {
        for json in ["[1", "7", "null", "{\"attempts\":3"] {
            assert_eq!(JobOptions::parse(json), JobOptions::default());
        }
    }

    #[test]
    fn attempts_are_compared_as_javascript_does() {
        let made = |attempts: &str| {
            let options = JobOptions::parse(&format!("{{\"attempts\":{attempts}}}"));
            (1..9)
                .take_while(|made| options.has_attempts_left(*made))
                .count()
                + 1
        };
        for (attempts, expected) in [
            ("3", 3),
            ("\"3\"", 3),
            ("2.5", 3),
            ("[3]", 3),
            ("\" 0x3 \"", 3),
            ("true", 1),
            ("null", 1),
            ("-1", 1),
            ("{}", 1),
            ("\"many\"", 1),
            ("1e999", 9),
        ] {
            assert_eq!(made(attempts), expected, "{attempts}");
        }
    }

    #[test]
    fn stack_traces_are_sliced_as_javascript_does() {
        let dropped = |limit: &str| {
            JobOptions::parse(&format!("{{\"stackTraceLimit\":{limit}}}")).dropped_traces(5)
        };
        for (limit, expected) in [
            ("0", 5),
            ("-0.0", 5),
            ("2", 3),
            ("9", 0),
            ("\"1\"", 4),
            ("true", 4),
            ("2.5", 3),
            ("-2", 2),
            ("-9", 5),
            ("\"0\"", 0),
            ("0.5", 0),
            ("null", 0),
            ("\"x\"", 0),
            ("[]", 0),
            ("{}", 0),
            ("1e999", 0),
        ] {
            assert_eq!(dropped(limit), expected, "{limit}");
        }
    }

    #[test]
    fn log_lines_are_kept_by_either_name() {
        for (json, kept) in [
            (r#"{"kl":2}"#, Some(2)),
            (r#"{"keepLogs":"3"}"#, Some(3)),
            (r#"{"kl":2,"keepLogs":[4]}"#, Some(4)),
            (r#"{"kl":0}"#, None),
            (r#"{"kl":-1}"#, None),
            (r#"{"kl":2.5}"#, None),
            (r#"{"kl":true}"#, None),
        ] {
            assert_eq!(JobOptions::parse(json).keep_logs, kept, "{json}");
        }
    }
}
