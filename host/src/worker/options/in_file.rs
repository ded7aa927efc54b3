//! The forms that options have in `toril.toml` alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which jobs to keep.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum KeepInFile {
    /// `true` keeps none, `false` keeps all.
    Remove(bool),
    /// Keeps the newest ones, so many of them.
    Count(i64),
    /// What BullMQ's object says.
    Rule(KeepRuleInFile),
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct KeepRuleInFile {
    /// How many, the newest ones.
    count: Option<i64>,
    /// For how long, in seconds.
    age: Option<f64>,
    /// How many are removed at once, at most.
    limit: Option<u64>,
}

/// At most so many jobs in a time.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimiterInFile {
    /// Jobs.
    max: u32,
    /// Milliseconds.
    duration_ms: u64,
}

pub(crate) mod keep_jobs {
    use serde::de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer};
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};
    use toril_queue::KeepJobs;

    use super::{KeepInFile, KeepRuleInFile};

    pub(crate) fn serialize<S: Serializer>(
        rule: &KeepJobs,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let shown = match *rule {
            KeepJobs::ALL => KeepInFile::Remove(false),
            KeepJobs {
                count: Some(0),
                age_s: None,
                limit: None,
            } => KeepInFile::Remove(true),
            KeepJobs {
                count: Some(count),
                age_s: None,
                limit: None,
            } => KeepInFile::Count(count),
            KeepJobs {
                count,
                age_s: age,
                limit,
            } => KeepInFile::Rule(KeepRuleInFile { count, age, limit }),
        };
        shown.serialize(serializer)
    }

    /// Reads which jobs to keep. Unlike the same option of a job, it refuses keys that it does not know.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeepJobs, D::Error> {
        #[derive(Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[derive(Default)]
        struct Rule {
            count: Option<i64>,
            age: Option<f64>,
            limit: Option<u64>,
        }

        struct RuleVisitor;

        impl<'de> Visitor<'de> for RuleVisitor {
            type Value = KeepJobs;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("true, false, a count, or `{ count, age, limit }`")
            }

            fn visit_bool<E: Error>(self, remove: bool) -> Result<KeepJobs, E> {
                let count = remove.then_some(0);
                Ok(KeepJobs {
                    count,
                    ..KeepJobs::ALL
                })
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<KeepJobs, E> {
                let count = Some(count);
                Ok(KeepJobs {
                    count,
                    ..KeepJobs::ALL
                })
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<KeepJobs, E> {
                self.visit_i64(i64::try_from(count).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: Error>(self, count: f64) -> Result<KeepJobs, E> {
                // BullMQ's script breaks on others.
                match count.fract() {
                    0.0 => self.visit_i64(count as i64),
                    _ => Err(E::invalid_value(Unexpected::Float(count), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeepJobs, A::Error> {
                let rule = Rule::deserialize(MapAccessDeserializer::new(map))?;
                Ok(KeepJobs {
                    count: rule.count,
                    age_s: rule.age,
                    limit: rule.limit,
                })
            }
        }

        deserializer.deserialize_any(RuleVisitor)
    }
}

pub(crate) mod limiter {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use toril_queue::Limiter;

    use super::LimiterInFile;

    pub(crate) fn serialize<S: Serializer>(
        limiter: &Option<Limiter>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let shown = limiter.map(|Limiter { max, duration_ms }| LimiterInFile { max, duration_ms });
        shown.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Limiter>, D::Error> {
        let LimiterInFile { max, duration_ms } = LimiterInFile::deserialize(deserializer)?;
        Ok(Some(Limiter { max, duration_ms }))
    }
}
