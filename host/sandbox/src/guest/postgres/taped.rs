//! Statements of an attempt that is recorded, or that runs again.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, AttemptState, raw};
use crate::backend::{Given, Watch as _};
use crate::policy::Redactor;
use crate::recording::Tape;

/// What was sent, as a recording keeps it.
pub(super) struct Sent {
    call: String,
    parameters: Vec<u8>,
}

impl Sent {
    pub(super) fn statement(
        database: &str,
        (statement, parameters): &(String, Vec<raw::Value>),
    ) -> Self {
        Sent {
            call: format!("postgres({database}, {statement})"),
            parameters: format!("{parameters:?}").into_bytes(),
        }
    }

    pub(super) fn end(database: &str, commits: bool) -> Self {
        let how = if commits { "commit" } else { "rollback" };
        Sent {
            call: format!("postgres-{how}({database})"),
            parameters: Vec::new(),
        }
    }
}

/// An answer as it may be kept. Texts lose their secrets with the whole recording; bytes are numbers in it.
pub(super) trait Redacted: Clone {
    fn redacted(&self, _: Option<&Redactor>) -> Cow<'_, Self> {
        Cow::Borrowed(self)
    }
}

impl Redacted for () {}

impl Redacted for raw::Rows {
    fn redacted(&self, redactor: Option<&Redactor>) -> Cow<'_, Self> {
        let Some(redactor) = redactor else {
            return Cow::Borrowed(self);
        };
        let mut rows = self.clone();
        for value in rows.rows.iter_mut().flatten() {
            if let raw::Value::Bytes(bytes) = value {
                redactor.redact_bytes(bytes);
            }
        }
        Cow::Owned(rows)
    }
}

/// An answer of Postgres that is given again.
struct Again<T>(Result<T, raw::Error>);

impl<T: DeserializeOwned> Given for Again<T> {
    fn of_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Again)
    }
}

impl AttemptState {
    /// The recorded answer, where the attempt runs again.
    pub(super) async fn taped_before<T: DeserializeOwned>(
        &mut self,
        sent: &Sent,
    ) -> Option<Result<T, raw::Error>> {
        let Tape::Replay(replay) = &self.current.tape else {
            return None;
        };
        replay.called(&sent.call, &sent.parameters);
        Some(match replay.next().await {
            Some(Again(answer)) => answer,
            None => Err(raw::Error::Unavailable(
                "a dry run has no database".to_owned(),
            )),
        })
    }

    /// Notes an answer, where the attempt is recorded.
    pub(super) fn taped<T: Serialize + Redacted>(
        &self,
        sent: &Sent,
        answer: Result<T, impl Into<raw::Error>>,
    ) -> Answer<T> {
        let answer = answer.map_err(Into::into);
        if let Tape::Record(recorder) = &self.current.tape {
            let redactor = recorder.redactor();
            let shown = answer.as_ref().map(|answer| answer.redacted(redactor));
            let json = || serde_json::to_string(&shown).unwrap_or_default();
            recorder.call(&sent.call, &sent.parameters, json);
        }
        Ok(answer)
    }
}
