//! Which ids a guest may name. An id is the end of a key, so some ids spell another key.

use toril_options::{QUEUE_KEY_FAMILIES, QUEUE_KEYS};

/// The keys that a job has beside its hash, `prefix:queue:id:NAME`.
const JOB_KEYS: [&str; 7] = [
    "dependencies",
    "failed",
    "lock",
    "logs",
    "processed",
    "progress",
    "unsuccessful",
];

/// Why an id names no job; none where it may.
pub(super) fn refuse(id: &str) -> Option<String> {
    let parts: Vec<&str> = id.split(':').collect();
    let named = match parts[..] {
        [""] => return Some("job id is empty".into()),
        [id] => !is_key_of_queue(id),
        // The next job of a scheduler, whose own id may have colons.
        ["repeat", .., time] if parts.len() > 2 => time.bytes().all(|byte| byte.is_ascii_digit()),
        // BullMQ takes ids of three parts.
        [first, _, last] => !is_key_of_queue(first) && !JOB_KEYS.contains(&last),
        _ => false,
    };
    (!named).then(|| format!("`{id}` is not the id of a job"))
}

/// Why an id names no scheduler; none where it may. The key of a scheduler `a:17` is that of the job which the scheduler
/// `a` adds at the time 17.
pub(super) fn refuse_scheduler(id: &str) -> Option<String> {
    let spells_job = |(_, last): (&str, &str)| last.bytes().all(|byte| byte.is_ascii_digit());
    let named = !id.is_empty() && !id.rsplit_once(':').is_some_and(spells_job);
    (!named).then(|| format!("`{id}` is not the id of a scheduler"))
}

fn is_key_of_queue(name: &str) -> bool {
    QUEUE_KEYS.contains(&name) || QUEUE_KEY_FAMILIES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_that_spell_jobs_are_refused() {
        for id in ["nightly", "a:b", "17", "a:17:b", "17a"] {
            assert_eq!(refuse_scheduler(id), None, "{id}");
        }
        for id in ["", "a:17", "a:b:17", ":17", "a:"] {
            assert!(refuse_scheduler(id).is_some(), "{id}");
        }
    }

    #[test]
    fn ids_that_spell_other_keys_are_refused() {
        for id in [
            "7",
            "a-b",
            "paint.wall",
            "a:b:c",
            "repeat:s:17",
            "repeat:s:t:17",
        ] {
            assert_eq!(refuse(id), None, "{id}");
        }
        for id in [
            "",
            "meta",
            "wait",
            "id",
            "repeat",
            "a:5",
            "1:dependencies",
            "1:lock",
            "repeat:s",
            "repeat:s:x",
            "a:5:lock",
            "a:5:logs",
            "de:a:b",
            "metrics:completed:data",
            "a:b:c:d",
            ":",
        ] {
            assert!(refuse(id).is_some(), "{id}");
        }
    }
}
