//! Which finished jobs to keep.

use crate::js::SAFE_INTEGER_MAX;
use crate::lua;
use crate::raw::{Kind, Raw};

/// From here on scripts hand numbers to commands with an exponent, which commands do not read as whole.
const EXPONENT_MIN: f64 = 1e17;
/// More jobs than Redis removes in one go.
const NO_LIMIT: u64 = u32::MAX as u64;

/// Which finished jobs to keep (`removeOnComplete`, `removeOnFail`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeepJobs {
    /// Keeps this many of the newest; 0 keeps none, absent or negative keeps all.
    pub count: Option<i64>,
    /// Keeps them for this many seconds.
    pub age_s: Option<f64>,
    /// Removes at most this many by age in one go.
    pub limit: Option<u64>,
}

/// BullMQ's script fails where it comes to such a value: what it would have done with it is left out.
struct Broken;

impl KeepJobs {
    /// Keeps every job.
    pub const ALL: KeepJobs = KeepJobs {
        count: None,
        age_s: None,
        limit: None,
    };
    const NONE: KeepJobs = KeepJobs {
        count: Some(0),
        ..KeepJobs::ALL
    };

    /// Reads the option; none where it says nothing. JavaScript decides by its type, and reads no text as a count.
    pub(crate) fn read(option: Raw<'_>) -> Option<Self> {
        let keep = match option.kind() {
            Kind::Null => return None,
            Kind::Number => KeepJobs {
                count: count(option),
                ..KeepJobs::ALL
            },
            Kind::Object => KeepJobs::rule(option),
            Kind::Array => KeepJobs::ALL,
            Kind::False | Kind::True | Kind::Text if option.is_truthy() => KeepJobs::NONE,
            Kind::False | Kind::True | Kind::Text => KeepJobs::ALL,
        };
        Some(keep)
    }

    /// Reads a rule as the script does to which BullMQ hands it: first by age, then by count.
    fn rule(option: Raw<'_>) -> Self {
        let fields = option.fields(&[("count", 0), ("age", 1), ("limit", 2)]);
        let [by_count, age, by_limit] = fields.unwrap_or_default();
        let count = by_count.and_then(count);
        if count == Some(0) {
            return KeepJobs::NONE;
        }
        let by_age = match age.filter(|age| age.kind() != Kind::Null) {
            None => Ok((None, None)),
            Some(age) => age_s(age).and_then(|age| Ok((Some(age), limit(by_limit)?))),
        };
        match by_age {
            Ok((age_s, limit)) => KeepJobs {
                count,
                age_s,
                limit,
            },
            Err(Broken) => KeepJobs::ALL,
        }
    }
}

/// How many to keep: the script compares it with numbers, and hands it to a command that takes whole ones.
fn count(option: Raw<'_>) -> Option<i64> {
    if option.kind() != Kind::Number {
        return None;
    }
    let count = option.to_number();
    (count.fract() == 0.0 && (0.0..=SAFE_INTEGER_MAX).contains(&count)).then_some(count as i64)
}

/// The script multiplies the age, and so reads text as a number.
fn age_s(option: Raw<'_>) -> Result<f64, Broken> {
    let age = match option.kind() {
        Kind::Number => Some(option.to_number()),
        Kind::Text => lua::text_to_number(&option.to_text()),
        _ => None,
    };
    age.filter(|age| !age.is_nan()).ok_or(Broken)
}

/// The script hands the limit to a command as it is.
fn limit(option: Option<Raw<'_>>) -> Result<Option<u64>, Broken> {
    let Some(option) = option else {
        return Ok(None);
    };
    let limit = match option.kind() {
        Kind::Null | Kind::False => return Ok(None),
        Kind::Number => option.to_number(),
        Kind::Text => option.to_text().parse::<i64>().map_err(|_| Broken)? as f64,
        _ => return Err(Broken),
    };
    match limit {
        limit if limit.fract() != 0.0 || limit.abs() >= EXPONENT_MIN => Err(Broken),
        limit if limit < 0.0 => Ok(Some(NO_LIMIT)),
        limit => Ok(Some(NO_LIMIT.min(limit as u64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobOptions;

    fn keep(json: &str) -> KeepJobs {
        let options = JobOptions::parse(&format!("{{\"removeOnFail\":{json}}}"));
        options.remove_on_fail.unwrap()
    }

    #[test]
    fn all_forms_are_read() {
        for json in ["true", "0", r#"{"count":0,"age":[]}"#, "\"5\"", "\"0\""] {
            assert_eq!(keep(json), KeepJobs::NONE, "{json}");
        }
        for json in [
            "false", "-1", "-0.5", "2.5", "1e300", "\"\"", "[]", "[0]", "{}",
        ] {
            assert_eq!(keep(json), KeepJobs::ALL, "{json}");
        }
        assert_eq!(keep("100").count, Some(100));
        assert_eq!(keep("1e2").count, Some(100));
    }

    #[test]
    fn rule_ends_where_the_script_of_bullmq_breaks() {
        let of = |count, age_s, limit| KeepJobs {
            count,
            age_s,
            limit,
        };
        assert_eq!(
            keep(r#"{"age":"10","count":5}"#),
            of(Some(5), Some(10.0), None)
        );
        assert_eq!(
            keep(r#"{"age":60,"count":"5"}"#),
            of(None, Some(60.0), None)
        );
        assert_eq!(
            keep(r#"{"age":60,"limit":-1}"#),
            of(None, Some(60.0), Some(NO_LIMIT))
        );
        assert_eq!(
            keep(r#"{"age":60,"limit":false}"#),
            of(None, Some(60.0), None)
        );
        assert_eq!(
            keep(r#"{"age":null,"count":3,"limit":[]}"#),
            of(Some(3), None, None)
        );
        for json in [
            r#"{"age":true,"count":5}"#,
            r#"{"age":1,"limit":1.5,"count":5}"#,
        ] {
            assert_eq!(keep(json), KeepJobs::ALL, "{json}");
        }
    }
}
