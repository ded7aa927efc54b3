//! Ids that producers give to their jobs.

use serde_json::Value;

use crate::js;

/// The keys that a queue has beside its jobs, `prefix:queue:NAME`.
pub const QUEUE_KEYS: [&str; 17] = [
    "active",
    "completed",
    "delayed",
    "events",
    "failed",
    "id",
    "limiter",
    "marker",
    "meta",
    "paused",
    "pc",
    "prioritized",
    "repeat",
    "stalled",
    "stalled-check",
    "wait",
    "waiting-children",
];
/// Those that have a name of their own behind them, `prefix:queue:NAME:…`.
pub const QUEUE_KEY_FAMILIES: [&str; 4] = ["de", "dn", "metrics", "toril-request"];

/// Checks the option `jobId`; none where the queue is to make up an id.
pub(crate) fn read(option: Option<&Value>) -> Result<Option<String>, String> {
    let Some(option) = option else {
        return Ok(None);
    };
    if matches!(option, Value::Bool(false) | Value::Number(_)) && js::to_number(option) == 0.0 {
        return Err("JobId cannot be '0' or start with '0:'".into());
    }
    if !js::is_truthy(option) {
        return Ok(None);
    }
    let id = option.as_str().ok_or("`jobId` must be a string")?;
    match refuse(id) {
        Some(reason) => Err(reason),
        None => Ok(Some(id.to_owned())),
    }
}

/// Why no job may have this id; none where one may.
fn refuse(id: &str) -> Option<String> {
    if id == "0" || id.starts_with("0:") {
        return Some("JobId cannot be '0' or start with '0:'".into());
    }
    if js::number_to_text(js::parse_int(id.as_bytes())) == id && id != "NaN" {
        return Some("Custom Id cannot be integers".into());
    }
    // Three parts are an id of a scheduler's job.
    if id.contains(':') && id.split(':').count() != 3 {
        return Some("Custom Id cannot contain :".into());
    }
    // BullMQ would write the job over the key of that name, and the queue would be broken.
    let first = id.split(':').next().unwrap_or(id);
    let is_taken = match id.contains(':') {
        true => QUEUE_KEY_FAMILIES.contains(&first),
        false => QUEUE_KEYS.contains(&id) || QUEUE_KEY_FAMILIES.contains(&id),
    };
    is_taken.then(|| format!("Custom Id cannot be `{id}`, which names a key of the queue"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_refused_in_bullmqs_words() {
        for (ids, words) in [
            (
                ["12", "-7", "100000000000000000000"],
                "Custom Id cannot be integers",
            ),
            (
                ["0", "0:1:2", "0:"],
                "JobId cannot be '0' or start with '0:'",
            ),
            (["a:b", "a:b:c:d", ":"], "Custom Id cannot contain :"),
        ] {
            for id in ids {
                assert_eq!(refuse(id).as_deref(), Some(words), "{id}");
            }
        }
        for id in ["meta", "wait", "de", "de:a:b", "metrics:completed:data"] {
            assert!(refuse(id).unwrap().contains("names a key of the queue"));
        }
        for id in [
            "007",
            "1e3",
            "-0",
            "1e21",
            "12345678901234567890123",
            "a:b:c",
            "repeat:s:1",
        ] {
            assert_eq!(refuse(id), None, "{id}");
        }
    }

    #[test]
    fn option_that_says_nothing_leaves_the_id_to_the_queue() {
        for option in [json!(null), json!("")] {
            assert_eq!(read(Some(&option)), Ok(None));
        }
        for option in [json!(0), json!(false), json!(5), json!(["a"])] {
            assert!(read(Some(&option)).is_err(), "{option}");
        }
    }
}
