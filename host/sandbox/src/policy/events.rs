//! Which events a guest may emit. A listener must be able to trust those of BullMQ.

use super::Refusal;

/// The names of BullMQ's own events, and those that an `EventEmitter` of Node has a meaning for.
const BULLMQ: [&str; 24] = [
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
    "newListener",
    "paused",
    "progress",
    "removeListener",
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
    if is_of_bullmq(name) {
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

/// Of each event with a `jobId`, listeners hear a second time under `EVENT:JOBID`: by that name BullMQ waits for the end
/// of one job.
fn is_of_bullmq(name: &str) -> bool {
    let of_one_job = name.split_once(':').map(|(event, _)| event);
    BULLMQ.contains(&name) || of_one_job.is_some_and(|event| BULLMQ.contains(&event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_bullmq_cannot_be_forged() {
        for name in ["painted", "painted:7", "paint:completed:7", "completed-7"] {
            assert_eq!(check_event(name, ["jobId"].into_iter()), Ok(()), "{name}");
        }
        for (name, field) in [
            ("completed", "a"),
            ("completed:7", "returnvalue"),
            ("failed:a:b", "failedReason"),
            ("completed:", "a"),
            ("ioredis:close", "a"),
            ("removeListener", "a"),
            ("", "a"),
            ("painted", "event"),
        ] {
            let refused = check_event(name, [field].into_iter());
            assert!(
                matches!(refused, Err(Refusal::Invalid(_))),
                "{name} {field}"
            );
        }
    }
}
