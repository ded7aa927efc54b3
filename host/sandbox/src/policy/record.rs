//! Which attempts are recorded, and how many recordings are kept.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::outcome::Outcome;

/// Which attempts are recorded, and how many recordings a queue keeps.
///
/// In a file it is a table, or the value of `attempts` alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(with = "RecordForm")]
pub struct Record {
    /// `none`, `failed`, `all`, or a share of those that do not fail, such as `1%`, beside those that fail.
    pub attempts: Recorded,
    /// How many recordings the queue keeps; older ones are removed.
    pub count_max: u64,
    /// How many bytes of them it keeps; older ones are removed.
    pub bytes_max: u64,
    /// How long one is kept, in ms.
    pub age_ms: u64,
    /// Memory that the recording of one attempt takes; what does not fit is left out, and the recording says so.
    pub attempt_bytes_max: usize,
}

impl Default for Record {
    fn default() -> Self {
        Record {
            attempts: Recorded::None,
            count_max: 1_000,
            bytes_max: 64 << 20,
            age_ms: 7 * 86_400_000,
            attempt_bytes_max: 4 << 20,
        }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(form: D) -> Result<Self, D::Error> {
        form.deserialize_any(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`none`, `failed`, `all`, a share such as `1%`, or a table")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Record, E> {
        let attempts = text.parse().map_err(E::custom)?;
        Ok(Record {
            attempts,
            ..Record::default()
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Record, M::Error> {
        let table = RecordTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Record {
            attempts: table.attempts,
            count_max: table.count_max,
            bytes_max: table.bytes_max,
            age_ms: table.age_ms,
            attempt_bytes_max: table.attempt_bytes_max,
        })
    }
}

/// Which attempts are recorded: `none`, `failed`, `all`, or a share of those that do not fail, such as `1%`, beside those that
/// fail; or a table that says so and how many recordings are kept.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is only described")]
enum RecordForm {
    /// The value of `attempts`.
    Attempts(String),
    /// All of it.
    Table(RecordTable),
}

#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RecordTable {
    /// `none`, `failed`, `all`, or a share of those that do not fail, such as `1%`, beside those that fail.
    #[schemars(with = "String")]
    attempts: Recorded,
    /// How many recordings the queue keeps; older ones are removed.
    count_max: u64,
    /// How many bytes of them it keeps; older ones are removed.
    bytes_max: u64,
    /// How long one is kept, in ms.
    age_ms: u64,
    /// Memory that the recording of one attempt takes; what does not fit is left out, and the recording says so.
    attempt_bytes_max: usize,
}

impl Default for RecordTable {
    fn default() -> Self {
        let Record {
            attempts,
            count_max,
            bytes_max,
            age_ms,
            attempt_bytes_max,
        } = Record::default();
        RecordTable {
            attempts,
            count_max,
            bytes_max,
            age_ms,
            attempt_bytes_max,
        }
    }
}

/// A recording is read up to twice that and some: much of it is escaped as JSON.
const ATTEMPT_BYTES_MAX: usize = 12 << 20;

impl Record {
    /// Refuses recordings that could not be read again.
    pub fn check(&self) -> Result<(), String> {
        match self.attempt_bytes_max <= ATTEMPT_BYTES_MAX {
            true => Ok(()),
            false => Err(format!(
                "`record.attempt_bytes_max` must be {ATTEMPT_BYTES_MAX} or less"
            )),
        }
    }
}

/// Which attempts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Recorded {
    /// None.
    #[default]
    None,
    /// Those that failed.
    Failed,
    /// Those that failed, and this share of the others, in percent.
    Share(f64),
    /// All.
    All,
}

impl Recorded {
    /// True where an attempt must be recorded because it may be kept.
    pub fn any(self) -> bool {
        self != Recorded::None
    }

    /// Whether an attempt that came to this is kept. `chance` is random, from 0 to 1.
    pub fn keeps(self, outcome: &Outcome, chance: f64) -> bool {
        match (self, outcome) {
            (Recorded::None, _) => false,
            // It runs again, and nobody is asked why.
            (_, Outcome::Lost | Outcome::GivenBack | Outcome::HostFailed(_)) => false,
            (_, Outcome::Failed { .. }) | (Recorded::All, _) => true,
            (Recorded::Share(percent), _) => chance * 100.0 < percent,
            (Recorded::Failed, _) => false,
        }
    }
}

impl FromStr for Recorded {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = || text.strip_suffix('%')?.trim().parse::<f64>().ok();
        match text {
            "none" => Ok(Recorded::None),
            "failed" => Ok(Recorded::Failed),
            "all" => Ok(Recorded::All),
            _ => match share() {
                Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Recorded::Share(percent)),
                _ => Err(format!(
                    "`{text}` does not say which attempts are recorded\nhint: write `none`, `failed`, `all`, or a share such as `1%`"
                )),
            },
        }
    }
}

impl TryFrom<String> for Recorded {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recorded::None => f.write_str("none"),
            Recorded::Failed => f.write_str("failed"),
            Recorded::All => f.write_str("all"),
            Recorded::Share(percent) => write!(f, "{percent}%"),
        }
    }
}

impl From<Recorded> for String {
    fn from(recorded: Recorded) -> Self {
        recorded.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_kept_as_they_are_asked_for() {
        let (failed, fine) = (Outcome::failed("no"), Outcome::Completed("1".into()));
        for (text, keeps_failed, keeps_fine) in [
            ("none", false, false),
            ("failed", true, false),
            ("50%", true, true),
            ("1%", true, false),
            ("all", true, true),
        ] {
            let recorded: Recorded = text.parse().unwrap();
            assert_eq!(recorded.to_string(), text);
            let kept = (recorded.keeps(&failed, 0.4), recorded.keeps(&fine, 0.4));
            assert_eq!(kept, (keeps_failed, keeps_fine), "{text}");
            assert!(!recorded.keeps(&Outcome::Lost, 0.0));
        }
        let short: Record = serde_json::from_str("\"failed\"").unwrap();
        let long: Record = serde_json::from_str(r#"{"attempts":"failed","count_max":5}"#).unwrap();
        assert_eq!(short.attempts, long.attempts);
        assert_eq!((short.count_max, long.count_max), (1_000, 5));
        for text in ["\"some\"", r#"{"attempt":"all"}"#, "1"] {
            assert!(serde_json::from_str::<Record>(text).is_err(), "{text}");
        }
        for text in ["", "some", "101%", "-1%", "NaN%"] {
            assert!(text.parse::<Recorded>().is_err(), "{text}");
        }
    }
}
