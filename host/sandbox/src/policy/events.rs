//! Which events a guest may emit. A listener must be able to trust those of BullMQ.

use super::Refusal;

/// The names of BullMQ's own events.
const BULLMQ: [&str; 22] = [
    "active",
    "added",
    "cleaned",
    "completed",
    "debounced",
    "deduplicated",
    "delayed",
    "drained",
    "duplicated",
    "error",
    "failed",
    "ioredis:close",
    "paused",
    "progress",
    "removed",
    "resumed",
    "retries-exhausted",
    "stalled",
    "waiting",
    "waiting-children",
    "wait",
    "prioritized",
];

/// May this event be emitted?
pub(crate) fn check_event<'a>(
    name: &str,
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::Invalid("event name is empty".into()));
    }
    if BULLMQ.contains(&name) {
        return Err(Refusal::Invalid(format!(
            "`{name}` is an event of BullMQ: give the event another name"
        )));
    }
    // Of two fields of one name a listener sees the last one.
    match fields.any(|field| field == "event") {
        true => Err(Refusal::Invalid("no field may be named `event`".into())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_bullmq_cannot_be_forged() {
        assert_eq!(check_event("painted", ["jobId"].into_iter()), Ok(()));
        for (name, field) in [("completed", "a"), ("", "a"), ("painted", "event")] {
            let refused = check_event(name, [field].into_iter());
            assert!(
                matches!(refused, Err(Refusal::Invalid(_))),
                "{name} {field}"
            );
        }
    }
}
