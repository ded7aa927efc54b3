//! A case as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::expectation::Expectation;
use super::values;
use crate::unknown_key;

/// What the clock shows where the case does not say: 2026-01-01T00:00:00Z.
const NOW_MS: u64 = 1_767_225_600_000;

/// A job, what surrounds it, and what is expected of one attempt.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub(super) job: JobFile,
    /// The time that the job sees.
    now: Option<Now>,
    /// Values of granted environment variables and secrets.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Values of granted config.
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) children: Vec<ChildFile>,
    #[serde(default)]
    pub(super) http: Vec<HttpFile>,
    #[serde(default)]
    pub(super) expect: Expectation,
}

/// The job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobFile {
    /// None: the only one of the config.
    pub(super) queue: Option<String>,
    /// None: that of the queue.
    pub(super) processor: Option<PathBuf>,
    #[serde(default = "default_name")]
    pub(super) name: String,
    pub(super) id: Option<String>,
    data: Option<toml::Value>,
    data_json: Option<String>,
    progress: Option<toml::Value>,
    #[serde(default)]
    opts: toml::Table,
    /// Attempts that failed before this one.
    #[serde(default)]
    pub(super) attempts_made: u32,
    /// Why the last one of them failed.
    pub(super) failed_reason: Option<String>,
    /// The values that these attempts kept of its steps, by name.
    #[serde(default)]
    steps: toml::Table,
}

/// A child of the job: it completed with a value, failed with a reason, or has not ended yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChildFile {
    pub(super) queue: String,
    #[serde(default = "default_name")]
    pub(super) name: String,
    pub(super) id: Option<String>,
    data: Option<toml::Value>,
    data_json: Option<String>,
    #[serde(default)]
    opts: toml::Table,
    value: Option<toml::Value>,
    value_json: Option<String>,
    pub(super) failed_reason: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpFile {
    #[serde(default = "default_method")]
    pub(super) method: String,
    pub(super) url: String,
    #[serde(default = "default_status")]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
    json: Option<toml::Value>,
    json_json: Option<String>,
    pub(super) error: Option<HttpError>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HttpError {
    ConnectionRefused,
    Timeout,
    NoServer,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Now {
    Millis(u64),
    Time(toml::value::Datetime),
    Text(String),
}

fn default_name() -> String {
    "job".to_owned()
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_status() -> u16 {
    200
}

impl Case {
    /// Reads a case.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let case: Case = toml::from_str(text).map_err(with_hint)?;
        case.expect.check()?;
        Ok(case)
    }

    /// True where the job needs nothing but its name and data: nothing of an earlier attempt, no children, answers or values.
    pub(super) fn needs_nothing(&self) -> bool {
        let Case { job, now, .. } = self;
        let is_new = job.attempts_made == 0 && job.steps.is_empty() && job.progress.is_none();
        let is_plain = job.opts.is_empty() && job.processor.is_none() && now.is_none();
        let has_values = !(self.env.is_empty() && self.config.is_empty());
        is_new && is_plain && !has_values && self.children.is_empty() && self.http.is_empty()
    }

    /// What the clock shows, in ms since the epoch.
    pub(super) fn now_ms(&self) -> anyhow::Result<u64> {
        let text = match &self.now {
            None => return Ok(NOW_MS),
            Some(Now::Millis(millis)) => return Ok(*millis),
            Some(Now::Time(time)) => time.to_string(),
            Some(Now::Text(text)) => text.clone(),
        };
        let time = DateTime::parse_from_rfc3339(&text);
        let time = time.with_context(|| {
            format!("`now = {text}` is not a time\nhint: write a time with its zone, such as `now = 2026-01-01T12:00:00Z`, or ms since 1970")
        })?;
        u64::try_from(time.timestamp_millis()).context("`now` is before 1970")
    }
}

/// Names the key that may be meant.
fn with_hint(error: toml::de::Error) -> anyhow::Error {
    let said = error.to_string();
    anyhow::anyhow!(unknown_key::with_hint(said.trim_end(), error.message()))
}

impl JobFile {
    pub(super) fn data(&self) -> anyhow::Result<String> {
        data(&self.data, self.data_json.as_deref())
    }

    pub(super) fn options(&self) -> Map<String, Value> {
        object(&self.opts)
    }

    /// Names of steps and what is kept of each, JSON.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&str, String)> {
        let steps = self.steps.iter();
        steps.map(|(name, value)| (name.as_str(), values::to_json(value.clone()).to_string()))
    }

    pub(super) fn progress(&self) -> Option<String> {
        let progress = self.progress.clone()?;
        Some(values::to_json(progress).to_string())
    }
}

impl ChildFile {
    pub(super) fn data(&self) -> anyhow::Result<String> {
        data(&self.data, self.data_json.as_deref())
    }

    pub(super) fn options(&self) -> Map<String, Value> {
        object(&self.opts)
    }

    /// Its value, JSON, if it completed.
    pub(super) fn value(&self) -> anyhow::Result<Option<String>> {
        let value = values::of_key("value", self.value.clone(), self.value_json.as_deref())?;
        anyhow::ensure!(
            value.is_none() || self.failed_reason.is_none(),
            "a child of the case has both `value` and `failed_reason`"
        );
        Ok(value.map(|value| value.to_string()))
    }
}

impl HttpFile {
    /// The body, and whether it is JSON.
    pub(super) fn body(&self) -> anyhow::Result<(String, bool)> {
        let json = values::of_key("json", self.json.clone(), self.json_json.as_deref())?;
        match (&self.body, json) {
            (Some(_), Some(_)) => anyhow::bail!("`http.body` and `http.json` exclude each other"),
            (Some(body), None) => Ok((body.clone(), false)),
            (None, Some(json)) => Ok((json.to_string(), true)),
            (None, None) => Ok((String::new(), false)),
        }
    }
}

/// The text of JSON data is handed on as it is.
fn data(value: &Option<toml::Value>, text: Option<&str>) -> anyhow::Result<String> {
    let parsed = values::of_key("data", value.clone(), text)?;
    Ok(match (text, parsed) {
        (Some(text), _) => text.to_owned(),
        (None, Some(value)) => value.to_string(),
        (None, None) => "{}".to_owned(),
    })
}

fn object(table: &toml::Table) -> Map<String, Value> {
    let members = table.iter();
    members
        .map(|(key, value)| (key.clone(), values::to_json(value.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Case::parse(text).unwrap_err())
    }

    #[test]
    fn unknown_keys_are_errors_with_the_nearest_one() {
        for (text, nearest) in [
            ("[job]\nnme = \"walls\"", "name"),
            ("[job]\n[expct]", "expect"),
            ("[job]\n[expect]\nfailedReason = \"x\"", "failed_reason"),
            ("[job]\n[[expect.added]]\nqeue = \"x\"", "queue"),
            ("[job]\n[[http]]\nurl = \"http://a\"\nstaus = 200", "status"),
        ] {
            let error = error(text);
            let hint = format!("hint: did you mean `{nearest}`?");
            assert!(error.contains(&hint), "{error}");
        }
    }

    #[test]
    fn time_is_written_in_three_ways() {
        let now = |text: &str| {
            Case::parse(&format!("now = {text}\n[job]"))
                .unwrap()
                .now_ms()
        };
        for text in [
            "2026-01-01T01:00:00+01:00",
            "\"2026-01-01T00:00:00Z\"",
            "1767225600000",
        ] {
            assert_eq!(now(text).unwrap(), NOW_MS);
        }
        let error = now("2026-01-01").unwrap_err().to_string();
        assert!(
            error.contains("hint: write a time with its zone"),
            "{error}"
        );
    }
}
