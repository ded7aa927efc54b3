//! The dates at which a schedule begins and ends.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime};
use serde_json::{Map, Value};
use toril_options::js::is_truthy;

use crate::error::QueueError;

/// A date in ms since the epoch. Node's producers write ms; those in other languages may write it as text.
pub(super) fn date(repeat: &Map<String, Value>, name: &str) -> Result<Option<i64>, QueueError> {
    let Some(value) = repeat.get(name).filter(|value| is_truthy(value)) else {
        return Ok(None);
    };
    let ms = match value {
        Value::String(text) => date_ms(text),
        value => value.as_f64().map(|ms| ms as i64),
    };
    match ms {
        Some(ms) => Ok(Some(ms)),
        None => Err(QueueError::Invalid(format!(
            "`{name}` of the schedule is not a date: {value}"
        ))),
    }
}

/// As JavaScript reads ISO 8601: a date is in UTC, a date with a time in the machine's zone, unless it says which.
pub(super) fn date_ms(text: &str) -> Option<i64> {
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(date.timestamp_millis());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(
            date.and_time(chrono::NaiveTime::MIN)
                .and_utc()
                .timestamp_millis(),
        );
    }
    let date = text.parse::<NaiveDateTime>().ok()?;
    Some(
        date.and_local_timezone(Local)
            .earliest()?
            .timestamp_millis(),
    )
}
