//! Recordings without secrets: what is in them is looked at, not how they are written, so that no secret can be a name of the
//! format.

use serde_json::value::RawValue;

use super::{RecordedResponse, Recording};
use crate::outcome::Outcome;
use crate::policy::Redactor;

impl Recording {
    /// Replaces the secrets in all that came from somewhere.
    pub(super) fn redact(&mut self, redactor: &Redactor) {
        let text = |text: &mut String| *text = redactor.redact(text).into_owned();
        let job = &mut self.job;
        for field in [
            &mut job.name,
            &mut job.data,
            &mut job.opts,
            &mut job.progress,
            &mut job.stacktrace,
        ] {
            *field = redactor.redact_json(&redactor.redact(field)).into_owned();
        }
        let optional = [
            &mut job.failed_reason,
            &mut job.deduplication_id,
            &mut job.parent,
        ];
        optional.into_iter().flatten().for_each(text);
        job.steps.iter_mut().for_each(|(_, record)| text(record));
        self.grants.config.values_mut().for_each(text);
        let learned = &mut self.learned;
        for call in &mut learned.calls {
            text(&mut call.call);
            if let Some(answer) = &mut call.answer {
                *answer = answer_without(answer, redactor);
            }
        }
        for request in &mut learned.requests {
            text(&mut request.request);
            match &mut request.answer {
                Some(RecordedResponse::Response { headers, body, .. }) => {
                    headers
                        .iter_mut()
                        .for_each(|(_, value)| redactor.redact_bytes(&mut value.0));
                    redactor.redact_bytes(&mut body.0);
                }
                Some(RecordedResponse::Error(error)) => text(error),
                None => {}
            }
        }
        if let Some((_, reason)) = &mut learned.reason_after {
            text(reason);
        }
        match &mut self.outcome {
            Outcome::Completed(value) => *value = redactor.redact_json(value).into_owned(),
            Outcome::Failed { message, stack, .. } => [message, stack].into_iter().for_each(text),
            _ => {}
        }
    }
}

/// An answer is an object with one field, `ok` or `error`, whose name stays.
fn answer_without(answer: &RawValue, redactor: &Redactor) -> Box<RawValue> {
    let json = answer.get();
    let begin = json.find(':').map_or(0, |colon| colon + 1);
    let (name, content) = json.split_at(begin);
    let content = content.strip_suffix('}').unwrap_or(content);
    let shown = format!("{name}{}}}", redactor.redact_json(content));
    RawValue::from_string(shown).unwrap_or_else(|_| answer.to_owned())
}
