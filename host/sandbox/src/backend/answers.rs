//! Answers of a backend as JSON: kept by a recording, and given again by a replay.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CallResult, JobError, KvError, KvResult};

/// An answer that can be told.
pub trait Told {
    /// As JSON.
    fn json(&self) -> String;
}

/// An answer that can be given again.
pub(crate) trait Given: Sized {
    fn of_json(json: &str) -> Option<Self>;
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer<T> {
    Ok(T),
    Error(Reason),
}

/// Why a call failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reason {
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    bytes_max: usize,
}

impl Reason {
    fn new(kind: &str, text: &str) -> Self {
        Reason {
            kind: kind.to_owned(),
            text: text.to_owned(),
            bytes_max: 0,
        }
    }
}

fn to_json<T: Serialize>(answer: &Answer<T>) -> String {
    serde_json::to_string(answer).unwrap_or_else(|_| "null".to_owned())
}

impl<T: Serialize> Told for CallResult<T> {
    fn json(&self) -> String {
        to_json(&match self {
            Ok(value) => Answer::Ok(value),
            Err(error) => Answer::Error(reason_of(error)),
        })
    }
}

impl<T: DeserializeOwned> Given for CallResult<T> {
    fn of_json(json: &str) -> Option<Self> {
        Some(match serde_json::from_str(json).ok()? {
            Answer::Ok(value) => Ok(value),
            Answer::Error(reason) => Err(error_of(reason)?),
        })
    }
}

impl<T: Serialize> Told for KvResult<T> {
    fn json(&self) -> String {
        let reason = match self {
            Ok(value) => return to_json(&Answer::Ok(value)),
            Err(KvError::Keys) => Reason::new("keys", ""),
            Err(KvError::Bytes) => Reason::new("bytes", ""),
            Err(KvError::NotAnInteger) => Reason::new("not-an-integer", ""),
            Err(KvError::Overflow) => Reason::new("overflow", ""),
            Err(KvError::TooLarge(bytes_max)) => Reason {
                bytes_max: *bytes_max,
                ..Reason::new("too-large", "")
            },
            Err(KvError::Other(error)) => reason_of(error),
        };
        to_json(&Answer::<()>::Error(reason))
    }
}

impl<T: DeserializeOwned> Given for KvResult<T> {
    fn of_json(json: &str) -> Option<Self> {
        let reason = match serde_json::from_str(json).ok()? {
            Answer::Ok(value) => return Some(Ok(value)),
            Answer::Error(reason) => reason,
        };
        Some(Err(match reason.kind.as_str() {
            "keys" => KvError::Keys,
            "bytes" => KvError::Bytes,
            "not-an-integer" => KvError::NotAnInteger,
            "overflow" => KvError::Overflow,
            "too-large" => KvError::TooLarge(reason.bytes_max),
            _ => KvError::Other(error_of(reason)?),
        }))
    }
}

fn reason_of(error: &JobError) -> Reason {
    let (kind, text) = match error {
        JobError::NotFound(text) => ("not-found", text),
        JobError::LockLost(text) => ("lock-lost", text),
        JobError::NotInState(text) => ("not-in-state", text),
        JobError::ChildFailed(text) => ("child-failed", text),
        JobError::Denied(text) => ("denied", text),
        JobError::Limit(text) => ("limit", text),
        JobError::Invalid(text) => ("invalid", text),
        JobError::Unavailable(text) => ("unavailable", text),
    };
    Reason::new(kind, text)
}

fn error_of(Reason { kind, text, .. }: Reason) -> Option<JobError> {
    Some(match kind.as_str() {
        "not-found" => JobError::NotFound(text),
        "lock-lost" => JobError::LockLost(text),
        "not-in-state" => JobError::NotInState(text),
        "child-failed" => JobError::ChildFailed(text),
        "denied" => JobError::Denied(text),
        "limit" => JobError::Limit(text),
        "invalid" => JobError::Invalid(text),
        "unavailable" => JobError::Unavailable(text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_given_as_they_were_told() {
        let values = vec![("a".to_owned(), "1".to_owned())];
        let told: CallResult<Vec<(String, String)>> = Ok(values.clone());
        let again = CallResult::<Vec<(String, String)>>::of_json(&told.json());
        assert_eq!(again.unwrap().unwrap(), values);
        let denied: CallResult<()> = Err(JobError::Denied("no".into()));
        let again = CallResult::<()>::of_json(&denied.json()).unwrap();
        assert!(matches!(again, Err(JobError::Denied(text)) if text == "no"));
        let large: KvResult<bool> = Err(KvError::TooLarge(7));
        let again = KvResult::<bool>::of_json(&large.json()).unwrap();
        assert!(matches!(again, Err(KvError::TooLarge(7))));
        let other: KvResult<bool> = Err(KvError::Other(JobError::Limit("much".into())));
        let again = KvResult::<bool>::of_json(&other.json()).unwrap();
        assert!(matches!(again, Err(KvError::Other(JobError::Limit(_)))));
        assert!(CallResult::<u64>::of_json("nope").is_none());
    }
}
